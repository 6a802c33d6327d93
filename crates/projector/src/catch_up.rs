//! Brings tenants up to date from PostgreSQL: at the start, after a hole, while NATS is away, when far behind.

use std::collections::HashMap;

use domain::{RecordedEvent, TenantId};
use futures_util::TryStreamExt as _;
use store::{EVENT_COLUMNS, MAX_PAGE_BYTES, ProjectorDatabase, TenantsTx, event_from_row};

use crate::Error;
use crate::apply::{Applied, Step, apply};
use crate::checkpoints::{self, Checkpoint};
use crate::rebuild::rebuild;

/// Most events of one tenant in one transaction.
const PAGE: i64 = 500;

/// Reads and projects until these tenants are at the head of their logs; answers where each is. Tenants that are not
/// in the answer were written by a newer version, or their lease is gone.
pub(crate) async fn catch_up(
    database: &ProjectorDatabase,
    epochs: &HashMap<TenantId, i64>,
) -> Result<HashMap<TenantId, u64>, Error> {
    let tenants: Vec<TenantId> = epochs.keys().copied().collect();
    let mut progress = usable(database, &tenants, epochs).await?;
    loop {
        let after: Vec<(TenantId, u64)> = progress.iter().map(|(tenant, seq)| (*tenant, *seq)).collect();
        let (steps, more) = read(database, &after, epochs).await?;
        if steps.is_empty() {
            return Ok(progress);
        }
        match apply(database, &steps).await? {
            Applied::Done => {
                progress.extend(steps.iter().map(|step| (step.tenant, step.last())));
                if !more {
                    return Ok(progress);
                }
            }
            Applied::Missed(missed) => {
                for tenant in &missed {
                    progress.remove(tenant);
                }
                // Another worker has moved them: gone when its lease is newer than ours, else go on from there.
                let moved = usable(database, &missed, epochs).await?;
                let stuck = |(tenant, seq): &(TenantId, u64)| moved.get(tenant) == Some(seq);
                if after.iter().any(stuck) {
                    return Ok(progress);
                }
                progress.extend(moved);
            }
        }
    }
}

/// The checkpoints from which these tenants can go on; rows of an older version are rebuilt first.
async fn usable(
    database: &ProjectorDatabase,
    tenants: &[TenantId],
    epochs: &HashMap<TenantId, i64>,
) -> Result<HashMap<TenantId, u64>, Error> {
    if tenants.is_empty() {
        return Ok(HashMap::new());
    }
    let mut progress = HashMap::new();
    for (tenant, checkpoint) in checkpoints::load(database, tenants).await? {
        let Some(epoch) = epochs.get(&tenant) else { continue };
        match checkpoint {
            newer if newer.is_newer() => tracing::debug!(%tenant, "a newer version keeps this tenant's rows"),
            older if older.is_older() => {
                if let Some(seq) = rebuild(database, tenant, *epoch, older).await? {
                    progress.insert(tenant, seq);
                }
            }
            Checkpoint { seq, .. } => {
                progress.insert(tenant, seq);
            }
        }
    }
    Ok(progress)
}

/// The next step of each tenant that has one, and whether there is more to read.
async fn read(
    database: &ProjectorDatabase,
    after: &[(TenantId, u64)],
    epochs: &HashMap<TenantId, i64>,
) -> Result<(Vec<Step>, bool), Error> {
    let mut tx = TenantsTx::begin(database, after.iter().map(|(tenant, _)| *tenant)).await?;
    let (events, cut) = read_after(&mut tx, after).await?;
    tx.commit().await?;
    let mut steps: Vec<Step> = Vec::new();
    for event in events {
        match steps.last_mut().filter(|step| step.tenant == event.tenant) {
            Some(step) => step.events.push(event),
            None => {
                let Some(epoch) = epochs.get(&event.tenant) else { continue };
                steps.push(Step { tenant: event.tenant, epoch: *epoch, after: event.seq - 1, events: vec![event] });
            }
        }
    }
    let more = cut || steps.iter().any(|step| i64::try_from(step.events.len()) == Ok(PAGE));
    Ok((steps, more))
}

/// The next events of each tenant, tenant by tenant in `seq` order; cut short, which is answered too, when they come
/// to more than [`MAX_PAGE_BYTES`].
pub(crate) async fn read_after(
    tx: &mut TenantsTx,
    after: &[(TenantId, u64)],
) -> Result<(Vec<RecordedEvent>, bool), Error> {
    let sql = format!(
        "select {EVENT_COLUMNS} from unnest($1::uuid[], $2::bigint[]) as t (tenant, after)
         cross join lateral (select * from events e where e.tenant_id = t.tenant and e.seq > t.after
                             order by e.seq limit $3) e"
    );
    let mut rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(after.iter().map(|(tenant, _)| tenant.0).collect::<Vec<_>>())
        .bind(after.iter().map(|(_, seq)| seq.cast_signed()).collect::<Vec<_>>())
        .bind(PAGE)
        .fetch(tx.connection());
    let mut events = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.try_next().await? {
        let event = event_from_row(&row)?;
        bytes += event.data.get().len();
        events.push(event);
        if bytes > MAX_PAGE_BYTES {
            return Ok((events, true));
        }
    }
    Ok((events, false))
}
