//! How far the read tables of each tenant are: the only progress of the projector.

use std::collections::HashMap;

use domain::TenantId;
use sqlx::Row as _;
use store::{ProjectorDatabase, TenantsTx};

use crate::apply::Step;
use crate::{Error, READ_MODEL, read_model_version};

/// A tenant's checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// Number of the last event that the rows reflect.
    pub(crate) seq: u64,
    /// Version of the group that wrote them.
    pub(crate) version: i32,
}

impl Checkpoint {
    /// The rows were written by an older version of the group and must be rebuilt.
    pub(crate) fn is_older(self) -> bool {
        self.version < read_model_version()
    }

    /// The rows were written by a newer version and are none of our business.
    pub(crate) fn is_newer(self) -> bool {
        self.version > read_model_version()
    }
}

/// Reads the checkpoints of these tenants and makes those that are missing.
pub(crate) async fn load(
    database: &ProjectorDatabase,
    tenants: &[TenantId],
) -> Result<HashMap<TenantId, Checkpoint>, Error> {
    let ids: Vec<_> = tenants.iter().map(|tenant| tenant.0).collect();
    let mut tx = TenantsTx::begin(database, tenants.iter().copied()).await?;
    let mut found = select(&mut tx, &ids).await?;
    if found.len() < tenants.len() {
        // In tenant order, so that two workers who meet the same new tenants do not deadlock.
        sqlx::query(
            "insert into projection_checkpoints (tenant_id, group_name, version)
             select tenant, $2, $3 from unnest($1::uuid[]) tenant order by tenant on conflict do nothing",
        )
        .bind(&ids)
        .bind(READ_MODEL)
        .bind(read_model_version())
        .execute(tx.connection())
        .await?;
        found = select(&mut tx, &ids).await?;
    }
    tx.commit().await?;
    Ok(found)
}

async fn select(tx: &mut TenantsTx, ids: &[uuid::Uuid]) -> Result<HashMap<TenantId, Checkpoint>, Error> {
    let rows = sqlx::query(
        "select tenant_id, seq, version from projection_checkpoints where tenant_id = any($1) and group_name = $2",
    )
    .bind(ids)
    .bind(READ_MODEL)
    .fetch_all(tx.connection())
    .await?;
    let checkpoint = |row: &sqlx::postgres::PgRow| -> Result<_, sqlx::Error> {
        let seq = row.try_get::<i64, _>("seq")?.cast_unsigned();
        Ok((TenantId(row.try_get("tenant_id")?), Checkpoint { seq, version: row.try_get("version")? }))
    };
    Ok(rows.iter().map(checkpoint).collect::<Result<_, _>>()?)
}

/// Notes that a tenant's next event is of newer code, unless its rows are elsewhere by now. The next event that is projected
/// clears it.
pub(crate) async fn pause(database: &ProjectorDatabase, step: &Step) -> Result<(), Error> {
    let mut tx = TenantsTx::begin(database, [step.tenant]).await?;
    sqlx::query(
        "update projection_checkpoints c set paused = 'newer_event'
         where c.tenant_id = $1 and c.group_name = $2 and c.seq = $3 and c.version = $4 and c.paused is null",
    )
    .bind(step.tenant.0)
    .bind(READ_MODEL)
    .bind(step.after.cast_signed())
    .bind(read_model_version())
    .execute(tx.connection())
    .await?;
    Ok(tx.commit().await?)
}
