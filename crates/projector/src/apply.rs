//! One projecting transaction: the checkpoints' compare-and-set first, then the rows, for many tenants at once.

use std::time::Instant;

use domain::TenantId;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::QueryAs;
use sqlx::{AssertSqlSafe, FromRow, Postgres};
use store::{CrashPoint, ProjectorDatabase, TenantsTx, Work};

use crate::dead_letters::Skips;
use crate::logged::Logged;
use crate::meters::TransactionMeters;
use crate::projection::Projected;
use crate::{Error, PROJECTIONS, READ_MODEL, read_model_version};

/// The next events of one tenant.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) tenant: TenantId,
    /// Epoch of the lease on the tenant's shard.
    pub(crate) epoch: i64,
    /// The checkpoint that the events follow.
    pub(crate) after: u64,
    /// Contiguous, not empty, the first is `after + 1`.
    pub(crate) events: Vec<Logged>,
}

impl Step {
    /// Where the checkpoint is afterwards.
    pub(crate) fn last(&self) -> u64 {
        self.events.last().map_or(self.after, Logged::seq)
    }
}

/// Writes the steps' rows and moves their checkpoints; answers those tenants for whom nothing was written, because their
/// checkpoint or lease is not what it was, or somebody rebuilds their rows at this moment.
pub(crate) async fn apply(
    database: &ProjectorDatabase,
    steps: &[Step],
    meters: &TransactionMeters,
) -> Result<Vec<TenantId>, Error> {
    let begun = Instant::now();
    let missed = write(database, steps).await?;
    let applied = steps.iter().filter(|step| !missed.contains(&step.tenant));
    meters.ended(applied.map(|step| step.events.len()).sum(), !missed.is_empty(), begun.elapsed());
    Ok(missed)
}

async fn write(database: &ProjectorDatabase, steps: &[Step]) -> Result<Vec<TenantId>, Error> {
    // Before anything is locked; whether it matters that one can't be read is known later.
    let events = steps.iter().flat_map(|step| &step.events);
    let mut events: Vec<_> = events.map(|event| (event, event.read())).collect();
    let mut tx = TenantsTx::begin(database, steps.iter().map(|step| step.tenant)).await?;
    let (missed, parked) = compare_and_set(&mut tx, steps).await?;
    if missed.len() == steps.len() {
        return Ok(missed);
    }
    // Under the checkpoints' locks, so that no stream is parked or goes on meanwhile.
    let skips = Skips::load(&mut tx, &parked).await?;
    events.retain(|(event, _)| !missed.contains(&event.tenant()) && !skips.leave_out(event));
    let facts: Vec<Projected<'_>> = events.into_iter().map(|(_, read)| read).collect::<Result<_, _>>()?;
    write_rows(&mut tx, &facts).await?;
    CrashPoint::BeforeRowsCommit.reached();
    tx.commit().await?;
    CrashPoint::AfterRowsCommit.reached();
    Ok(missed)
}

/// Writes the rows that follow, of all projections, into the tables that the transaction is about.
pub(crate) async fn write_rows(tx: &mut TenantsTx, facts: &[Projected<'_>]) -> Result<(), Error> {
    for projection in PROJECTIONS {
        projection.write(tx.connection(), facts).await.map_err(Error::of_rows)?;
    }
    Ok(())
}

/// Moves the checkpoints that are where we believe them, under leases that are still ours; answers the others, and those
/// of the moved tenants of whom streams are parked, with where they are now. Locks in tenant order, and does not wait for
/// whoever rebuilds a tenant's rows.
pub(crate) async fn compare_and_set(tx: &mut TenantsTx, steps: &[Step]) -> Result<(Vec<TenantId>, Parked), Error> {
    // One tenant has a statement of its own, which is planned once.
    let query = match steps {
        [step] => moving("(select $1, $2, $3, $4)", "c.tenant_id = $1")
            .bind(step.tenant.0)
            .bind(step.after.cast_signed())
            .bind(step.last().cast_signed())
            .bind(step.epoch),
        _ => moving("unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[])", "c.tenant_id = any($1)")
            .bind(steps.iter().map(|step| step.tenant.0).collect::<Vec<_>>())
            .bind(steps.iter().map(|step| step.after.cast_signed()).collect::<Vec<_>>())
            .bind(steps.iter().map(|step| step.last().cast_signed()).collect::<Vec<_>>())
            .bind(steps.iter().map(|step| step.epoch).collect::<Vec<_>>()),
    };
    let moved: Vec<(uuid::Uuid, i64, i32)> = query
        .bind(READ_MODEL)
        .bind(read_model_version())
        .bind(Work::ReadModel.as_str())
        .fetch_all(tx.connection())
        .await?;
    let is_moved = |tenant: &TenantId| moved.iter().any(|(it, ..)| *it == tenant.0);
    let missed = steps.iter().map(|step| step.tenant).filter(|tenant| !is_moved(tenant)).collect();
    let parked = moved.iter().filter(|(_, _, parked)| *parked > 0);
    Ok((missed, parked.map(|(tenant, seq, _)| (TenantId(*tenant), seq.cast_unsigned())).collect()))
}

fn moving<'q, O>(steps: &str, tenants: &str) -> QueryAs<'q, Postgres, O, PgArguments>
where
    O: for<'r> FromRow<'r, PgRow>,
{
    sqlx::query_as(AssertSqlSafe(format!(
        "with mine as materialized (
           select c.tenant_id, c.group_name, n.after, n.last, n.epoch
           from projection_checkpoints c
           join {steps} as n (tenant, after, last, epoch) on c.tenant_id = n.tenant
           where {tenants} and c.group_name = $5
           order by c.tenant_id for update of c skip locked)
         update projection_checkpoints c set seq = m.last, epoch = m.epoch, paused = null
         from mine m
         where c.tenant_id = m.tenant_id and c.group_name = m.group_name and c.seq = m.after and c.version = $6
           and exists (select from leases l where l.work = $7 and l.shard = c.shard and l.epoch = m.epoch)
         returning c.tenant_id, c.seq, c.parked"
    )))
}

/// Tenants with parked streams, and the number that their rows reflect.
type Parked = Vec<(TenantId, u64)>;
