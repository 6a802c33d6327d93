//! Tests alone: every event version ever written has a file in `golden` that never changes, and is read for ever.
//!
//! A file is named `<category>.<name>.v<schema>.json`, or `….v<schema>.<what>.json` for another form of the same version,
//! for example without optional fields. What an older version is brought up to stands in `golden/today` under the same name:
//! that changes when there is a newer version.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use strum::{EnumCount as _, VariantNames as _};
use uuid::Uuid;

use crate::ledger;
use crate::operations;
use crate::session::{self, Session};
use crate::tenant::{self, Tenant};
use crate::user;
use crate::{
    Actor, ActorKind, Aggregate as _, Category, DecodeError, EventData as _, EventMeta, EventType, Fact, RecordedEvent,
    TenantId,
};

/// Shapes of states, each with the event types that it was folded from. Lines are added, never changed.
const SHAPES: [(&str, &[&str]); 4] = [
    ("session.1", &["message_posted.v1", "session_ended.v1", "session_started.v1"]),
    ("tenant.1", &["tenant_registered.v1", "user_added.v1"]),
    ("tenant.2", &["tenant_registered.v2", "user_added.v1"]),
    (
        "tenant.3",
        &[
            "billing_changed.v1",
            "plan_changed.v1",
            "settings_changed.v1",
            "tenant_registered.v2",
            "tenant_renamed.v1",
            "user_added.v1",
            "user_invited.v1",
            "user_profile_changed.v1",
            "user_removed.v1",
            "user_role_changed.v1",
        ],
    ),
];

/// The names of today's events of a category.
fn names(category: Category) -> &'static [&'static str] {
    match category {
        Category::Tenant => tenant::Event::VARIANTS,
        Category::Session => session::Event::VARIANTS,
        Category::Ledger => ledger::Event::VARIANTS,
        Category::Operations => operations::Event::VARIANTS,
        Category::User => user::Event::VARIANTS,
    }
}

/// The shape of a category's states today, when it has any.
fn shape(category: Category) -> Option<&'static str> {
    match category {
        Category::Tenant => Some(Tenant::STATE_SHAPE),
        Category::Session => Some(Session::STATE_SHAPE),
        Category::Ledger | Category::Operations | Category::User => None,
    }
}

/// The event as it would be written today.
fn written_today(fact: &Fact) -> (EventType, String) {
    let (event_type, data) = match fact {
        Fact::Tenant(event) => (event.event_type(), event.encode()),
        Fact::Session(event) => (event.event_type(), event.encode()),
        Fact::Ledger(event) => (event.event_type(), event.encode()),
        Fact::Operations(event) => (event.event_type(), event.encode()),
        Fact::User(event) => (event.event_type(), event.encode()),
    };
    (event_type, data.unwrap().get().to_owned())
}

/// The files of a folder below `golden`, without the line feed at their end.
fn files(folder: &str) -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(folder);
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let events = paths.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let read = |path: &Path| std::fs::read_to_string(path).unwrap().trim_end().to_owned();
    events.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), read(&path))).collect()
}

