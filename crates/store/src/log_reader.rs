//! Rows of `events` as [`RecordedEvent`]s.

use domain::{DecodeError, EventMeta, RecordedEvent, TenantId};
use serde_json::value::RawValue;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::Error;

/// The columns that [`event_from_row`] reads, of a table or alias `e`.
pub const EVENT_COLUMNS: &str = "e.tenant_id, e.seq, e.category, e.stream_id, e.version, e.event_id, e.name, e.schema, \
     e.data::text as data, e.meta::text as meta, e.occurred_at, e.recorded_at";

/// Readers of many events stop a page at about this many bytes of data, so that memory stays bounded with large events.
pub const MAX_PAGE_BYTES: usize = 8 * 1024 * 1024;

/// Selects the next events of several tenants, in `seq` order each: `$1` tenants, `$2` the numbers after which each goes on,
/// `$3` most events of one tenant.
pub fn select_events_after() -> String {
    format!(
        "select {EVENT_COLUMNS} from unnest($1::uuid[], $2::bigint[]) as t (tenant, after)
         cross join lateral (select * from public.events e where e.tenant_id = t.tenant and e.seq > t.after
                             order by e.seq limit $3) e"
    )
}

/// Reads one row of [`EVENT_COLUMNS`]; [`Error::Decode`] when it is no event of ours, whatever is tried.
pub fn event_from_row(row: &PgRow) -> Result<RecordedEvent, Error> {
    let EventPlace { tenant, seq, category, stream, version, event_id, name } = place_from_row(row)?;
    let schema: i16 = row.try_get("schema")?;
    let malformed = |source| DecodeError::Malformed { name: name.clone(), schema: schema.cast_unsigned(), source };
    let meta: EventMeta = serde_json::from_str(row.try_get("meta")?).map_err(malformed)?;
    let data = RawValue::from_string(row.try_get("data")?).map_err(malformed)?;
    Ok(RecordedEvent {
        tenant,
        seq,
        category,
        stream,
        version,
        event_id,
        name,
        schema: schema.cast_unsigned(),
        data,
        meta,
        occurred_at: row.try_get("occurred_at")?,
        recorded_at: row.try_get("recorded_at")?,
    })
}

/// Where an event stands: what is known of it also when it can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPlace {
    /// Whose log.
    pub tenant: TenantId,
    /// Its number in that log.
    pub seq: u64,
    /// What its stream is about.
    pub category: String,
    /// Id of its stream.
    pub stream: Uuid,
    /// Its number in the stream.
    pub version: u64,
    /// Its own id.
    pub event_id: Uuid,
    /// What happened.
    pub name: String,
}

impl From<&RecordedEvent> for EventPlace {
    fn from(event: &RecordedEvent) -> Self {
        let RecordedEvent { tenant, seq, category, stream, version, event_id, name, .. } = event;
        let (category, name) = (category.clone(), name.clone());
        Self { tenant: *tenant, seq: *seq, category, stream: *stream, version: *version, event_id: *event_id, name }
    }
}

/// Reads of a row of [`EVENT_COLUMNS`] where the event stands.
pub fn place_from_row(row: &PgRow) -> Result<EventPlace, Error> {
    Ok(EventPlace {
        tenant: TenantId(row.try_get("tenant_id")?),
        seq: row.try_get::<i64, _>("seq")?.cast_unsigned(),
        category: row.try_get("category")?,
        stream: row.try_get("stream_id")?,
        version: row.try_get::<i64, _>("version")?.cast_unsigned(),
        event_id: row.try_get("event_id")?,
        name: row.try_get("name")?,
    })
}
