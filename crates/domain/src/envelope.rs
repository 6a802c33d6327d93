//! The one serialiser: an event as CloudEvents 1.0.2 in structured JSON, the same bytes on NATS and over HTTP.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{Actor, ActorKind, Category, EventMeta, Period, RecordedEvent, TenantId};

/// Media type of an encoded event.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

/// Bytes that [`encode`] adds to an event's data at the most: room that is kept below
/// [`crate::MAX_ENCODED_EVENT`] when an event is accepted, before its numbers are known.
pub const MAX_OVERHEAD: usize = 2 * 1024;

const SOURCE_PREFIX: &str = "/convolog/tenants/";

/// Member order is part of the contract: the same event gives the same bytes everywhere.
#[derive(Serialize)]
struct Envelope<'a> {
    specversion: &'static str,
    id: Uuid,
    source: String,
    r#type: String,
    subject: String,
    time: String,
    datacontenttype: &'static str,
    tenantid: TenantId,
    sequence: String,
    streamversion: u64,
    recordedtime: String,
    actorkind: ActorKind,
    actorid: Uuid,
    correlationid: Uuid,
    causationid: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    data: &'a RawValue,
}

#[derive(Deserialize)]
struct Incoming {
    id: Uuid,
    r#type: String,
    subject: String,
    time: DateTime<Utc>,
    tenantid: TenantId,
    sequence: String,
    streamversion: u64,
    recordedtime: DateTime<Utc>,
    actorkind: ActorKind,
    actorid: Uuid,
    correlationid: Uuid,
    causationid: Uuid,
    #[serde(default)]
    traceparent: Option<String>,
    data: Box<RawValue>,
}