fn recorded(file: &str, data: &str) -> RecordedEvent {
    let [category, name, schema] = file.split('.').take(3).collect::<Vec<_>>()[..] else { panic!("{file}") };
    RecordedEvent {
        tenant: TenantId(Uuid::nil()),
        seq: 1,
        category: category.to_owned(),
        stream: Uuid::nil(),
        version: 1,
        event_id: Uuid::nil(),
        name: name.to_owned(),
        schema: schema.trim_start_matches('v').parse().unwrap(),
        data: RawValue::from_string(data.to_owned()).unwrap(),
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

fn read(file: &str, data: &str) -> Fact {
    Fact::of(&recorded(file, data)).unwrap_or_else(|error| panic!("{file}: {error:?}"))
}

/// Today's version of each event of a category.
fn todays(category: Category) -> BTreeMap<&'static str, u16> {
    let files = files("");
    let todays = names(category).iter().map(|name| {
        let first = format!("{}.{name}.v1.json", category.as_str());
        let data = files.get(&first).unwrap_or_else(|| panic!("golden/{first} is missing"));
        let (today, _) = written_today(&read(&first, data));
        assert_eq!(today.name, *name, "an event is named after its variant");
        (*name, today.schema)
    });
    todays.collect()
}

#[test]
fn a_golden_file_never_changes() {
    let pinned = include_str!("../golden/SHA256SUMS").lines().map(|line| line.split_once("  ").unwrap());
    let pinned: BTreeMap<String, String> = pinned.map(|(sum, file)| (file.to_owned(), sum.to_owned())).collect();
    let sum = |data: &str| Sha256::digest(format!("{data}\n")).iter().map(|byte| format!("{byte:02x}")).collect();
    let found: BTreeMap<String, String> = files("").into_iter().map(|(file, data)| (file, sum(&data))).collect();
    assert_eq!(found, pinned, "a file never changes; a new one adds what `sha256sum` prints of it");
}

#[test]
fn every_event_of_today_has_a_golden_file_and_so_has_each_version_before_it() {
    assert_eq!(Category::ALL.iter().collect::<BTreeSet<_>>().len(), Category::COUNT);
    let files = files("");
    for category in Category::ALL {
        for (name, schema) in todays(category) {
            for schema in 1..=schema {
                let file = format!("{}.{name}.v{schema}.json", category.as_str());
                assert!(files.contains_key(&file), "golden/{file} is missing");
            }
        }
    }
}

#[test]
fn every_version_ever_written_is_read_as_todays_event() {
    let mut brought_up = files("today");
    for (file, data) in files("") {
        let fact = read(&file, &data);
        let event = recorded(&file, &data);
        let (today, written) = written_today(&fact);
        assert_eq!(today.name, event.name, "{file}");
        if today.schema == event.schema {
            assert_eq!(written, data, "{file} is written as it was");
        } else {
            let expected = brought_up.remove(&file).unwrap_or_else(|| panic!("golden/today/{file} is missing"));
            assert!(today.schema > event.schema, "{file}");
            assert_eq!(written, expected, "{file} brought up to today's version");
        }
    }
    assert!(brought_up.is_empty(), "not of an older version: {:?}", brought_up.keys());
}

#[test]
fn a_member_that_newer_code_has_added_does_not_disturb() {
    for (file, data) in files("") {
        let known = read(&file, &data);
        for (at, _) in data.match_indices('{').filter(|(at, _)| !data[..*at].ends_with(r#""metadata":"#)) {
            let (before, after) = data.split_at(at + 1);
            let comma = if after.starts_with('}') { "" } else { "," };
            let added = format!(r#"{before}"added_later":{{"a":[1]}}{comma}{after}"#);
            assert_eq!(read(&file, &added), known, "{added}");
        }
    }
}

#[test]
fn a_state_that_is_folded_from_other_events_has_another_shape() {
    assert_eq!(BTreeMap::from(SHAPES).len(), SHAPES.len());
    for category in Category::ALL {
        let Some(shape) = shape(category) else { continue };
        let todays: Vec<String> = todays(category).iter().map(|(name, schema)| format!("{name}.v{schema}")).collect();
        let known = SHAPES.iter().find(|(name, _)| *name == shape).map(|(_, events)| events.join(" "));
        assert_eq!(known, Some(todays.join(" ")), "{shape} needs a new name");
    }
}

#[test]
fn an_event_of_newer_code_is_told_apart_from_a_malformed_one() {
    let newer = [
        "session.message_posted.v2",
        "session.session_renamed.v1",
        "tenant.tenant_registered.v3",
        "widget.widget_added.v1",
    ];
    for name in newer {
        assert!(matches!(Fact::of(&recorded(name, "{}")), Err(DecodeError::Newer { .. })), "{name}");
    }
    for name in ["session.message_posted.v1", "tenant.tenant_registered.v1", "tenant.tenant_registered.v2"] {
        assert!(matches!(Fact::of(&recorded(name, "{}")), Err(DecodeError::Malformed { .. })), "{name}");
    }
}
