//! Rebuilds one tenant or all: several workers, each with a batch of short logs or with a long one.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use domain::TenantId;
use store::TenantsTx;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::long::{Long, Right, Stepped};
use super::patience::{Patience, patiently};
use super::{REPLAY, Replay, TenantState, batch};
use crate::{Error, read_model_version};

/// Tenants that are looked up at once.
const LISTED: i32 = 1_000;
/// Failures that are told one by one.
const TOLD: usize = 20;

/// A tenant whose rows could not be rebuilt, and why.
#[derive(Debug)]
pub struct Failure {
    /// Who.
    pub tenant: TenantId,
    /// Why.
    pub error: Error,
}

/// What a replay has come to so far; shared with whoever shows it.
#[derive(Debug, Default)]
pub struct Counters {
    /// Events to be projected, as far as is known.
    pub total: AtomicU64,
    /// Events that were, here or before an interruption.
    pub events: AtomicU64,
    /// Those of them before.
    pub events_before: AtomicU64,
    /// Tenants whose rows are rebuilt.
    pub tenants: AtomicU64,
    /// Tenants that were rebuilt before an interruption.
    pub before: AtomicU64,
    /// Tenants whose rows are another version's: a projector of that version rebuilds them.
    pub other_version: AtomicU64,
    /// Tenants whose rows could not be rebuilt.
    pub failed: AtomicU64,
    /// Rows that were deleted or added, because they were not as they should be.
    pub touched: AtomicU64,
    failures: Mutex<Vec<Failure>>,
}

