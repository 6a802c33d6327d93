//! Each process dies at each of its crash points, once: what was acknowledged is there, nothing is there twice, and whoever comes next
//! goes on without a hand.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::process::servers::{Client, Process, field};
use crate::process::system::{API, PROJECTOR, Servers, text, until};
use crate::process::try_request;
use bus::{Bus, User};
use sqlx::PgConnection;
use store::CrashPoint;
use store::crash::VARIABLE;

/// Which process has a point.
#[derive(Debug, PartialEq, Eq)]
enum Victim {
    Api,
    Projector,
    Replay,
    Discard,
}

fn victim(point: CrashPoint) -> Victim {
    match point {
        CrashPoint::AfterCommit | CrashPoint::AfterRegistration => Victim::Api,
        CrashPoint::AfterPublish
        | CrashPoint::AmidRewind
        | CrashPoint::BeforeRowsCommit
        | CrashPoint::AfterRowsCommit => Victim::Projector,
        CrashPoint::BetweenPages | CrashPoint::BeforeSwapCommit | CrashPoint::BetweenSwaps => Victim::Replay,
        CrashPoint::AfterDiscard => Victim::Discard,
    }
}

fn points_of(victims: Victim) -> Vec<CrashPoint> {
    CrashPoint::ALL.into_iter().filter(|point| victim(*point) == victims).collect()
}

fn to_crash_at(mut command: Command, point: CrashPoint) -> Command {
    command.env(VARIABLE, point.name());
    command
}

/// A service with one tenant; nobody projects yet.
struct Town {
    servers: Servers,
    api: Process,
    client: Client,
    admin: PgConnection,
}

impl Town {
    async fn found() -> Self {
        let servers = Servers::start().await;
        assert_eq!(servers.migrate().status().unwrap().code(), Some(0));
        let api = Process::start(servers.api());
        let client = Client::register(&api, "town");
        let admin = servers.admin().await;
        Self { servers, api, client, admin }
    }

