//! Dead letters as an operator is shown them.

use chrono::{DateTime, Utc};
use domain::TenantId;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use store::{ProjectorDatabase, TenantsTx};
use uuid::Uuid;

use crate::{Error, READ_MODEL};

/// A parked stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Whose.
    pub tenant: TenantId,
    /// What the stream is about.
    pub category: String,
    /// Its id.
    pub stream: Uuid,
    /// Number of the event that cannot be projected.
    pub seq: u64,
    /// Its number in the stream.
    pub version: u64,
    /// Its own id.
    pub event_id: Uuid,
    /// What happened.
    pub name: String,
    /// Why it cannot be projected.
    pub error: String,
    /// When the stream was parked.
    pub parked_at: DateTime<Utc>,
    /// When it was tried last.
    pub tried_at: DateTime<Utc>,
    /// How often it was tried.
    pub attempts: u32,
    /// Number of the event that discards it; it goes on from there.
    pub discard_seq: Option<u64>,
    /// Events of the stream that wait, the one that cannot be projected included.
    pub waiting: u64,
}

/// The dead letters of a tenant, those that were parked first at the beginning.
pub async fn of_tenant(database: &ProjectorDatabase, tenant: TenantId) -> Result<Vec<DeadLetter>, Error> {
    let mut tx = TenantsTx::begin(database, [tenant]).await?;
    let rows = sqlx::query(
        "select d.*, (select count(*) from events e
                      where e.tenant_id = d.tenant_id and e.stream_id = d.stream_id and e.version >= d.version
                        and e.seq <= c.seq) as waiting
         from dead_letters d
         join projection_checkpoints c on c.tenant_id = d.tenant_id and c.group_name = d.group_name
         where d.tenant_id = $1 and d.group_name = $2 order by d.parked_at, d.stream_id",
    )
    .bind(tenant.0)
    .bind(READ_MODEL)
    .fetch_all(tx.connection())
    .await?;
    tx.commit().await?;
    Ok(rows.iter().map(letter).collect::<Result<_, _>>()?)
}

fn letter(row: &PgRow) -> Result<DeadLetter, sqlx::Error> {
    let number = |column| row.try_get::<i64, _>(column).map(i64::cast_unsigned);
    Ok(DeadLetter {
        tenant: TenantId(row.try_get("tenant_id")?),
        category: row.try_get("category")?,
        stream: row.try_get("stream_id")?,
        seq: number("seq")?,
        version: number("version")?,
        event_id: row.try_get("event_id")?,
        name: row.try_get("name")?,
        error: row.try_get("error")?,
        parked_at: row.try_get("parked_at")?,
        tried_at: row.try_get("tried_at")?,
        attempts: row.try_get::<i32, _>("attempts")?.cast_unsigned(),
        discard_seq: row.try_get::<Option<i64>, _>("discard_seq")?.map(i64::cast_unsigned),
        waiting: number("waiting")?,
    })
}

/// Tenants with parked streams, in the order of their ids, from after one on: of these shards, or of all.
pub async fn tenants(
    database: &ProjectorDatabase,
    shards: Option<&[i16]>,
    after: Uuid,
    limit: i32,
) -> Result<Vec<TenantId>, Error> {
    let found: Vec<Uuid> = sqlx::query_scalar("select tenant_id from parked_tenants($1, $2, $3, $4)")
        .bind(READ_MODEL)
        .bind(shards)
        .bind(after)
        .bind(limit)
        .fetch_all(database.pool())
        .await?;
    Ok(found.into_iter().map(TenantId).collect())
}

/// An event as it lies in the log, read or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// When it happened.
    pub occurred_at: DateTime<Utc>,
    /// When it was committed.
    pub recorded_at: DateTime<Utc>,
    /// Who and why, as JSON.
    pub meta: String,
    /// Its data, as JSON.
    pub data: String,
    /// Version of the data's schema.
    pub schema: u16,
}

/// The event at which the stream is parked; `None` when the log does not have it.
pub async fn content(database: &ProjectorDatabase, letter: &DeadLetter) -> Result<Option<Content>, Error> {
    let mut tx = TenantsTx::begin(database, [letter.tenant]).await?;
    let row = sqlx::query(
        "select occurred_at, recorded_at, meta::text as meta, data::text as data, schema from events
         where tenant_id = $1 and seq = $2",
    )
    .bind(letter.tenant.0)
    .bind(letter.seq.cast_signed())
    .fetch_optional(tx.connection())
    .await?;
    tx.commit().await?;
    let content = |row: &PgRow| -> Result<Content, sqlx::Error> {
        Ok(Content {
            occurred_at: row.try_get("occurred_at")?,
            recorded_at: row.try_get("recorded_at")?,
            meta: row.try_get("meta")?,
            data: row.try_get("data")?,
            schema: row.try_get::<i16, _>("schema")?.cast_unsigned(),
        })
    };
    Ok(row.as_ref().map(content).transpose()?)
}
