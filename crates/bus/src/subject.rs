//! Names on the wire: subjects and message ids, made of ids and static names, never of a user's text.

use std::fmt::Write;

use async_nats::Subject;
use domain::{RecordedEvent, SHARDS, Shard, TenantId};
use uuid::Uuid;

/// All events.
pub(crate) const ALL_EVENTS: &str = "events.>";

/// A subject of the stream that no event has.
const NO_EVENTS: &str = "events.none";

/// Length of a tenant in a subject.
const SIMPLE: usize = uuid::fmt::Simple::LENGTH;

/// Room for the longest subjects and ids that occur, so that they are written without growing.
const CAPACITY: usize = 96;

/// Writes `events.<shard>.<tenant as 32 hex>.<category>.<name>` over whatever `buffer` held.
pub(crate) fn write_event(buffer: &mut String, event: &RecordedEvent) {
    buffer.clear();
    let (shard, tenant) = (event.tenant.shard(), event.tenant.0.simple());
    // Writing to a String can't fail.
    let _ = write!(buffer, "events.{shard}.{tenant}.{}.{}", event.category, event.name);
}

/// The subject of an event.
pub(crate) fn event(event: &RecordedEvent) -> String {
    let mut subject = String::with_capacity(CAPACITY);
    write_event(&mut subject, event);
    subject
}

/// Whose event a subject claims to carry; `None` when it is none of an event.
pub(crate) fn tenant(subject: &str) -> Option<TenantId> {
    let mut tokens = subject.split('.');
    let (Some("events"), Some(_shard), Some(tenant)) = (tokens.next(), tokens.next(), tokens.next()) else {
        return None;
    };
    // The parser also takes other spellings.
    Uuid::try_parse(tenant).ok().filter(|_| tenant.len() == SIMPLE).map(TenantId)
}

/// Which subjects carry the events of these shards: one for each, or one for all. Never empty, because a consumer
/// without a filter receives everything.
pub(crate) fn event_filters(shards: &[Shard]) -> Vec<String> {
    let mut shards = shards.to_vec();
    shards.sort_unstable();
    shards.dedup();
    if shards.is_empty() {
        return vec![NO_EVENTS.to_owned()];
    }
    if shards.len() == usize::from(SHARDS) {
        return vec![ALL_EVENTS.to_owned()];
    }
    shards.iter().map(|shard| format!("events.{shard}.>")).collect()
}

/// `<generation>:<tenant as 32 hex>:<seq>`: the same for the same event of the same generation, so that the stream
/// drops a second copy within its duplicate window; another generation is stored again.
pub(crate) fn message_id(event: &RecordedEvent, generation: u64) -> String {
    let mut id = String::with_capacity(CAPACITY);
    let _ = write!(id, "{generation}:{}:{}", event.tenant.0.simple(), event.seq);
    id
}

/// The subjects `<name>.<shard>`, made once.
#[derive(Debug)]
pub(crate) struct PerShard {
    name: &'static str,
    subjects: Vec<Subject>,
}

impl PerShard {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, subjects: Shard::all().map(|shard| Subject::from(format!("{name}.{shard}"))).collect() }
    }

    /// The subject of one shard; there is one for each.
    pub(crate) fn of(&self, shard: Shard) -> Option<&Subject> {
        self.subjects.get(usize::from(shard.number()))
    }

    /// The wildcard that matches all of them.
    pub(crate) fn all(&self) -> String {
        format!("{}.*", self.name)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use chrono::DateTime;
    use domain::{Actor, ActorKind, EventMeta};
    use serde_json::value::RawValue;

    use super::*;

    pub(crate) fn recorded(tenant: u128, seq: u64) -> RecordedEvent {
        RecordedEvent {
            tenant: TenantId(Uuid::from_u128(tenant)),
            seq,
            category: "session".into(),
            stream: Uuid::from_u128(2),
            version: 7,
            event_id: Uuid::from_u128(3),
            name: "message_posted".into(),
            schema: 1,
            data: RawValue::from_string(r#"{"a":1}"#.into()).unwrap(),
            meta: EventMeta {
                actor: Actor { kind: ActorKind::User, id: Uuid::from_u128(4) },
                correlation_id: Uuid::from_u128(5),
                causation_id: Uuid::from_u128(6),
                traceparent: None,
            },
            occurred_at: DateTime::UNIX_EPOCH,
            recorded_at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn an_events_subject_names_shard_tenant_category_and_type() {
        let recorded = recorded(0xabc, 42);
        let shard = recorded.tenant.shard();
        assert_eq!(event(&recorded), format!("events.{shard}.00000000000000000000000000000abc.session.message_posted"));
    }

    #[test]
    fn a_subject_tells_whose_event_it_is() {
        let recorded = recorded(0xabc, 42);
        assert_eq!(tenant(&event(&recorded)), Some(recorded.tenant));
        let hyphenated = recorded.tenant.0.hyphenated();
        for other in
            ["events", "events.1", "doorbell.1", "events.1..x", "events.1.abc.x", &format!("events.1.{hyphenated}.x")]
        {
            assert_eq!(tenant(other), None, "{other}");
        }
    }

    #[test]
    fn a_message_id_is_generation_tenant_and_seq() {
        assert_eq!(message_id(&recorded(0xabc, 42), 3), "3:00000000000000000000000000000abc:42");
    }

    #[test]
    fn subjects_and_ids_fit_their_buffers() {
        let longest = recorded(u128::MAX, u64::MAX);
        assert!(event(&longest).len() <= CAPACITY && message_id(&longest, u64::MAX).len() <= CAPACITY);
    }

    #[test]
    fn all_shards_are_one_filter_and_some_are_one_each() {
        let all: Vec<Shard> = Shard::all().collect();
        assert_eq!(event_filters(&all), ["events.>"]);
        assert_eq!(event_filters(&[all[7], all[3], all[7]]), ["events.3.>", "events.7.>"]);
        assert_eq!(event_filters(&all[1..]).len(), 63);
        assert_eq!(event_filters(&[]), ["events.none"]);
    }

    #[test]
    fn there_is_a_subject_for_every_shard() {
        let subjects = PerShard::new("doorbell");
        for shard in Shard::all() {
            assert_eq!(subjects.of(shard).unwrap().as_str(), format!("doorbell.{shard}"));
        }
    }
}
