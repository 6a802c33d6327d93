//! The sweep: which part of the shards is looked at next for work that no hint has told of.

use std::time::Duration;

use domain::Shard;
use tokio::time::{Instant, Interval, MissedTickBehavior};

/// Parts in which the shards are swept, one per tick while hints arrive.
const SLICES: usize = 8;

/// When to sweep and what.
pub(crate) struct Sweep {
    ticks: Interval,
    slice: usize,
}

impl Sweep {
    /// Sweeps a slice per `interval`; the first tick is after one.
    pub(crate) fn new(interval: Duration) -> Self {
        let mut ticks = tokio::time::interval_at(Instant::now() + interval, interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { ticks, slice: 0 }
    }

    /// Waits for the next tick.
    pub(crate) async fn tick(&mut self) {
        self.ticks.tick().await;
    }

    /// The shards of the next slice.
    pub(crate) fn next_slice(&mut self, shards: &[Shard]) -> Vec<i16> {
        self.slice = (self.slice + 1) % SLICES;
        let in_slice = |shard: &&Shard| usize::from(shard.number()) % SLICES == self.slice;
        shards.iter().filter(in_slice).map(number).collect()
    }
}

/// Shards as the database numbers them.
pub(crate) fn number(shard: &Shard) -> i16 {
    i16::from(shard.number())
}
