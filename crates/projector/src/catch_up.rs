//! Brings tenants up to date from PostgreSQL: at the start, after a hole, while NATS is away, when far behind.

use std::collections::HashMap;
use std::time::Duration;

use domain::TenantId;
use futures_util::TryStreamExt as _;
use store::{EventPlace, MAX_PAGE_BYTES, ProjectorDatabase, TenantsTx, select_events_after};

use crate::Error;
use crate::apply::{Step, apply};
use crate::checkpoints::{self, Checkpoint};
use crate::dead_letters::park;
use crate::logged::Logged;
use crate::meters::TransactionMeters;
use crate::replay::Upgrade;

/// Most events of one tenant in one transaction.
const PAGE: u64 = 500;
/// Most events in one transaction: it must end well within `transaction_timeout` on a slow machine too.
const MAX_EVENTS: usize = 5_000;
/// Transactions after which a catch-up makes room for the next one, so that nobody waits for a long log to end.
const ROUNDS: usize = 16;

/// How long a catch-up rests when others hold all checkpoints that it would move.
const LOCKED_PAUSE: Duration = Duration::from_millis(10);

/// Where a catch-up has brought its tenants.
pub(crate) struct Progress {
    /// Tenants that are not in it were written by a newer version, or their lease is gone.
    pub(crate) at: HashMap<TenantId, u64>,
    /// Some of them are not at the head of their log yet.
    pub(crate) more: bool,
    /// Tenants whose rows are of an older version and only partly rebuilt.
    pub(crate) unfinished: Vec<TenantId>,
}

/// Reads and projects until these tenants are at the head of their logs, or others have waited long enough.
pub(crate) async fn catch_up(
    database: &ProjectorDatabase,
    upgrade: &Upgrade,
    epochs: &HashMap<TenantId, i64>,
    meters: &TransactionMeters,
) -> Result<Progress, Error> {
    let tenants: Vec<TenantId> = epochs.keys().copied().collect();
    let Usable { mut at, mut unfinished } = usable(database, upgrade, &tenants, epochs, meters).await?;
    for _ in 0..ROUNDS {
        let after: Vec<(TenantId, u64)> = at.iter().map(|(tenant, seq)| (*tenant, *seq)).collect();
        let (mut steps, more) = read(database, &after, epochs).await?;
        if steps.is_empty() {
            return Ok(Progress { at, more: false, unfinished });
        }
        let read: usize = steps.iter().map(|step| step.events.len()).sum();
        let missed = apply_or_park(database, &mut steps, meters).await?;
        let done = || steps.iter().filter(|step| !missed.contains(&step.tenant));
        at.extend(done().map(|step| (step.tenant, step.last())));
        if missed.is_empty() {
            let cut = steps.iter().map(|step| step.events.len()).sum::<usize>() < read;
            if !more && !cut {
                return Ok(Progress { at, more: false, unfinished });
            }
            continue;
        }
        // Another worker has moved them: gone when its lease is newer than ours, else go on from there. Or somebody
        // rebuilds their rows: they are where they were, and will be let go soon.
        at.retain(|tenant, _| !missed.contains(tenant));
        let moved = usable(database, upgrade, &missed, epochs, meters).await?;
        at.extend(moved.at);
        unfinished.extend(moved.unfinished);
        if done().next().is_none() && after.iter().all(|(tenant, seq)| at.get(tenant) == Some(seq)) {
            tokio::time::sleep(LOCKED_PAUSE).await;
        }
    }
    Ok(Progress { at, more: true, unfinished })
}

/// Applies the steps. One that is alone is halved as long as it holds an event that can't be projected; when it is that
/// event, its stream is parked. Answers those who were missed.
async fn apply_or_park(
    database: &ProjectorDatabase,
    steps: &mut [Step],
    meters: &TransactionMeters,
) -> Result<Vec<TenantId>, Error> {
    loop {
        let error = match apply(database, steps, meters).await {
            Err(error) if error.is_deterministic() => error,
            applied => return applied,
        };
        let [step] = steps else { return Err(error) };
        match step.events.as_slice() {
            [event] if error.is_poison() => return set_aside(database, step, &event.place(), error, meters).await,
            [_] | [] => {
                if error.is_newer() {
                    checkpoints::pause(database, step).await?;
                }
                return Err(error);
            }
            several => {
                let half = several.len() / 2;
                step.events.truncate(half);
            }
        }
    }
}

