//! Numbers that are random and can be had again: the seed is printed with a failing test.

use uuid::Uuid;

/// xorshift64*.
pub(crate) struct Random(u64);

impl Random {
    /// From a new seed, which it prints.
    pub(crate) fn new(what: &str) -> Self {
        let seed = Uuid::now_v7().as_u128() as u64 | 1;
        #[expect(clippy::print_stderr, reason = "shown when the test fails, to have the same numbers again")]
        {
            eprintln!("{what}: seed {seed}");
        }
        Self(seed)
    }

    /// Less than `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit.max(1)
    }

    /// In random order.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}
