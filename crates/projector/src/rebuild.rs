//! Rebuilds one tenant's rows when they were written by an older version of the group, in one transaction.

use domain::TenantId;
use sqlx::AssertSqlSafe;
use store::{ProjectorDatabase, TenantsTx, Work};

use crate::catch_up::read_after;
use crate::checkpoints::Checkpoint;
use crate::projection::Projected;
use crate::{Error, PROJECTIONS, READ_MODEL, read_model_version};

/// Deletes the tenant's rows and projects its log anew, up to at least the old checkpoint; readers see the old rows
/// until all new ones are there. Answers the new checkpoint, `None` when another worker was faster.
pub(crate) async fn rebuild(
    database: &ProjectorDatabase,
    tenant: TenantId,
    epoch: i64,
    old: Checkpoint,
) -> Result<Option<u64>, Error> {
    tracing::info!(%tenant, from = old.version, to = read_model_version(), "rebuilding the read tables of a tenant");
    let mut tx = TenantsTx::begin(database, [tenant]).await?;
    let taken = sqlx::query(
        "update projection_checkpoints c set seq = 0, epoch = $4, version = $5
         where c.tenant_id = $1 and c.group_name = $2 and c.seq = $3 and c.version < $5
           and exists (select from leases l where l.work = $6 and l.shard = c.shard and l.epoch = $4)",
    )
    .bind(tenant.0)
    .bind(READ_MODEL)
    .bind(old.seq.cast_signed())
    .bind(epoch)
    .bind(read_model_version())
    .bind(Work::ReadModel.as_str())
    .execute(tx.connection())
    .await?;
    if taken.rows_affected() == 0 {
        return Ok(None);
    }
    for table in PROJECTIONS.iter().flat_map(|projection| projection.tables()) {
        sqlx::query(AssertSqlSafe(format!("delete from {table} where tenant_id = $1")))
            .bind(tenant.0)
            .execute(tx.connection())
            .await?;
    }
    let mut seq = 0;
    loop {
        let (events, _) = read_after(&mut tx, &[(tenant, seq)]).await?;
        let Some(last) = events.last() else { break };
        seq = last.seq;
        let facts = Projected::read(&events)?;
        for projection in PROJECTIONS {
            projection.write(tx.connection(), &facts).await.map_err(Error::of_rows)?;
        }
    }
    sqlx::query("update projection_checkpoints set seq = $3 where tenant_id = $1 and group_name = $2")
        .bind(tenant.0)
        .bind(READ_MODEL)
        .bind(seq.cast_signed())
        .execute(tx.connection())
        .await?;
    tx.commit().await?;
    Ok(Some(seq))
}