/// Parks the stream of the step's only event, and tells the operator.
async fn set_aside(
    database: &ProjectorDatabase,
    step: &Step,
    place: &EventPlace,
    error: Error,
    meters: &TransactionMeters,
) -> Result<Vec<TenantId>, Error> {
    let missed = park(database, step, place, &error).await?;
    if missed.is_empty() {
        meters.parkings.increment(1);
        let EventPlace { tenant, category, stream, seq, .. } = place;
        tracing::error!(
            %tenant, category, %stream, seq, error = &error as &dyn std::error::Error,
            "an event cannot be projected; its stream is parked, see `convolog dead-letters`"
        );
    }
    Ok(missed)
}

/// Who can be projected.
struct Usable {
    /// The checkpoints to go on from.
    at: HashMap<TenantId, u64>,
    /// Tenants whose rows are of an older version and only partly rebuilt.
    unfinished: Vec<TenantId>,
}

/// The checkpoints from which these tenants can go on; rows of an older version are rebuilt first.
async fn usable(
    database: &ProjectorDatabase,
    upgrade: &Upgrade,
    tenants: &[TenantId],
    epochs: &HashMap<TenantId, i64>,
    meters: &TransactionMeters,
) -> Result<Usable, Error> {
    let mut found = Usable { at: HashMap::new(), unfinished: Vec::new() };
    if tenants.is_empty() {
        return Ok(found);
    }
    let mut older = Vec::new();
    for (tenant, checkpoint) in checkpoints::load(database, tenants).await? {
        if !epochs.contains_key(&tenant) {
            continue;
        }
        match checkpoint {
            newer if newer.is_newer() => tracing::debug!(%tenant, "a newer version keeps this tenant's rows"),
            checkpoint if checkpoint.is_older() => older.push((tenant, checkpoint)),
            Checkpoint { seq, .. } => {
                found.at.insert(tenant, seq);
            }
        }
    }
    match upgrade.rebuild(database, &older, epochs).await {
        Ok(upgraded) => {
            meters.rebuilds.increment(upgraded.at.len() as u64);
            found.at.extend(upgraded.at);
            found.unfinished = upgraded.unfinished;
        }
        Err(error) if error.is_deterministic() => return Err(error),
        Err(error) => {
            // The others need not wait for them; the sweep finds them again.
            tracing::warn!(error = &error as &dyn std::error::Error, "not rebuilt; trying again later");
        }
    }
    Ok(found)
}

/// The next step of each tenant that has one, and whether there is more to read.
async fn read(
    database: &ProjectorDatabase,
    after: &[(TenantId, u64)],
    epochs: &HashMap<TenantId, i64>,
) -> Result<(Vec<Step>, bool), Error> {
    let mut tx = TenantsTx::begin(database, after.iter().map(|(tenant, _)| *tenant)).await?;
    let (events, cut) = read_after(&mut tx, after, PAGE).await?;
    tx.commit().await?;
    let mut steps: Vec<Step> = Vec::new();
    for event in events {
        let (tenant, seq) = (event.tenant(), event.seq());
        match steps.last_mut().filter(|step| step.tenant == tenant) {
            Some(step) => step.events.push(event),
            None => {
                let Some(epoch) = epochs.get(&tenant) else { continue };
                steps.push(Step { tenant, epoch: *epoch, after: seq - 1, events: vec![event] });
            }
        }
    }
    let more = cut || steps.iter().any(|step| step.events.len() as u64 == PAGE);
    Ok((steps, more))
}

/// The next events of each tenant, at most so many of one, tenant by tenant in `seq` order; cut short, which is answered too,
/// when they come to more than [`MAX_PAGE_BYTES`] or [`MAX_EVENTS`].
pub(crate) async fn read_after(
    tx: &mut TenantsTx,
    after: &[(TenantId, u64)],
    most: u64,
) -> Result<(Vec<Logged>, bool), Error> {
    let mut rows = sqlx::query(sqlx::AssertSqlSafe(select_events_after()))
        .bind(after.iter().map(|(tenant, _)| tenant.0).collect::<Vec<_>>())
        .bind(after.iter().map(|(_, seq)| seq.cast_signed()).collect::<Vec<_>>())
        .bind(most.cast_signed())
        .fetch(tx.connection());
    let mut events = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.try_next().await? {
        let event = Logged::from_row(&row)?;
        bytes += event.bytes();
        events.push(event);
        if bytes > MAX_PAGE_BYTES || events.len() >= MAX_EVENTS {
            return Ok((events, true));
        }
    }
    Ok((events, false))
}
