//! The leases that this process holds, kept by renewing them.

use std::collections::HashMap;
use std::time::Instant;

use domain::{Shard, TenantId};
use store::{Lease, Leases};

use crate::Error;

/// Leases and until when they may be relied on.
pub(crate) struct Held {
    leases: Leases,
    epochs: HashMap<Shard, i64>,
    valid_until: Instant,
}

impl Held {
    /// Takes what is free, and what was ours before a restart.
    pub(crate) async fn acquire(leases: Leases) -> Result<Self, Error> {
        let asked = Instant::now();
        let epochs = by_shard(leases.acquire().await?);
        Ok(Self { leases, epochs, valid_until: asked + Leases::DURATION })
    }

    /// Prolongs; answers whether the set of shards or an epoch has changed.
    pub(crate) async fn renew(&mut self) -> Result<bool, Error> {
        let asked = Instant::now();
        let epochs = by_shard(self.leases.renew().await?);
        self.valid_until = asked + Leases::DURATION;
        let changed = epochs != self.epochs;
        self.epochs = epochs;
        Ok(changed)
    }

    /// Gives them back.
    pub(crate) async fn release(&mut self) -> Result<(), Error> {
        self.epochs.clear();
        Ok(self.leases.release().await?)
    }

    /// The epoch under which a tenant may be worked on; `None` when its shard is not ours, or was not renewed in time.
    pub(crate) fn epoch_of(&self, tenant: TenantId) -> Option<i64> {
        self.epochs.get(&tenant.shard()).copied().filter(|_| Instant::now() < self.valid_until)
    }

    /// Our shards, in order.
    pub(crate) fn shards(&self) -> Vec<Shard> {
        let mut shards: Vec<Shard> = self.epochs.keys().copied().collect();
        shards.sort_unstable();
        shards
    }
}

fn by_shard(leases: Vec<Lease>) -> HashMap<Shard, i64> {
    leases.into_iter().map(|lease| (lease.shard, lease.epoch)).collect()
}
