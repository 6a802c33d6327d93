//! Rows of `events` as [`RecordedEvent`]s.

use domain::{EventMeta, RecordedEvent, TenantId};
use serde_json::value::RawValue;
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::Error;

/// The columns that [`event_from_row`] reads, of a table or alias `e`.
pub const EVENT_COLUMNS: &str = "e.tenant_id, e.seq, e.category, e.stream_id, e.version, e.event_id, e.name, e.schema, \
     e.data::text as data, e.meta::text as meta, e.occurred_at, e.recorded_at";

/// Readers of many events stop a page at about this many bytes of data, so that memory stays bounded with large events.
pub const MAX_PAGE_BYTES: usize = 8 * 1024 * 1024;

/// Reads one row of [`EVENT_COLUMNS`].
pub fn event_from_row(row: &PgRow) -> Result<RecordedEvent, Error> {
    let meta: EventMeta = serde_json::from_str(row.try_get("meta")?).map_err(Error::Encode)?;
    Ok(RecordedEvent {
        tenant: TenantId(row.try_get("tenant_id")?),
        seq: row.try_get::<i64, _>("seq")?.cast_unsigned(),
        category: row.try_get("category")?,
        stream: row.try_get("stream_id")?,
        version: row.try_get::<i64, _>("version")?.cast_unsigned(),
        event_id: row.try_get("event_id")?,
        name: row.try_get("name")?,
        schema: row.try_get::<i16, _>("schema")?.cast_unsigned(),
        data: RawValue::from_string(row.try_get("data")?).map_err(Error::Encode)?,
        meta,
        occurred_at: row.try_get("occurred_at")?,
        recorded_at: row.try_get("recorded_at")?,
    })
}
