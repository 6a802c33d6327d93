//! The generic cell rate algorithm: one moment per key, no timers, bounded memory. It knows no request and no clock.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Most keys that one limit remembers, in about 4.3 MB (a key and its moment are 32 bytes, and a hash table keeps free
/// places). Only keys that have used something up lately are remembered.
pub const MAX_KEYS: usize = 100_000;
/// When there are too many keys, those that are done with are looked for no more often than this: looking takes about a
/// millisecond, and a flood of new keys must not make every request pay for it.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);

/// So many at once, and then one after each such time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// How many have room at once.
    pub burst: u32,
    /// After how long there is room for one more.
    pub every: Duration,
}

impl Quota {
    /// How long it takes until an exhausted quota is whole again.
    pub fn window(self) -> Duration {
        self.every.saturating_mul(self.burst)
    }
}

/// Who is counted: a tenant, an address, an account, in 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(pub(super) [u8; 16]);

/// What came of asking for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// There was room, and now there is for so many more; for one more than that after `next`.
    Room { remaining: u32, next: Duration },
    /// There is none until `next` is over. Nothing was counted.
    Exhausted { next: Duration },
    /// There is no room to remember this key: it passes uncounted.
    Untracked,
}

/// What each key has used up. Time is told from outside, as the time since any moment that stays the same.
pub(super) struct Buckets {
    quota: Quota,
    max_keys: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When the quota of a key is whole again (its theoretical arrival time). A key whose moment is past is as good as
    /// one that is not there.
    whole_at: HashMap<Key, Duration>,
    /// No sweep before.
    next_sweep: Duration,
}

impl Buckets {
    pub(super) fn new(quota: Quota, max_keys: usize) -> Self {
        Self { quota, max_keys, state: Mutex::default() }
    }

    /// Takes one, if there is room.
    pub(super) fn take(&self, key: Key, now: Duration) -> Outcome {
        // The map is whole at any moment, whatever panicked while holding it.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let known = state.whole_at.get(&key).copied();
        let whole_at = known.unwrap_or_default().max(now) + self.quota.every;
        let used = whole_at - now;
        if let Some(excess) = used.checked_sub(self.quota.window()).filter(|excess| !excess.is_zero()) {
            return Outcome::Exhausted { next: excess };
        }
        if known.is_none() && !state.has_room(self.max_keys, now) {
            return Outcome::Untracked;
        }
        state.whole_at.insert(key, whole_at);
        let left = (self.quota.window() - used).as_nanos();
        let every = self.quota.every.as_nanos().max(1);
        let beyond = Duration::from_nanos(u64::try_from(left % every).unwrap_or_default());
        Outcome::Room {
            remaining: u32::try_from(left / every).unwrap_or(u32::MAX),
            next: self.quota.every.saturating_sub(beyond),
        }
    }

    /// Gives one back that was taken.
    pub(super) fn give_back(&self, key: Key) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(whole_at) = state.whole_at.get_mut(&key) {
            *whole_at = whole_at.saturating_sub(self.quota.every);
        }
    }
}

impl State {
    /// Whether one more key can be remembered, if need be after forgetting those that are done with.
    fn has_room(&mut self, max_keys: usize, now: Duration) -> bool {
        if self.whole_at.len() >= max_keys && now >= self.next_sweep {
            self.whole_at.retain(|_, whole_at| *whole_at > now);
            self.next_sweep = now + SWEEP_PAUSE;
        }
        self.whole_at.len() < max_keys
    }
}

#[cfg(test)]
mod tests;
