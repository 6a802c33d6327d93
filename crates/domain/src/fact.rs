//! The events of all aggregates as one type, for whoever reads a whole log.

use crate::{Category, DecodeError, EventData, RecordedEvent, ledger, session, tenant};

/// What happened, whatever it happened to. A `match` over it has no `_` arm, so that the compiler lists who must
/// think about a new aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// To the tenant or its members.
    Tenant(tenant::Event),
    /// To a session.
    Session(session::Event),
    /// To a ledger of costs.
    Ledger(ledger::Event),
}

impl Fact {
    /// Reads an event's data; fails for events of newer code.
    pub fn of(event: &RecordedEvent) -> Result<Self, DecodeError> {
        match Category::parse(&event.category) {
            Some(Category::Tenant) => read(event).map(Self::Tenant),
            Some(Category::Session) => read(event).map(Self::Session),
            Some(Category::Ledger) => read(event).map(Self::Ledger),
            None => Err(DecodeError::newer(&event.name, event.schema)),
        }
    }
}

fn read<E: EventData>(event: &RecordedEvent) -> Result<E, DecodeError> {
    E::decode(&event.name, event.schema, &event.data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Actor, ActorKind, EventMeta, TenantId};
    use uuid::Uuid;

    /// One file per event version ever written, named `<category>.<name>.v<schema>.json`. A file never changes; a new
    /// version gets one of its own.
    const GOLDEN: [(&str, &str); 7] = [
        ("ledger.cost_recorded.v1", include_str!("../golden/ledger.cost_recorded.v1.json")),
        ("ledger.cost_voided.v1", include_str!("../golden/ledger.cost_voided.v1.json")),
        ("session.session_started.v1", include_str!("../golden/session.session_started.v1.json")),
        ("session.message_posted.v1", include_str!("../golden/session.message_posted.v1.json")),
        ("session.session_ended.v1", include_str!("../golden/session.session_ended.v1.json")),
        ("tenant.tenant_registered.v1", include_str!("../golden/tenant.tenant_registered.v1.json")),
        ("tenant.user_added.v1", include_str!("../golden/tenant.user_added.v1.json")),
    ];

    fn recorded(name: &str, data: &str) -> RecordedEvent {
        let mut parts = name.split('.');
        let mut part = || parts.next().unwrap().to_owned();
        RecordedEvent {
            tenant: TenantId(Uuid::nil()),
            seq: 1,
            category: part(),
            stream: Uuid::nil(),
            version: 1,
            event_id: Uuid::nil(),
            name: part(),
            schema: part().trim_start_matches('v').parse().unwrap(),
            data: serde_json::value::RawValue::from_string(data.trim_end().into()).unwrap(),
            meta: EventMeta {
                actor: Actor { kind: ActorKind::System, id: Uuid::nil() },
                correlation_id: Uuid::nil(),
                causation_id: Uuid::nil(),
                traceparent: None,
            },
            occurred_at: chrono::DateTime::UNIX_EPOCH,
            recorded_at: chrono::DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn every_event_version_ever_written_is_read_and_todays_are_written_the_same() {
        for (name, data) in GOLDEN {
            let event = recorded(name, data);
            let fact = Fact::of(&event).unwrap_or_else(|error| panic!("{name}: {error}"));
            let (written, today) = match &fact {
                Fact::Tenant(event) => (event.encode().unwrap(), event.event_type()),
                Fact::Session(event) => (event.encode().unwrap(), event.event_type()),
                Fact::Ledger(event) => (event.encode().unwrap(), event.event_type()),
            };
            assert_eq!(today.name, event.name);
            if today.schema == event.schema {
                assert_eq!(written.get(), data.trim_end(), "{name}");
            }
        }
    }

    #[test]
    fn every_event_type_has_a_golden_file_and_every_file_is_listed() {
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/golden")).unwrap();
        let mut files: Vec<String> = folder.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        let mut listed = GOLDEN.map(|(name, _)| format!("{name}.json"));
        listed.sort();
        assert_eq!(files, listed);
    }

    #[test]
    fn an_event_of_newer_code_is_told_apart_from_a_malformed_one() {
        let newer = ["session.message_posted.v2", "session.session_renamed.v1", "widget.widget_added.v1"];
        for name in newer {
            assert!(matches!(Fact::of(&recorded(name, "{}")), Err(DecodeError::Newer { .. })), "{name}");
        }
        let malformed = Fact::of(&recorded("session.message_posted.v1", "{}"));
        assert!(matches!(malformed, Err(DecodeError::Malformed { .. })));
    }
}
