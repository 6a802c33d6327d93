//! Stores the state of a long stream, off the hot path. A cache: losing one costs a longer load.

use super::cache::{Known, StreamKey};
use super::load::Fold;
use crate::{ApiDatabase, Error, TenantTx};

/// Keeps the newer of two snapshots.
pub(super) async fn store(database: &ApiDatabase, key: StreamKey, known: &Known, fold: Fold) -> Result<(), Error> {
    let Some(state) = (fold.to_json)(&known.state) else { return Ok(()) };
    let mut tx = TenantTx::begin_with(database, key.tenant, "begin").await?;
    sqlx::query(
        "insert into snapshots as s (tenant_id, stream_id, version, shape, state) values ($1, $2, $3, $4, $5::json)
         on conflict (tenant_id, stream_id)
         do update set version = excluded.version, shape = excluded.shape, state = excluded.state
         where s.version < excluded.version or s.shape <> excluded.shape",
    )
    .bind(key.tenant.0)
    .bind(key.stream)
    .bind(known.version.cast_signed())
    .bind(fold.shape)
    .bind(state)
    .execute(tx.connection())
    .await?;
    tx.commit().await
}