impl Counters {
    fn fail(&self, tenant: TenantId, error: Error) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() < TOLD {
            failures.push(Failure { tenant, error });
        }
    }

    /// The first failures.
    pub fn take_failures(&self) -> Vec<Failure> {
        std::mem::take(&mut self.failures.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

/// What a worker takes.
enum Work {
    Batch(Vec<TenantState>),
    Long(TenantState),
}

impl Replay {
    /// Rebuilds one tenant.
    pub async fn one(&self, state: TenantState, counters: &Counters, stop: &CancellationToken) -> Result<(), Error> {
        let checkpoint = state.checkpoint.map_or(0, |(seq, _)| seq);
        add(&counters.total, checkpoint);
        self.rebuild_alone(state.tenant, false, counters, stop).await
    }

    /// Rebuilds all tenants whose rows are of this version. After an interruption those who were done are left out, unless
    /// it is to `restart`.
    pub async fn all(
        &self,
        workers: usize,
        restart: bool,
        counters: &Arc<Counters>,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        if restart {
            patiently(|| self.remove_marks()).await?;
        }
        let (sender, receiver) = mpsc::channel(workers.max(1));
        let receiver = Arc::new(tokio::sync::Mutex::new(receiver));
        let halt = stop.child_token();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..workers.max(1) {
            let (replay, receiver) = (self.clone(), receiver.clone());
            let (counters, halt) = (counters.clone(), halt.clone());
            tasks.spawn(async move { replay.work(&receiver, &counters, &halt).await });
        }
        drop(receiver);
        let handed_out = self.hand_out(sender, counters, &halt).await;
        let mut ended = handed_out;
        while let Some(worker) = tasks.join_next().await {
            let worked = worker.unwrap_or(Err(Error::Panicked));
            if worked.is_err() {
                halt.cancel();
            }
            ended = ended.and(worked);
        }
        ended?;
        if !stop.is_cancelled() {
            patiently(|| self.remove_marks()).await?;
        }
        Ok(())
    }

    /// Goes through all tenants twice: to know how much there is, and to hand them to the workers.
    async fn hand_out(
        &self,
        work: mpsc::Sender<Work>,
        counters: &Counters,
        halt: &CancellationToken,
    ) -> Result<(), Error> {
        let mut after = Uuid::nil();
        loop {
            let page = self.tenants_after(after, LISTED).await?;
            let Some(last) = page.last() else { break };
            after = last.tenant.0;
            add(&counters.total, page.iter().filter_map(mine).map(|(seq, _)| seq).sum());
        }
        after = Uuid::nil();
        let mut batch = Vec::new();
        loop {
            let page = self.tenants_after(after, LISTED).await?;
            let Some(last) = page.last() else { break };
            after = last.tenant.0;
            patiently(|| self.tidy(&page)).await?;
            let done = patiently(|| self.marked(&page)).await?;
            for state in page {
                let Some((seq, _)) = mine(&state) else {
                    add(&counters.other_version, u64::from(state.checkpoint.is_some()));
                    continue;
                };
                if done.contains(&state.tenant.0) {
                    add(&counters.before, 1);
                    add(&counters.events, seq);
                    add(&counters.events_before, seq);
                    continue;
                }
                if seq > self.sizes.page {
                    if !send(&work, Work::Long(state), halt).await {
                        return Ok(());
                    }
                    continue;
                }
                let events: u64 = batch.iter().filter_map(mine).map(|(seq, _)| seq).sum();
                if (events + seq > self.sizes.page || batch.len() >= self.sizes.tenants)
                    && !send(&work, Work::Batch(std::mem::take(&mut batch)), halt).await
                {
                    return Ok(());
                }
                batch.push(state);
            }
        }
        if !batch.is_empty() {
            send(&work, Work::Batch(batch), halt).await;
        }
        Ok(())
    }

    async fn work(
        &self,
        receiver: &tokio::sync::Mutex<mpsc::Receiver<Work>>,
        counters: &Counters,
        halt: &CancellationToken,
    ) -> Result<(), Error> {
        loop {
            let work = tokio::select! {
                () = halt.cancelled() => return Ok(()),
                work = async { receiver.lock().await.recv().await } => work,
            };
            let done = match work {
                None => return Ok(()),
                Some(Work::Long(state)) => self.rebuild_alone(state.tenant, true, counters, halt).await,
                Some(Work::Batch(states)) => self.rebuild_together(&states, counters, halt).await,
            };
            if done.is_err() {
                halt.cancel();
                return done;
            }
        }
    }

    async fn rebuild_together(
        &self,
        states: &[TenantState],
        counters: &Counters,
        halt: &CancellationToken,
    ) -> Result<(), Error> {
        let tenants: Vec<TenantId> = states.iter().map(|state| state.tenant).collect();
        // A little more than what was counted: logs grow.
        let limit = (self.sizes.page * 2, true);
        let rights = batch::Rights::SameVersion;
        let mut patience = Patience::new();
        let alone = loop {
            if halt.is_cancelled() {
                return Ok(());
            }
            match batch::rebuild(&self.database, &self.statements, &tenants, &rights, limit).await {
                Ok(rebuilt) => {
                    add(&counters.tenants, rebuilt.tenants.len() as u64);
                    add(&counters.events, rebuilt.tenants.iter().map(|(_, seq)| seq).sum());
                    add(&counters.touched, rebuilt.touched);
                    break rebuilt.too_long;
                }
                Err(error) if error.is_deterministic() => break tenants,
                Err(error) => patience.with(error).await?,
            }
        };
        for tenant in alone {
            self.rebuild_alone(tenant, true, counters, halt).await?;
        }
        Ok(())
    }

    async fn rebuild_alone(
        &self,
        tenant: TenantId,
        mark: bool,
        counters: &Counters,
        halt: &CancellationToken,
    ) -> Result<(), Error> {
        let mut long = Long::new(&self.database, &self.statements, self.sizes, tenant, Right::SameVersion);
        if mark {
            long = long.leaving_a_mark();
        }
        let mut patience = Patience::new();
        while !halt.is_cancelled() {
            let found = long.found;
            let stepped = long.step().await;
            add(&counters.events, long.found.saturating_sub(found));
            add(&counters.events_before, long.found.saturating_sub(found));
            match stepped {
                Ok(Stepped::More(events) | Stepped::Ending(events)) => {
                    add(&counters.events, events);
                    patience = Patience::new();
                }
                Ok(Stepped::Done) => {
                    add(&counters.tenants, 1);
                    break;
                }
                Ok(Stepped::NotOurs) => {
                    add(&counters.other_version, 1);
                    break;
                }
                Err(error) if error.is_deterministic() => {
                    counters.fail(tenant, error);
                    break;
                }
                Err(error) => patience.with(error).await?,
            }
        }
        add(&counters.touched, long.touched);
        Ok(())
    }

    /// Those of the tenants that an interrupted replay has done.
    async fn marked(&self, states: &[TenantState]) -> Result<HashSet<Uuid>, Error> {
        let ids: Vec<Uuid> = states.iter().map(|state| state.tenant.0).collect();
        let mut tx = TenantsTx::begin(&self.database, states.iter().map(|state| state.tenant)).await?;
        let marked: Vec<Uuid> = sqlx::query_scalar(
            "select tenant_id from staging.progress
             where tenant_id = any($1) and run_id = $2 and state = 'done' and version = $3",
        )
        .bind(ids)
        .bind(REPLAY)
        .bind(read_model_version())
        .fetch_all(tx.connection())
        .await?;
        tx.commit().await?;
        Ok(marked.into_iter().collect())
    }

    async fn remove_marks(&self) -> Result<(), Error> {
        let mut after = Uuid::nil();
        loop {
            let page = self.tenants_after(after, LISTED).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.tenant.0;
            let mut tx = TenantsTx::begin(&self.database, page.iter().map(|state| state.tenant)).await?;
            sqlx::query("delete from staging.progress where tenant_id = any($1) and run_id = $2 and state = 'done'")
                .bind(page.iter().map(|state| state.tenant.0).collect::<Vec<_>>())
                .bind(REPLAY)
                .execute(tx.connection())
                .await?;
            tx.commit().await?;
        }
    }
}

/// The checkpoint, when the rows are of this version.
fn mine(state: &TenantState) -> Option<(u64, i32)> {
    state.checkpoint.filter(|(_, version)| *version == read_model_version())
}

async fn send(work: &mpsc::Sender<Work>, item: Work, halt: &CancellationToken) -> bool {
    tokio::select! {
        () = halt.cancelled() => false,
        sent = work.send(item) => sent.is_ok(),
    }
}
