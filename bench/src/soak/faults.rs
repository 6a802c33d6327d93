//! What goes wrong, in an order that follows from the seed, and how each fault is done and undone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::chance::Chance;
use super::clients::Shared;
use super::machines::{Machines, PROCESSES};
use super::product::Product;

/// A process must have ended in order by then: the product gives itself 8 s.
const IN_ORDER: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    ApiKilled,
    ApiTerminated,
    ApiFrozen,
    ProjectorKilled,
    ProjectorTerminated,
    ProjectorFrozen,
    BothProjectorsKilled,
    NatsKilled,
    NatsWiped,
    NatsRestored,
    PostgresKilled,
    PostgresImmediate,
    PostgresAway,
    ReplayKilled,
}

impl Kind {
    pub(crate) const ALL: [Self; 14] = [
        Self::ApiKilled,
        Self::ApiTerminated,
        Self::ApiFrozen,
        Self::ProjectorKilled,
        Self::ProjectorTerminated,
        Self::ProjectorFrozen,
        Self::BothProjectorsKilled,
        Self::NatsKilled,
        Self::NatsWiped,
        Self::NatsRestored,
        Self::PostgresKilled,
        Self::PostgresImmediate,
        Self::PostgresAway,
        Self::ReplayKilled,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ApiKilled => "an API killed and started again",
            Self::ApiTerminated => "an API ended and started again",
            Self::ApiFrozen => "an API frozen",
            Self::ProjectorKilled => "a projector killed and started again",
            Self::ProjectorTerminated => "a projector ended and started again",
            Self::ProjectorFrozen => "a projector frozen beyond its leases",
            Self::BothProjectorsKilled => "both projectors killed and started again",
            Self::NatsKilled => "NATS killed and started again",
            Self::NatsWiped => "NATS killed, its disk wiped",
            Self::NatsRestored => "NATS killed, an older copy restored",
            Self::PostgresKilled => "PostgreSQL killed and started again",
            Self::PostgresImmediate => "PostgreSQL ended at once and started again",
            Self::PostgresAway => "PostgreSQL away",
            Self::ReplayKilled => "a replay of all tenants killed",
        }
    }

    /// How long it lasts at least and at most, in milliseconds.
    fn lasts(self) -> (u64, u64) {
        match self {
            // Leases last 6 s.
            Self::ApiFrozen | Self::ProjectorFrozen => (7_000, 12_000),
            Self::PostgresAway => (5_000, 30_000),
            Self::NatsKilled | Self::NatsWiped | Self::NatsRestored => (0, 3_000),
            Self::ReplayKilled => (50, 2_000),
            Self::ApiKilled
            | Self::ApiTerminated
            | Self::ProjectorKilled
            | Self::ProjectorTerminated
            | Self::BothProjectorsKilled
            | Self::PostgresKilled
            | Self::PostgresImmediate => (0, 0),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    /// Which of the processes.
    pub(crate) which: usize,
    pub(crate) lasts: Duration,
    /// Until it comes, after all have recovered from the one before.
    pub(crate) after: Duration,
}

/// The faults of a seed: every kind once in each round, each round in an order of its own.
pub(crate) struct Schedule {
    chance: Chance,
    round: Vec<Kind>,
}

impl Schedule {
    pub(crate) fn new(seed: u64) -> Self {
        Self { chance: Chance::of(seed, 0), round: Vec::new() }
    }
}

impl Iterator for Schedule {
    type Item = Fault;

    fn next(&mut self) -> Option<Fault> {
        if self.round.is_empty() {
            self.round = Kind::ALL.to_vec();
            self.chance.shuffle(&mut self.round);
        }
        let kind = self.round.pop()?;
        let (least, most) = kind.lasts();
        let lasts = Duration::from_millis(least + self.chance.below(most - least));
        let after = Duration::from_millis(500 + self.chance.below(3_500));
        Some(Fault { kind, which: self.chance.index(PROCESSES), lasts, after })
    }
}

impl Fault {
    /// Does it and undoes it; gives the time from which on everybody recovers.
    pub(crate) async fn happen(&self, machines: &mut Machines, shared: &Arc<Shared>) -> anyhow::Result<Instant> {
        let hold = || tokio::time::sleep(self.lasts);
        let which = self.which;
        let mut recovering = Instant::now();
        match self.kind {
            Kind::ApiKilled => {
                kill(&mut machines.apis[which]).await?;
                machines.start_api(which, shared).await?;
            }
            Kind::ApiTerminated => {
                end_in_order(&mut machines.apis[which], shared, "api").await?;
                machines.start_api(which, shared).await?;
            }
            Kind::ApiFrozen => recovering = freeze(&machines.apis[which], hold()).await?,
            Kind::ProjectorKilled => {
                kill(&mut machines.projectors[which]).await?;
                machines.start_projector(which).await?;
            }
            Kind::ProjectorTerminated => {
                end_in_order(&mut machines.projectors[which], shared, "projector").await?;
                machines.start_projector(which).await?;
            }
            Kind::ProjectorFrozen => recovering = freeze(&machines.projectors[which], hold()).await?,
            Kind::BothProjectorsKilled => {
                for projector in &mut machines.projectors {
                    kill(projector).await?;
                }
                for which in 0..PROCESSES {
                    machines.start_projector(which).await?;
                }
            }
            Kind::NatsKilled | Kind::NatsWiped | Kind::NatsRestored => {
                machines.nats.kill().await?;
                hold().await;
                if self.kind == Kind::NatsWiped {
                    machines.nats.wipe().await?;
                } else if self.kind == Kind::NatsRestored {
                    machines.restore_nats().await?;
                } else {
                    machines.copy_nats().await?;
                }
                recovering = Instant::now();
                machines.nats.start_again().await?;
            }
            Kind::PostgresKilled => {
                machines.postgres.kill().await?;
                recovering = Instant::now();
                machines.postgres.start_again().await?;
            }
            Kind::PostgresImmediate | Kind::PostgresAway => {
                let immediate = self.kind == Kind::PostgresImmediate;
                machines.end_postgres(if immediate { "QUIT" } else { "INT" }).await?;
                hold().await;
                recovering = Instant::now();
                machines.postgres.start_again().await?;
            }
            Kind::ReplayKilled => {
                let replay = machines.tool(&["replay"], super::machines::DATABASE)?;
                hold().await;
                recovering = Instant::now();
                replay.kill().await?;
            }
        }
        Ok(recovering)
    }
}

async fn kill(process: &mut Option<Product>) -> anyhow::Result<()> {
    match process.take() {
        Some(process) => process.kill().await,
        None => Ok(()),
    }
}

async fn end_in_order(process: &mut Option<Product>, shared: &Arc<Shared>, name: &str) -> anyhow::Result<()> {
    let Some(process) = process.take() else { return Ok(()) };
    match process.terminate(IN_ORDER).await? {
        Some(status) if status.success() => {}
        status => shared.violations.add("recovery", format!("{name} did not end in order at SIGTERM: {status:?}")),
    }
    Ok(())
}

async fn freeze(process: &Option<Product>, held: impl Future<Output = ()>) -> anyhow::Result<Instant> {
    let Some(process) = process else { return Ok(Instant::now()) };
    process.signal("STOP").await?;
    held.await;
    process.signal("CONT").await?;
    Ok(Instant::now())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_same_seed_gives_the_same_faults_and_a_round_has_all_kinds() {
        let faults = |seed| Schedule::new(seed).take(50).collect::<Vec<_>>();
        assert_eq!(faults(3), faults(3));
        assert_ne!(faults(3), faults(4));
        let kinds: BTreeSet<Kind> = faults(3).iter().take(Kind::ALL.len()).map(|fault| fault.kind).collect();
        assert_eq!(kinds.len(), Kind::ALL.len());
        assert!(faults(3).iter().all(|fault| fault.lasts <= Duration::from_secs(30)));
    }
}
