//! What the relay remembers in PostgreSQL: its cursors, and which life of the stream they belong to.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::{SHARDS, TenantId};
use sqlx::{PgPool, Row as _};

use crate::Error;

/// What is remembered of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamMemory {
    /// Which life of the stream this is: part of every message's id, so that what a wiped stream has lost is not
    /// taken for a duplicate.
    pub(crate) generation: u64,
    /// When the stream was created; `None` before the first.
    pub(crate) created: Option<DateTime<Utc>>,
    /// The highest number in the stream that was acknowledged.
    pub(crate) last_sequence: u64,
    /// Shards whose cursors are set back since the generation began, of [`SHARDS`].
    pub(crate) rewound: i16,
}

impl StreamMemory {
    /// Whether all cursors belong to this life of the stream.
    pub(crate) fn is_rewound(&self) -> bool {
        self.rewound >= i16::from(SHARDS)
    }
}

pub(crate) async fn load(pool: &PgPool) -> Result<StreamMemory, Error> {
    let sql = "select generation, stream_created, last_sequence, rewound from relay_state";
    let row = sqlx::query(sql).fetch_one(pool).await?;
    Ok(StreamMemory {
        generation: row.try_get::<i64, _>("generation")?.cast_unsigned(),
        created: row.try_get("stream_created")?,
        last_sequence: row.try_get::<i64, _>("last_sequence")?.cast_unsigned(),
        rewound: row.try_get("rewound")?,
    })
}

/// Remembers another life of the stream, unless another relay was faster; answers what is remembered then.
pub(crate) async fn replace(pool: &PgPool, old: StreamMemory, new: StreamMemory) -> Result<StreamMemory, Error> {
    sqlx::query(
        "update relay_state set generation = $3, stream_created = $4, last_sequence = $5, rewound = $6
         where generation = $1 and stream_created is not distinct from $2",
    )
    .bind(old.generation.cast_signed())
    .bind(old.created)
    .bind(new.generation.cast_signed())
    .bind(new.created)
    .bind(new.last_sequence.cast_signed())
    .bind(new.rewound)
    .execute(pool)
    .await?;
    load(pool).await
}

/// The cursors of these tenants; 0 for those that have none.
pub(crate) async fn cursors(pool: &PgPool, tenants: &[TenantId]) -> Result<HashMap<TenantId, u64>, Error> {
    let rows: Vec<(uuid::Uuid, i64)> =
        sqlx::query_as("select tenant_id, seq from relay_cursors where tenant_id = any($1)")
            .bind(tenants.iter().map(|tenant| tenant.0).collect::<Vec<_>>())
            .fetch_all(pool)
            .await?;
    let mut cursors: HashMap<TenantId, u64> = tenants.iter().map(|tenant| (*tenant, 0)).collect();
    cursors.extend(rows.into_iter().map(|(tenant, seq)| (TenantId(tenant), seq.cast_unsigned())));
    Ok(cursors)
}

/// Stores cursors and the highest acknowledged number. Losing the last ones in a crash costs publishing some events
/// twice, so the commit does not wait for the disk. Nothing is stored, which is answered, when another relay has begun a new
/// generation: the cursors then belong to a stream that is gone, and would undo its rewinding.
pub(crate) async fn store_cursors(
    pool: &PgPool,
    cursors: &HashMap<TenantId, u64>,
    memory: StreamMemory,
) -> Result<bool, Error> {
    let mut cursors: Vec<_> = cursors.iter().collect();
    cursors.sort_unstable();
    let mut connection = store_connection(pool).await?;
    let stored = sqlx::query(
        "with remembered as (
           update relay_state set last_sequence = greatest(last_sequence, $3) where generation = $4 and rewound = $5 returning 1)
         insert into relay_cursors as c (tenant_id, seq)
         select n.* from unnest($1::uuid[], $2::bigint[]) n, remembered
         on conflict (tenant_id) do update set seq = excluded.seq",
    )
    .bind(cursors.iter().map(|(tenant, _)| tenant.0).collect::<Vec<_>>())
    .bind(cursors.iter().map(|(_, seq)| seq.cast_signed()).collect::<Vec<_>>())
    .bind(memory.last_sequence.cast_signed())
    .bind(memory.generation.cast_signed())
    .bind(i16::from(SHARDS))
    .execute(&mut *connection)
    .await?;
    connection.commit().await?;
    Ok(stored.rows_affected() > 0)
}

async fn store_connection(pool: &PgPool) -> Result<sqlx::Transaction<'static, sqlx::Postgres>, Error> {
    #[expect(clippy::disallowed_methods, reason = "cursors are the relay's own, of all tenants")]
    Ok(pool.begin_with("begin; set local synchronous_commit = off").await?)
}

/// Sets the cursors of the next shard back to what the stream would still hold: everything recorded in the last `retention`.
/// Once per shard and generation, whoever else is at it.
pub(crate) async fn rewind_next(pool: &PgPool, memory: StreamMemory, retention: Duration) -> Result<(), Error> {
    sqlx::query(
        "with turn as (
           update relay_state set rewound = rewound + 1 where generation = $1 and rewound = $2 returning 1)
         update relay_cursors c
         set seq = least(c.seq, first_seq_since(h.tenant_id, h.seq, clock_timestamp() - $3 * interval '1 second') - 1)
         from turn, tenant_heads h where h.tenant_id = c.tenant_id and h.shard = $2",
    )
    .bind(memory.generation.cast_signed())
    .bind(memory.rewound)
    .bind(i64::try_from(retention.as_secs()).unwrap_or(i64::MAX))
    .execute(pool)
    .await?;
    Ok(())
}

/// Tenants of these shards with events after their cursor, and their heads.
pub(crate) async fn behind(pool: &PgPool, shards: &[i16]) -> Result<Vec<(TenantId, u64)>, Error> {
    let rows: Vec<(uuid::Uuid, i64)> = sqlx::query_as(
        "select h.tenant_id, h.seq from tenant_heads h left join relay_cursors c on c.tenant_id = h.tenant_id
         where h.shard = any($1) and h.seq > coalesce(c.seq, 0)",
    )
    .bind(shards)
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|(tenant, head)| (TenantId(tenant), head.cast_unsigned())).collect())
}
