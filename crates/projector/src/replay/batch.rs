//! Rebuilds several tenants with short logs in one transaction, so that its cost is shared.

use std::collections::HashMap;

use domain::TenantId;
use store::{CrashPoint, ProjectorDatabase, TenantsTx, Work};
use uuid::Uuid;

use super::REPLAY;
use super::statements::Statements;
use super::swap::{Whose, replace_all};
use crate::apply::write_rows;
use crate::catch_up::read_after;
use crate::dead_letters::{Skips, forget};
use crate::logged::Logged;
use crate::{Error, READ_MODEL, read_model_version};

/// Who may be rebuilt: those of this version, or under these epochs of leases those of an older one.
pub(crate) enum Rights<'a> {
    SameVersion,
    Upgrade(&'a HashMap<TenantId, i64>),
}

/// What became of a batch.
#[derive(Debug, Default)]
pub(crate) struct Rebuilt {
    /// Tenants whose rows are rebuilt, and at which number.
    pub(crate) tenants: Vec<(TenantId, u64)>,
    /// Tenants whose log did not fit: they are to be rebuilt alone.
    pub(crate) too_long: Vec<TenantId>,
    /// Rows that were deleted or added in the read tables.
    pub(crate) touched: u64,
}

/// Rebuilds those of the tenants whom it may, at the number of each one's checkpoint. With `mark` it is remembered that
/// they are done.
pub(crate) async fn rebuild(
    database: &ProjectorDatabase,
    statements: &[Statements],
    tenants: &[TenantId],
    rights: &Rights<'_>,
    (page, mark): (u64, bool),
) -> Result<Rebuilt, Error> {
    let run = Uuid::now_v7();
    let mut tx = TenantsTx::begin_staging(database, tenants.iter().copied(), run).await?;
    let locked = lock(&mut tx, tenants, rights).await?;
    if matches!(rights, Rights::Upgrade(_)) {
        // A new version tries again what an older one could not project.
        forget(&mut tx, &locked).await?;
    }
    let after: Vec<(TenantId, u64)> = locked.iter().filter(|it| it.1 > 0).map(|(tenant, _)| (*tenant, 0)).collect();
    let (events, _) = read_after(&mut tx, &after, page).await?;
    let (whole, too_long) = complete(&locked, &events);
    let events = events.iter().filter(|event| whole.get(&event.tenant()).is_some_and(|seq| event.seq() <= *seq));
    let skips = Skips::load(&mut tx, &locked).await?;
    write_rows(&mut tx, &skips.read(events)?).await?;
    let mut ids: Vec<Uuid> = whole.keys().map(|tenant| tenant.0).collect();
    ids.sort_unstable();
    let touched = replace_all(tx.connection(), statements, Whose { tenants: &ids, run }).await?;
    match rights {
        Rights::SameVersion if mark => leave_marks(&mut tx, &ids).await?,
        Rights::SameVersion => {}
        Rights::Upgrade(epochs) => set_version(&mut tx, &ids, epochs).await?,
    }
    CrashPoint::BeforeSwapCommit.reached();
    tx.commit().await?;
    Ok(Rebuilt { tenants: whole.into_iter().collect(), too_long, touched })
}

/// The checkpoints, locked in tenant order.
async fn lock(tx: &mut TenantsTx, tenants: &[TenantId], rights: &Rights<'_>) -> Result<Vec<(TenantId, u64)>, Error> {
    let epochs: Option<Vec<i64>> = match rights {
        Rights::SameVersion => None,
        // No lease has the epoch -1.
        Rights::Upgrade(epochs) => Some(tenants.iter().map(|it| epochs.get(it).copied().unwrap_or(-1)).collect()),
    };
    let found: Vec<(Uuid, i64)> = sqlx::query_as(
        "select c.tenant_id, c.seq from public.projection_checkpoints c
         where c.tenant_id = any($1) and c.group_name = $2
           and case when $4::bigint[] is null then c.version = $3
                    else c.version < $3 and exists (
                      select from public.leases l join unnest($1::uuid[], $4) as n (tenant, epoch) on n.epoch = l.epoch
                      where l.work = $5 and l.shard = c.shard and n.tenant = c.tenant_id) end
         order by c.tenant_id for update of c",
    )
    .bind(tenants.iter().map(|tenant| tenant.0).collect::<Vec<_>>())
    .bind(READ_MODEL)
    .bind(read_model_version())
    .bind(epochs)
    .bind(Work::ReadModel.as_str())
    .fetch_all(tx.connection())
    .await?;
    Ok(found.into_iter().map(|(tenant, seq)| (TenantId(tenant), seq.cast_unsigned())).collect())
}

/// Tenants of whom all events up to the checkpoint were read, and the others.
fn complete(locked: &[(TenantId, u64)], events: &[Logged]) -> (HashMap<TenantId, u64>, Vec<TenantId>) {
    let mut last: HashMap<TenantId, u64> = HashMap::new();
    for event in events {
        last.insert(event.tenant(), event.seq());
    }
    let (whole, rest): (Vec<_>, Vec<_>) =
        locked.iter().partition(|(tenant, seq)| last.get(tenant).copied().unwrap_or(0) >= *seq);
    (whole.into_iter().copied().collect(), rest.into_iter().map(|(tenant, _)| *tenant).collect())
}

async fn leave_marks(tx: &mut TenantsTx, tenants: &[Uuid]) -> Result<(), Error> {
    sqlx::query(
        "insert into staging.progress as p (tenant_id, run_id, purpose, version, state)
         select tenant, $2, 'replay', $3, 'done' from unnest($1::uuid[]) tenant order by tenant
         on conflict (tenant_id, run_id) do update set version = excluded.version, touched_at = clock_timestamp()
         where p.state = 'done'",
    )
    .bind(tenants)
    .bind(REPLAY)
    .bind(read_model_version())
    .execute(tx.connection())
    .await?;
    Ok(())
}

async fn set_version(tx: &mut TenantsTx, tenants: &[Uuid], epochs: &HashMap<TenantId, i64>) -> Result<(), Error> {
    sqlx::query(
        "update public.projection_checkpoints c set version = $3, epoch = n.epoch,
           parked = (select count(*) from public.dead_letters d
                     where d.tenant_id = c.tenant_id and d.group_name = c.group_name)
         from unnest($1::uuid[], $4::bigint[]) as n (tenant, epoch)
         where c.tenant_id = n.tenant and c.group_name = $2",
    )
    .bind(tenants)
    .bind(READ_MODEL)
    .bind(read_model_version())
    .bind(tenants.iter().map(|it| epochs.get(&TenantId(*it)).copied().unwrap_or(0)).collect::<Vec<_>>())
    .execute(tx.connection())
    .await?;
    Ok(())
}
