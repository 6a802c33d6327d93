//! The leases that this process holds, kept by renewing them.

use std::collections::HashMap;
use std::time::Instant;

use domain::{Shard, TenantId};
use store::{Lease, Leases, Work};

use crate::Error;
use crate::meters::{LeaseMeters, number};
use crate::standing::Standing;
use crate::sweep;

/// Leases and until when they may be relied on.
pub(crate) struct Held {
    leases: Leases,
    epochs: HashMap<Shard, i64>,
    valid_until: Instant,
    standing: Standing,
    meters: LeaseMeters,
}

impl Held {
    /// Takes what is free, and what was ours before a restart.
    pub(crate) async fn acquire(leases: Leases, work: Work) -> Result<Self, Error> {
        let asked = Instant::now();
        let epochs = by_shard(leases.acquire().await?);
        let meters = LeaseMeters::register(work);
        meters.held.set(number(epochs.len()));
        let standing = Standing::renewed(asked);
        Ok(Self { leases, epochs, valid_until: asked + Leases::DURATION, standing, meters })
    }

    /// Prolongs; answers whether the set of shards or an epoch has changed.
    pub(crate) async fn renew(&mut self) -> Result<bool, Error> {
        let asked = Instant::now();
        let epochs = by_shard(self.leases.renew().await?);
        self.valid_until = asked + Leases::DURATION;
        self.standing.renew(asked);
        let changed = epochs != self.epochs;
        let lost = self.epochs.iter().filter(|(shard, epoch)| epochs.get(shard) != Some(epoch)).count();
        self.meters.lost.increment(lost as u64);
        self.meters.held.set(number(epochs.len()));
        self.epochs = epochs;
        Ok(changed)
    }

    /// Whether they are renewed.
    pub(crate) fn standing(&self) -> Standing {
        self.standing.clone()
    }

    /// Gives them back.
    pub(crate) async fn release(&mut self) -> Result<(), Error> {
        self.epochs.clear();
        self.meters.held.set(0);
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

    /// The same as the database numbers them.
    pub(crate) fn shard_numbers(&self) -> Vec<i16> {
        self.shards().iter().map(sweep::number).collect()
    }
}

fn by_shard(leases: Vec<Lease>) -> HashMap<Shard, i64> {
    leases.into_iter().map(|lease| (lease.shard, lease.epoch)).collect()
}