    async fn number(&mut self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&mut self.admin).await.unwrap()
    }

    async fn head(&mut self) -> i64 {
        self.number("select sum(seq)::bigint from tenant_heads").await
    }

    async fn checkpoint(&mut self) -> i64 {
        self.number("select coalesce(sum(seq), 0)::bigint from projection_checkpoints").await
    }

    async fn cursor(&mut self) -> i64 {
        self.number("select coalesce(sum(seq), 0)::bigint from relay_cursors").await
    }

    /// The number of the last message in the stream.
    async fn published(&self) -> u64 {
        let of = |name: &str| {
            let mut settings = self.servers.settings.iter();
            settings.find(|(known, _)| *known == name).map(|(_, value)| value.clone()).unwrap()
        };
        let password = of("CONVOLOG_NATS_RELAY_PASSWORD");
        let bus = Bus::connect(&of("NATS_URL"), User::Relay, Some(&password)).await.unwrap();
        assert!(bus.ready(Duration::from_secs(30)).await);
        bus.events().ensure().await.unwrap().last_sequence
    }

    /// A projector brings everything to where the log is, and ends.
    async fn settle(&mut self) {
        let projector = Process::start(self.servers.projector());
        let head = self.head().await;
        until("the rows are at the head", async || self.checkpoint().await == head).await;
        let rewound = "select rewound::bigint from relay_state";
        until("everything is published", async || self.number(rewound).await == 64 && self.cursor().await == head)
            .await;
        projector.signal("-TERM");
        let mut projector = projector;
        assert_eq!(projector.child.wait().unwrap().code(), Some(0));
    }

    fn verify(&self) {
        let verified = self.servers.command(&["verify"], &[PROJECTOR.0]).output().unwrap();
        assert!(text(&verified).contains("0 rows differ"), "{}", text(&verified));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_dies_after_a_commit_has_acknowledged_nothing_and_lost_nothing() {
    for point in points_of(Victim::Api) {
        let mut town = Town::found().await;
        let mut armed = Process::start(to_crash_at(town.servers.api(), point));
        let before = town.head().await;
        if point == CrashPoint::AfterRegistration {
            let body =
                r#"{"tenant_name":"new","email":"new@example.com","password":"correct horse battery","name":"N"}"#;
            let answer = try_request(&armed.address, "POST", "/v1/auth/register", "", body);
            assert!(answer.is_err() || answer.unwrap().is_empty());
            armed.crashed();
            let log_in = r#"{"email":"new@example.com","password":"correct horse battery"}"#;
            let answer = try_request(&town.api.address, "POST", "/v1/auth/login", "", log_in).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{point:?}: {answer}");
            assert_eq!(town.number("select count(*) from tenants").await, 2);
        } else {
            let headers = format!("authorization: Bearer {}\r\nidempotency-key: once\r\n", town.client.token);
            let post =
                |api: &Process| try_request(&api.address, "POST", "/v1/sessions", &headers, r#"{"mode":"text"}"#);
            let answer = post(&armed);
            assert!(answer.is_err() || answer.unwrap().is_empty());
            armed.crashed();
            assert_eq!(town.head().await, before + 1, "it was stored");
            let answer = post(&town.api).unwrap();
            assert!(answer.starts_with("HTTP/1.1 201") && answer.contains("-replayed: true"), "{answer}");
            assert_eq!(field(&answer, "seq"), (before + 1).to_string());
            assert_eq!(town.head().await, before + 1, "and once");
        }
        town.settle().await;
        town.verify();
    }
}

#[test]
fn a_projector_that_dies_anywhere_loses_no_event_and_writes_none_twice() {
    // Whoever comes next waits until the leases of the dead have ended: they wait together.
    let dying = points_of(Victim::Projector).into_iter().map(|point| {
        let alone = move || tokio::runtime::Runtime::new().unwrap().block_on(a_projector_dies(point));
        std::thread::spawn(alone)
    });
    for dead in dying.collect::<Vec<_>>() {
        dead.join().unwrap();
    }
}

async fn a_projector_dies(point: CrashPoint) {
    let mut town = Town::found().await;
    town.settle().await;
    let (head, published) = (town.head().await, town.published().await);
    let mut armed = Process::start(to_crash_at(town.servers.projector(), point));
    let mut posted = None;
    if point == CrashPoint::AmidRewind {
        town.servers.nats.wipe().await.unwrap();
        town.servers.nats.start_again().await.unwrap();
    } else {
        posted = Some(town.client.start_session(&town.api));
    }
    armed.crashed();
    match point {
        CrashPoint::AfterPublish => {
            assert_eq!(town.published().await, published + 1);
            assert_eq!(town.cursor().await, head, "NATS has it and no cursor says so");
        }
        CrashPoint::AmidRewind => {
            let rewound = town.number("select rewound::bigint from relay_state").await;
            assert!((1..64).contains(&rewound), "{rewound}");
        }
        CrashPoint::BeforeRowsCommit => {
            assert_eq!(town.checkpoint().await, head);
            assert_eq!(town.number("select count(*) from sessions").await, 0);
        }
        CrashPoint::AfterRowsCommit => {
            assert_eq!(town.checkpoint().await, head + 1);
            // Nobody has told the API; it finds out by itself.
            town.client.read(&town.api, posted.as_ref().unwrap());
        }
        CrashPoint::AfterCommit
        | CrashPoint::AfterRegistration
        | CrashPoint::BetweenPages
        | CrashPoint::BeforeSwapCommit
        | CrashPoint::BetweenSwaps
        | CrashPoint::AfterDiscard => unreachable!("of another process"),
    }
    town.settle().await;
    if let Some(posted) = &posted {
        town.client.read(&town.api, posted);
    }
    let events = town.head().await;
    let published = town.published().await;
    // Within the window of duplicates it is the same message, after it one more of the same number.
    assert!((events..=events + 1).contains(&published.cast_signed()), "{point:?}: {published} of {events}");
    town.verify();
}

/// Starts a session in the log of the only tenant, with one message and so many more like it.
async fn lengthen_by(town: &mut Town, more: i32) {
    let (session, _) = town.client.start_session(&town.api);
    let headers = format!("authorization: Bearer {}\r\n", town.client.token);
    let message = r#"{"role":"user","content":"again and again"}"#;
    let path = format!("/v1/sessions/{session}/messages");
    let answer = try_request(&town.api.address, "POST", &path, &headers, message).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let sql = "
        insert into events (tenant_id, seq, category, stream_id, version, event_id, name, schema, data, meta, occurred_at, recorded_at)
        select e.tenant_id, e.seq + n, e.category, e.stream_id, e.version + n, gen_random_uuid(), e.name, e.schema,
               replace(e.data::text, e.data->>'message_id', gen_random_uuid()::text)::json, e.meta, e.occurred_at, e.recorded_at
        from (select * from events where name = 'message_posted') e, generate_series(1, $1) n";
    sqlx::query(sql).bind(more).execute(&mut town.admin).await.unwrap();
    let head = "update tenant_heads set seq = (select max(seq) from events), last_commit = null";
    sqlx::query(head).execute(&mut town.admin).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_dies_anywhere_goes_on_where_it_was_and_shows_nobody_half_of_a_row() {
    let mut town = Town::found().await;
    // So long that its rows are rebuilt in several pages and swaps.
    lengthen_by(&mut town, 22_000).await;
    town.settle().await;
    let rows = town.number("select count(*) from messages").await;
    assert_eq!(rows, 22_001);
    // Every second row is wrong; a rebuild mends them and touches no other.
    let wrong = "update messages set content = 'by hand' where version % 2 = 0";
    sqlx::query(wrong).execute(&mut town.admin).await.unwrap();
    let spoilt = "select count(*) from messages where content = 'by hand'";
    let all_wrong = town.number(spoilt).await;
    for point in points_of(Victim::Replay) {
        let mut replay = to_crash_at(town.servers.command(&["replay"], &[PROJECTOR.0]), point);
        let status = replay.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert_eq!(status.code(), None, "{point:?}: it has ended by itself");
        let still_wrong = town.number(spoilt).await;
        if point == CrashPoint::BetweenSwaps {
            assert!((1..all_wrong).contains(&still_wrong), "{still_wrong} of {all_wrong}");
        } else {
            assert_eq!(still_wrong, all_wrong, "{point:?}");
        }
        assert_eq!(town.number("select count(*) from messages").await, rows, "{point:?}");
    }
    let whole = town.servers.command(&["replay"], &[PROJECTOR.0]).output().unwrap();
    assert_eq!(whole.status.code(), Some(0), "{}", text(&whole));
    assert!(text(&whole).contains("before"), "it began anew: {}", text(&whole));
    assert_eq!(town.number(spoilt).await, 0);
    town.verify();
}

/// An event that cannot be projected, behind the only message of the only session; answers tenant and session.
async fn poison(town: &mut Town) -> (String, String) {
    lengthen_by(town, 1).await;
    let sql = "update events set data = '{\"role\": 7}' where seq = (select max(seq) from events)
               returning tenant_id::text, stream_id::text";
    sqlx::query_as(sql).fetch_one(&mut town.admin).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_discards_and_dies_has_the_projector_let_the_stream_go_on() {
    let mut town = Town::found().await;
    let (tenant, session) = poison(&mut town).await;
    town.settle().await;
    let parked = "select count(*) from dead_letters";
    assert_eq!(town.number(parked).await, 1);
    for point in points_of(Victim::Discard) {
        let arguments = ["dead-letters", "discard", &tenant, &session, "--reason", "broken"];
        let mut discard = to_crash_at(town.servers.command(&arguments, &[API.0, PROJECTOR.0]), point);
        let status = discard.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert_eq!(status.code(), None, "{point:?}: it has ended by itself");
        assert_eq!(town.number("select count(*) from discarded_events").await, 1);
        assert_eq!(town.number(parked).await, 1, "{point:?}");
    }
    let projector = Process::start(town.servers.projector());
    until("the stream goes on", async || town.number(parked).await == 0).await;
    drop(projector);
    town.settle().await;
    town.verify();
}
