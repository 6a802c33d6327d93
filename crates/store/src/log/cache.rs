//! States of streams that a writer knows: committed ones in a bounded cache, those of the batches under way above it.

use std::any::Any;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use domain::{Category, TenantId};
use lru::LruCache;
use uuid::Uuid;

use super::meters::Meters;

/// A stream of a tenant. Ids are unique per tenant across categories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct StreamKey {
    pub(super) tenant: TenantId,
    pub(super) stream: Uuid,
}

/// The state of a stream at a version.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) version: u64,
    /// The last number of the tenant's log when the stream had this version for certain; `None`: it was not looked at.
    pub(super) as_of: Option<u64>,
    /// `None` for a stream of a category that this code does not know.
    pub(super) category: Option<Category>,
    /// The aggregate's state.
    pub(super) state: Arc<dyn Any + Send + Sync>,
}

/// A tenant's head as this process has left it.
#[derive(Clone, Copy)]
pub(super) struct Head {
    /// The commit that moved it last. Whoever finds it there knows that nobody else has moved it since.
    pub(super) last_commit: Uuid,
    /// Nobody else has appended to the log after this number of it, either.
    since: u64,
}

impl Head {
    /// Whether the stream still has this version when the head is as it was left.
    pub(super) fn vouches_for(&self, known: &Known) -> bool {
        known.as_of.is_some_and(|as_of| as_of >= self.since)
    }
}

/// What a command may decide on.
pub(super) struct States {
    heads: LruCache<TenantId, Head>,
    committed: LruCache<StreamKey, Known>,
    /// Not durable yet.
    uncommitted: HashMap<StreamKey, Known>,
    pub(super) meters: Arc<Meters>,
}

impl States {
    pub(super) fn new(capacity: usize, meters: Arc<Meters>) -> Self {
        let capacity = NonZeroUsize::new(capacity).unwrap_or(NonZeroUsize::MIN);
        let (heads, committed) = (LruCache::new(capacity), LruCache::new(capacity));
        Self { heads, committed, uncommitted: HashMap::new(), meters }
    }

    pub(super) fn head(&mut self, tenant: TenantId) -> Option<Head> {
        self.heads.get(&tenant).copied()
    }

    /// A commit of this process has moved the tenant's head, which was at `from` and had been moved by `found` before.
    pub(super) fn moved(&mut self, tenant: TenantId, (from, found): (u64, Option<Uuid>), commit: Uuid) {
        let unbroken = self.heads.get(&tenant).filter(|head| Some(head.last_commit) == found);
        let since = unbroken.map_or(from, |head| head.since);
        self.heads.put(tenant, Head { last_commit: commit, since });
    }

    /// Nothing is taken for granted of what others may have done to the tenant's log.
    pub(super) fn forget_head(&mut self, tenant: TenantId) {
        self.heads.pop(&tenant);
    }

    /// The newest state, and whether it is still uncommitted.
    pub(super) fn get(&mut self, key: &StreamKey) -> Option<(Known, bool)> {
        match self.uncommitted.get(key) {
            Some(known) => Some((known.clone(), true)),
            None => self.committed.get(key).map(|known| (known.clone(), false)),
        }
    }

    /// A decided command has moved the stream on.
    pub(super) fn advance(&mut self, key: StreamKey, known: Known) {
        self.uncommitted.insert(key, known);
    }

    /// The stream was stored as it was decided; the tenant's log goes up to `as_of` now.
    pub(super) fn commit(&mut self, key: &StreamKey, as_of: u64) {
        if let Some(known) = self.uncommitted.remove(key) {
            self.committed.put(*key, Known { as_of: Some(as_of), ..known });
        }
    }

    /// Whatever belongs to other tenants than these and was not committed never will be.
    pub(super) fn keep_uncommitted(&mut self, of: impl Fn(&TenantId) -> bool) {
        self.uncommitted.retain(|key, _| of(&key.tenant));
    }

    /// A stream was read from the log.
    pub(super) fn loaded(&mut self, key: StreamKey, known: Known) {
        let newer = self.committed.peek(&key).is_none_or(|cached| cached.version < known.version);
        if newer {
            self.committed.put(key, known);
        }
    }

    /// What is known of the stream is out of date.
    pub(super) fn forget(&mut self, key: &StreamKey) {
        self.committed.pop(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_vouches_for_what_was_certain_since_others_last_moved_it() {
        let mut states = States::new(8, Meters::register());
        let tenant = TenantId(Uuid::from_u128(1));
        let [a, b, c, d, other] = [1, 2, 3, 4, 9].map(Uuid::from_u128);
        let known = |as_of| Known { version: 1, as_of, category: None, state: Arc::new(()) };
        let vouched = |states: &mut States| {
            let head = states.head(tenant).unwrap();
            [None, Some(4), Some(5), Some(6), Some(9)].map(|as_of| head.vouches_for(&known(as_of)))
        };
        assert!(states.head(tenant).is_none());
        // Whoever was there before, it was not this process, as far as it knows.
        states.moved(tenant, (5, Some(other)), a);
        assert_eq!(vouched(&mut states), [false, false, true, true, true]);
        // Its own commits change nothing of that.
        states.moved(tenant, (6, Some(a)), b);
        assert_eq!(vouched(&mut states), [false, false, true, true, true]);
        assert_eq!(states.head(tenant).unwrap().last_commit, b);
        // Somebody else has moved it up to 9, with a commit of a name or of none.
        for (found, commit) in [(Some(other), c), (None, d)] {
            states.moved(tenant, (9, found), commit);
            assert_eq!(vouched(&mut states), [false, false, false, false, true]);
        }
        states.forget_head(tenant);
        assert!(states.head(tenant).is_none());
    }
}
