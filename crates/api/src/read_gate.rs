//! The gate of reads that must see a certain event: one watcher per process, no connection held while waiting.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bus::{Bus, Rings};
use domain::TenantId;
use futures_util::StreamExt as _;
use metrics::{Counter, counter, describe_counter};
use store::{ApiDatabase, Work};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

/// How often PostgreSQL is asked for the checkpoints of all tenants that somebody waits for: hints can get lost.
const POLL: Duration = Duration::from_millis(50);

/// Where reads wait for the projector.
#[derive(Clone)]
pub(crate) struct ReadGate {
    waiting: Arc<Waiting>,
    time_outs: Counter,
}

/// Per tenant the checkpoint that was heard of last, and who waits for it to grow.
#[derive(Default)]
struct Waiting(Mutex<HashMap<TenantId, watch::Sender<u64>>>);

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, watch::Sender<u64>>> {
        // The map is whole at any moment, whatever panicked while holding it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes who waits for this; answers the tenants that are still waited for.
    fn heard(&self, checkpoints: impl IntoIterator<Item = (TenantId, u64)>) {
        let waiting = self.lock();
        for (tenant, seq) in checkpoints {
            if let Some(sender) = waiting.get(&tenant) {
                sender.send_if_modified(|known| {
                    let grown = seq > *known;
                    *known = seq.max(*known);
                    grown
                });
            }
        }
    }

    fn tenants(&self) -> Vec<TenantId> {
        self.lock().keys().copied().collect()
    }
}

/// A place at the gate, taken before the checkpoint is read so that nothing is missed in between.
pub(crate) struct Place {
    tenant: TenantId,
    checkpoint: watch::Receiver<u64>,
    waiting: Arc<Waiting>,
    time_outs: Counter,
}

impl Place {
    /// Waits until it is heard that the tenant's rows reflect `seq`, at most until `deadline`: look whether they do.
    pub(crate) async fn wait(&mut self, seq: u64, deadline: Instant) {
        let reached = self.checkpoint.wait_for(|checkpoint| *checkpoint >= seq);
        // Neither the time-out nor the gate's end says more than the look that follows.
        if tokio::time::timeout_at(deadline, reached).await.is_err() {
            self.time_outs.increment(1);
        }
    }

    /// What was heard is not so, the rows are at `seq`: forgets it, and rests so that false hints cost little.
    pub(crate) async fn was_misled(&self, seq: u64) {
        if let Some(sender) = self.waiting.lock().get(&self.tenant) {
            // Nobody is woken: whoever waits has nothing to gain.
            sender.send_if_modified(|known| {
                *known = seq;
                false
            });
        }
        tokio::time::sleep(POLL).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock();
        // This receiver is one of those counted.
        if waiting.get(&self.tenant).is_some_and(|sender| sender.receiver_count() <= 1) {
            waiting.remove(&self.tenant);
        }
    }
}

impl ReadGate {
    /// Starts the watcher; it ends with the gate.
    pub(crate) fn start(database: ApiDatabase, bus: Bus) -> Self {
        let waiting = Arc::new(Waiting::default());
        store::spawn("read_gate", watch_checkpoints(database, bus, Arc::downgrade(&waiting)));
        describe_counter!("convolog_read_time_outs_total", "Reads that waited for their min_seq in vain");
        Self { waiting, time_outs: counter!("convolog_read_time_outs_total") }
    }

    /// Reads that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.lock().values().map(watch::Sender::receiver_count).sum()
    }

    /// Takes a place for a tenant.
    pub(crate) fn place(&self, tenant: TenantId) -> Place {
        let checkpoint = self.waiting.lock().entry(tenant).or_insert_with(|| watch::channel(0).0).subscribe();
        Place { tenant, checkpoint, waiting: self.waiting.clone(), time_outs: self.time_outs.clone() }
    }
}

async fn watch_checkpoints(database: ApiDatabase, bus: Bus, waiting: Weak<Waiting>) {
    let mut poll = tokio::time::interval(POLL);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut rings: Option<Rings> = None;
    loop {
        tokio::select! {
            ring = next(&mut rings) => match (ring, waiting.upgrade()) {
                (Some(ring), Some(waiting)) => waiting.heard(ring),
                (None, Some(_)) => rings = None,
                (_, None) => return,
            },
            _ = poll.tick() => {
                let Some(waiting) = waiting.upgrade() else { return };
                if rings.is_none() {
                    rings = bus.projected().subscribe().await.ok();
                }
                let tenants = waiting.tenants();
                if tenants.is_empty() {
                    continue;
                }
                match database.checkpoints(Work::ReadModel.as_str(), &tenants).await {
                    Ok(checkpoints) => waiting.heard(checkpoints),
                    Err(error) => tracing::debug!(%error, "the checkpoints were not read"),
                }
            }
        }
    }
}

async fn next(rings: &mut Option<Rings>) -> Option<Vec<(TenantId, u64)>> {
    match rings {
        Some(rings) => rings.next().await,
        None => std::future::pending().await,
    }
}