/// Not an envelope of ours.
#[derive(Debug, thiserror::Error)]
pub enum InvalidEnvelope {
    /// Not JSON of the right form.
    #[error("the envelope is not a CloudEvent of Convolog")]
    Json(#[source] serde_json::Error),
    /// A member has a value that we would never write.
    #[error("the envelope's {0} is malformed")]
    Member(&'static str),
}

/// The event's bytes, at most [`crate::MAX_ENCODED_EVENT`].
pub fn encode(event: &RecordedEvent) -> Result<Vec<u8>, serde_json::Error> {
    let micros = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Micros, true);
    serde_json::to_vec(&Envelope {
        specversion: "1.0",
        id: event.event_id,
        source: format!("{SOURCE_PREFIX}{}", event.tenant),
        r#type: format!("convolog.{}.{}.v{}", event.category, event.name, event.schema),
        subject: subject(&event.category, event.stream, &event.data),
        time: micros(event.occurred_at),
        datacontenttype: "application/json",
        tenantid: event.tenant,
        sequence: format!("{:020}", event.seq),
        streamversion: event.version,
        recordedtime: micros(event.recorded_at),
        actorkind: event.meta.actor.kind,
        actorid: event.meta.actor.id,
        correlationid: event.meta.correlation_id,
        causationid: event.meta.causation_id,
        traceparent: event.meta.traceparent.as_deref(),
        data: &event.data,
    })
}

/// Category and id of the stream; a ledger's stream goes by the name of its period.
fn subject(category: &str, stream: Uuid, data: &RawValue) -> String {
    ledger(category, data).map_or_else(|| format!("{category}/{stream}"), Period::ledger)
}

/// The period of an event of a ledger.
fn ledger(category: &str, data: &RawValue) -> Option<Period> {
    #[derive(Deserialize)]
    struct OfLedger {
        period: Period,
    }
    if category != Category::Ledger.as_str() {
        return None;
    }
    serde_json::from_str(data.get()).ok().map(|OfLedger { period }| period)
}

/// Reads what [`encode`] wrote.
pub fn decode(bytes: &[u8]) -> Result<RecordedEvent, InvalidEnvelope> {
    let incoming: Incoming = serde_json::from_slice(bytes).map_err(InvalidEnvelope::Json)?;
    let mut parts = incoming.r#type.split('.');
    let (category, name, schema) = match (parts.next(), parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("convolog"), Some(category), Some(name), Some(schema), None) => (category, name, schema),
        _ => return Err(InvalidEnvelope::Member("type")),
    };
    let schema = schema.strip_prefix('v').and_then(|digits| digits.parse().ok());
    let (_, id) = incoming.subject.split_once('/').ok_or(InvalidEnvelope::Member("subject"))?;
    let stream = match ledger(category, &incoming.data) {
        Some(period) => Some(period.stream(incoming.tenantid)),
        None => Uuid::parse_str(id).ok(),
    };
    let stream = stream.filter(|stream| subject(category, *stream, &incoming.data) == incoming.subject);
    Ok(RecordedEvent {
        tenant: incoming.tenantid,
        seq: incoming.sequence.parse().ok().filter(|seq| *seq > 0).ok_or(InvalidEnvelope::Member("sequence"))?,
        category: category.to_owned(),
        stream: stream.ok_or(InvalidEnvelope::Member("subject"))?,
        version: incoming.streamversion,
        event_id: incoming.id,
        name: name.to_owned(),
        schema: schema.ok_or(InvalidEnvelope::Member("type"))?,
        data: incoming.data,
        meta: EventMeta {
            actor: Actor { kind: incoming.actorkind, id: incoming.actorid },
            correlation_id: incoming.correlationid,
            causation_id: incoming.causationid,
            traceparent: incoming.traceparent,
        },
        occurred_at: incoming.time,
        recorded_at: incoming.recordedtime,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> RecordedEvent {
        RecordedEvent {
            tenant: TenantId(Uuid::from_u128(1)),
            seq: 42,
            category: "session".into(),
            stream: Uuid::from_u128(2),
            version: 7,
            event_id: Uuid::from_u128(3),
            name: "message_posted".into(),
            schema: 1,
            data: RawValue::from_string(r#"{"z":1.0,"a":"ä"}"#.into()).unwrap(),
            meta: EventMeta {
                actor: Actor { kind: ActorKind::User, id: Uuid::from_u128(4) },
                correlation_id: Uuid::from_u128(5),
                causation_id: Uuid::from_u128(6),
                traceparent: None,
            },
            occurred_at: "2026-11-22T10:00:00.000001Z".parse().unwrap(),
            recorded_at: "2026-11-22T10:00:00.5Z".parse().unwrap(),
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_contract() {
        let text = String::from_utf8(encode(&event()).unwrap()).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"specversion":"1.0","id":"00000000-0000-0000-0000-000000000003","#,
                r#""source":"/convolog/tenants/00000000-0000-0000-0000-000000000001","#,
                r#""type":"convolog.session.message_posted.v1","subject":"session/00000000-0000-0000-0000-000000000002","#,
                r#""time":"2026-11-22T10:00:00.000001Z","datacontenttype":"application/json","#,
                r#""tenantid":"00000000-0000-0000-0000-000000000001","sequence":"00000000000000000042","#,
                r#""streamversion":7,"recordedtime":"2026-11-22T10:00:00.500000Z","actorkind":"user","#,
                r#""actorid":"00000000-0000-0000-0000-000000000004","correlationid":"00000000-0000-0000-0000-000000000005","#,
                r#""causationid":"00000000-0000-0000-0000-000000000006","data":{"z":1.0,"a":"ä"}}"#,
            )
        );
    }

    fn cost() -> RecordedEvent {
        let period = Period::parse("2026-11").unwrap();
        let data = RawValue::from_string(r#"{"cost_id":"x","period":"2026-11"}"#.into()).unwrap();
        let (category, name) = ("ledger".into(), "cost_recorded".into());
        RecordedEvent { category, name, stream: period.stream(event().tenant), data, ..event() }
    }

    #[test]
    fn the_subject_of_a_ledgers_event_is_its_month() {
        let bytes = encode(&cost()).unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(text.contains(r#""subject":"ledger/2026-11""#), "{text}");
        let read = decode(&bytes).unwrap();
        assert_eq!(read.stream, cost().stream);
        assert_eq!(encode(&read).unwrap(), bytes);
        for other in ["ledger/2026-12", "session/2026-11", &format!("ledger/{}", cost().stream)] {
            assert!(decode(text.replace("ledger/2026-11", other).as_bytes()).is_err(), "{other}");
        }
    }

    #[test]
    fn a_newer_event_of_a_ledger_goes_by_its_stream() {
        let newer = RecordedEvent { data: RawValue::from_string("{}".into()).unwrap(), ..cost() };
        let bytes = encode(&newer).unwrap();
        assert_eq!(decode(&bytes).unwrap().stream, newer.stream);
    }

    #[test]
    fn decoding_and_encoding_again_gives_the_same_bytes() {
        let bytes = encode(&event()).unwrap();
        assert_eq!(encode(&decode(&bytes).unwrap()).unwrap(), bytes);
    }

    #[test]
    fn the_overhead_is_below_its_limit_even_with_the_longest_members() {
        let mut event = event();
        event.seq = u64::MAX;
        event.version = u64::MAX;
        event.meta.traceparent = Some("0".repeat(55));
        assert!(encode(&event).unwrap().len() - event.data.get().len() < MAX_OVERHEAD);
    }

    #[test]
    fn what_we_would_never_write_is_refused() {
        let good = String::from_utf8(encode(&event()).unwrap()).unwrap();
        for (from, to) in [
            ("convolog.session.message_posted.v1", "other.session.message_posted.v1"),
            ("convolog.session.message_posted.v1", "convolog.session.message_posted.1"),
            ("session/0000", "tenant/0000"),
            ("00000000000000000042", "-1"),
            ("00000000000000000042", "00000000000000000000"),
        ] {
            assert!(good.contains(from) && decode(good.replace(from, to).as_bytes()).is_err(), "{from} -> {to}");
        }
    }
}
