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
    /// `None` for a stream of a category that this code does not know.
    pub(super) category: Option<Category>,
    /// The aggregate's state.
    pub(super) state: Arc<dyn Any + Send + Sync>,
}

/// What a command may decide on.
pub(super) struct States {
    committed: LruCache<StreamKey, Known>,
    /// Not durable yet.
    uncommitted: HashMap<StreamKey, Known>,
    pub(super) meters: Arc<Meters>,
}

impl States {
    pub(super) fn new(capacity: usize, meters: Arc<Meters>) -> Self {
        let capacity = NonZeroUsize::new(capacity).unwrap_or(NonZeroUsize::MIN);
        Self { committed: LruCache::new(capacity), uncommitted: HashMap::new(), meters }
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

    /// The batch is decided; these streams were stored.
    pub(super) fn commit(&mut self, key: &StreamKey) {
        if let Some(known) = self.uncommitted.remove(key) {
            self.committed.put(*key, known);
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
