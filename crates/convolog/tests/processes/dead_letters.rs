//! `convolog dead-letters` as a process beside a running `convolog dev`: what it says, what it does, and exit codes.
#![allow(clippy::disallowed_methods, reason = "a test is whoever it wants to be")]

use std::process::Command;
use std::time::{Duration, Instant};

use crate::process::{Data, Dev};
use convolog::attach::Attached;
use convolog::settings::ServiceSettings;
use convolog::write_side::WriteSide;
use domain::{Actor, ActorKind, Category, DecodeError, EventData, EventType, TenantId};
use serde_json::value::RawValue;
use store::{CommandContext, ExecuteError, Posting, TenantContext};
use uuid::Uuid;

/// An event of today's name with data that nobody has ever written.
struct Broken;

impl EventData for Broken {
    fn event_type(&self) -> EventType {
        EventType { name: "message_posted", schema: 1 }
    }

    fn encode(&self) -> Result<Box<RawValue>, serde_json::Error> {
        RawValue::from_string(r#"{"role":7}"#.to_owned())
    }

    fn decode(_: &str, _: u16, _: &RawValue) -> Result<Self, DecodeError> {
        unreachable!("nobody reads it here")
    }
}

/// Appends it to a session, as a broken writer would.
fn poison(data: &Data, tenant: Uuid, session: Uuid) {
    let settings = ServiceSettings::of(data.directory.path());
    let append = async {
        let write_side = WriteSide::attach(&Attached::find(&settings).unwrap()).await.unwrap();
        let actor = Actor { kind: ActorKind::System, id: Uuid::nil() };
        let caller = TenantContext::authenticated(TenantId(tenant), actor);
        let context = CommandContext::new(caller, Uuid::now_v7(), chrono::DateTime::UNIX_EPOCH);
        let appended: Result<_, ExecuteError<()>> = write_side
            .log
            .execute(context, move |unit| {
                let (id, occurred_at) = (Uuid::now_v7(), chrono::DateTime::UNIX_EPOCH);
                unit.record::<_, ()>(Category::Session, session, &Posting { id, occurred_at, event: &Broken })
            })
            .await;
        let seq = appended.unwrap().seq;
        write_side.close(Some((TenantId(tenant), seq))).await.unwrap();
    };
    tokio::runtime::Runtime::new().unwrap().block_on(append);
}

/// Runs `convolog dead-letters`: exit code, standard output, standard error.
fn dead_letters(data: &Data, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_convolog"));
    command.arg("dead-letters").args(arguments).arg("--data-dir").arg(data.directory.path());
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn until_parked(data: &Data) -> String {
    let begun = Instant::now();
    loop {
        let (code, out, err) = dead_letters(data, &["list"]);
        if code == 1 {
            return out;
        }
        assert_eq!((code, out.as_str()), (0, "nothing is parked\n"), "{err}");
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing is parked");
    }
}

/// The value of a member that is an id.
fn id(answer: &str, before: &str) -> Uuid {
    answer.split_once(before).unwrap().1[..36].parse().unwrap()
}

fn demo(dev: &Dev) -> (Uuid, String) {
    let token = dev.token();
    (id(&dev.get("/v1/auth/me", &token), r#""tenant":{"id":""#), token)
}

#[test]
fn a_parked_stream_is_listed_shown_tried_again_and_discarded() {
    let mut data = Data::new();
    let dev = data.start();
    let (tenant, token) = demo(&dev);
    let session = id(&dev.post("/v1/sessions", Some(&token), r#"{"mode":"text"}"#), r#"{"id":""#);
    poison(&data, tenant, session);
    let table = until_parked(&data);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("TENANT") && lines.len() == 2, "{table}");
    assert!(lines[1].contains(&format!("{tenant}  session/{session}  ")) && lines[1].contains("malformed"), "{table}");
    let (tenant, session) = (tenant.to_string(), session.to_string());

    let (code, out, _) = dead_letters(&data, &["list", "--email", "demo@example.com", "--json"]);
    assert_eq!(code, 1);
    assert!(out.lines().count() == 1 && out.contains(&format!(r#""stream":"{session}""#)), "{out}");
    let (code, out, _) = dead_letters(&data, &["list", "--tenant", &Uuid::nil().to_string()]);
    assert_eq!((code, out.as_str()), (2, ""), "there is no such tenant");
    let (code, out, _) = dead_letters(&data, &["show", &tenant, &session]);
    assert_eq!(code, 0);
    assert!(out.contains("Waiting   1 events") && out.contains(r#"Data      (schema 1) {"role":7}"#), "{out}");

    let (code, out, _) = dead_letters(&data, &["retry", &tenant, &session]);
    assert_eq!(code, 1);
    assert!(out.contains("still parked, at event "), "{out}");
    assert!(dead_letters(&data, &["show", &tenant, &session]).1.contains("tried 2 times"));

    let (code, _, err) = dead_letters(&data, &["discard", &tenant, &session, "--reason", " "]);
    assert_eq!(code, 2);
    assert!(err.contains("--reason"), "{err}");
    let (code, out, err) = dead_letters(&data, &["discard", &tenant, &session, "--reason", "a broken script"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("message_posted, is discarded by event "), "{out}");
    assert!(out.contains("goes on, 0 events were projected") || out.contains("is not parked any more"), "{out}");
    assert_eq!(dead_letters(&data, &["list"]), (0, "nothing is parked\n".to_owned(), String::new()));
    assert_eq!(dead_letters(&data, &["retry", "--all"]), (0, String::new(), String::new()));
    for command in [&["show"][..], &["retry"], &["discard", "--reason", "again"]] {
        let (code, _, err) = dead_letters(&data, &[command, &[&tenant, &session]].concat());
        assert_eq!(code, 2, "{err}");
        assert!(err.contains("`convolog dead-letters list` shows what is"), "{err}");
    }
    for wrong in [&["retry"][..], &["retry", &tenant], &["show", &tenant], &["discard", &tenant, &session]] {
        assert_eq!(dead_letters(&data, wrong).0, 2, "{wrong:?}");
    }
    let events = dev.get("/v1/events?category=operations", &token);
    assert!(events.contains(r#""reason":"a broken script""#), "{events}");
}
