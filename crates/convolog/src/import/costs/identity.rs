//! By what a cost of an export is known when it comes again.

use std::collections::HashMap;

use domain::TenantId;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// Most rows without an id in one file: of each a few bytes are kept until its end.
pub const MAX_NAMELESS: usize = 3_000_000;

/// What makes a row's cost that one and no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The cost's own id.
    Id(Uuid),
    /// An id in somebody else's words.
    Name(String),
    /// The row's content, and how many rows before it in its file had the same: an export lists each cost once, so two
    /// equal rows are two equal costs. Both sums and a second run are right then.
    Content([u8; 32], u32),
}

impl Identity {
    /// The id of the cost in a tenant's ledger.
    pub fn cost_id(&self, tenant: TenantId) -> Uuid {
        let name = match self {
            Self::Id(id) => return *id,
            Self::Name(name) => format!("import/cost/{name}"),
            Self::Content(digest, nth) => {
                let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("import/cost-row/{digest}/{nth}")
            }
        };
        Uuid::new_v5(&tenant.0, name.as_bytes())
    }
}

/// Which rows without an id a file has had so far.
pub(super) struct Seen {
    counts: HashMap<u64, u32>,
    most: usize,
}

impl Default for Seen {
    fn default() -> Self {
        Self { counts: HashMap::new(), most: MAX_NAMELESS }
    }
}

impl Seen {
    /// The identity of a row by its content; `None` beyond [`MAX_NAMELESS`].
    pub(super) fn identify<'a>(&mut self, content: impl IntoIterator<Item = &'a [u8]>) -> Option<Identity> {
        let mut hash = Sha256::new();
        for part in content {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let digest: [u8; 32] = hash.finalize().into();
        let [a, b, c, d, e, f, g, h, ..] = digest;
        // Rows that share no more than this only have other numbers than they might.
        let short = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        if self.counts.len() >= self.most && !self.counts.contains_key(&short) {
            return None;
        }
        let next = self.counts.entry(short).or_default();
        let nth = *next;
        *next += 1;
        Some(Identity::Content(digest, nth))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_rows_of_a_file_are_several_costs_and_the_same_ones_in_the_next_run() {
        let ids = || {
            let mut seen = Seen::default();
            let rows: [&[&[u8]]; 4] = [&[b"a", b"b"], &[b"ab", b""], &[b"a", b"b"], &[b"a", b"b"]];
            let id = |row: &[&[u8]]| seen.identify(row.iter().copied()).unwrap().cost_id(TenantId(Uuid::nil()));
            rows.map(id)
        };
        let first = ids();
        assert_eq!(first, ids());
        assert!((0..4).all(|at| !first[..at].contains(&first[at])));
    }

    #[test]
    fn rows_beyond_what_is_kept_in_memory_are_refused() {
        let mut seen = Seen { most: 2, ..Seen::default() };
        let known: [&[u8]; 5] = [b"a", b"b", b"c", b"a", b"b"];
        assert_eq!(known.map(|row| seen.identify([row]).is_some()), [true, true, false, true, true]);
    }

    #[test]
    fn an_id_is_taken_as_it_is_or_made_of_its_words_and_the_tenant() {
        let (one, other) = (TenantId(Uuid::from_u128(1)), TenantId(Uuid::from_u128(2)));
        let id = Uuid::from_u128(7);
        assert_eq!(Identity::Id(id).cost_id(one), id);
        let name = Identity::Name("chatcmpl-1".into());
        assert_eq!(name.cost_id(one), Uuid::new_v5(&one.0, b"import/cost/chatcmpl-1"));
        assert_ne!(name.cost_id(one), name.cost_id(other));
    }
}
