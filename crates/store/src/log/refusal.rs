//! Before a command is answered with no: was it answered with yes before, and is the no up to date?

use sqlx::Row as _;

use super::CommandContext;
use super::cache::StreamKey;
use super::job::Finish;
use crate::{ApiDatabase, Error, TenantTx};

/// What the log says about a no.
pub(super) enum Review {
    /// It stands.
    Confirmed,
    /// Answer this instead.
    Answered(Finish),
    /// These streams have moved on: decide again.
    Stale(Vec<StreamKey>),
}

/// Looks the key up, then compares the versions that the no was decided on with the log's.
pub(super) async fn review(
    database: &ApiDatabase,
    context: &CommandContext,
    decided_on: &[(StreamKey, u64)],
) -> Result<Review, Error> {
    if context.key.is_none() && decided_on.is_empty() {
        return Ok(Review::Confirmed);
    }
    let tenant = context.caller.tenant();
    let mut tx = TenantTx::begin_with(database, tenant, "begin isolation level repeatable read read only").await?;
    if let Some(before) = answered_before(&mut tx, context).await? {
        return Ok(Review::Answered(match before {
            Before::Answered { seq, version, receipt } => Finish::Replayed { seq, version, receipt },
            Before::OtherRequest => Finish::KeyReused,
        }));
    }
    let mut stale = Vec::new();
    for (key, version) in decided_on {
        let current: Option<i64> = sqlx::query_scalar(
            "select version from events where tenant_id = $1 and stream_id = $2 order by version desc limit 1",
        )
        .bind(key.tenant.0)
        .bind(key.stream)
        .fetch_optional(tx.connection())
        .await?;
        if current.unwrap_or(0).cast_unsigned() != *version {
            stale.push(*key);
        }
    }
    tx.commit().await?;
    Ok(if stale.is_empty() { Review::Confirmed } else { Review::Stale(stale) })
}

/// What became of the command's key before.
pub(super) enum Before {
    /// This was answered.
    Answered { seq: u64, version: u64, receipt: String },
    /// It belongs to another request.
    OtherRequest,
}

/// Looks the command's key up.
pub(super) async fn answered_before(tx: &mut TenantTx, context: &CommandContext) -> Result<Option<Before>, Error> {
    let Some(key) = &context.key else { return Ok(None) };
    let row = sqlx::query(
        "select request_hash, seq, version, receipt::text as receipt from idempotency_keys
         where tenant_id = $1 and actor_id = $2 and key = $3",
    )
    .bind(tx.tenant().0)
    .bind(context.caller.actor().id)
    .bind(&key.key)
    .fetch_optional(tx.connection())
    .await?;
    let Some(row) = row else { return Ok(None) };
    if row.try_get::<Vec<u8>, _>("request_hash")? != key.request_hash {
        return Ok(Some(Before::OtherRequest));
    }
    Ok(Some(Before::Answered {
        seq: row.try_get::<i64, _>("seq")?.cast_unsigned(),
        version: row.try_get::<i64, _>("version")?.cast_unsigned(),
        receipt: row.try_get("receipt")?,
    }))
}
