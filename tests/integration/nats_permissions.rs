//! NATS as the bus uses it, on the real server with the users of production: each can do its own work and nothing else.

use std::time::Duration;

use bus::{Bus, Error, Events, User};
use chrono::DateTime;
use convolog::node::Nats as NatsAccess;
use domain::{Actor, ActorKind, EventMeta, RecordedEvent, Shard, TenantId};
use futures_util::StreamExt as _;
use local::Nats;
use serde_json::Value;
use serde_json::value::RawValue;
use tests::{eventually, start_nats};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(20);

struct Server {
    access: NatsAccess,
    _nats: Nats,
}

impl Server {
    /// With the stream.
    async fn start() -> Self {
        let server = Self::without_a_stream().await;
        server.bus(User::Relay).await.events().ensure().await.unwrap();
        server
    }

    async fn without_a_stream() -> Self {
        let (nats, access) = start_nats().await;
        Self { access, _nats: nats }
    }

    fn password(&self, user: User) -> String {
        self.access.passwords[&user].clone()
    }

    async fn bus(&self, user: User) -> Bus {
        let bus = Bus::connect(&self.access.url, user, Some(&self.password(user))).await.unwrap();
        assert!(bus.ready(PATIENCE).await, "{user:?}");
        bus
    }

    /// A client that may try anything, and what the server says about it.
    async fn raw(&self, user: User) -> (async_nats::Client, UnboundedReceiver<String>) {
        let (sender, errors) = unbounded_channel();
        let client = async_nats::ConnectOptions::with_user_and_password(user.name().into(), self.password(user))
            .custom_inbox_prefix(format!("_INBOX_{}", user.name()))
            .event_callback(move |event| {
                if let async_nats::Event::ServerError(error) = event {
                    sender.send(error.to_string()).unwrap();
                }
                std::future::ready(())
            })
            .connect(&self.access.url)
            .await
            .unwrap();
        (client, errors)
    }
}

fn event(tenant: u128, seq: u64) -> RecordedEvent {
    RecordedEvent {
        tenant: TenantId(Uuid::from_u128(tenant)),
        seq,
        category: "session".into(),
        stream: Uuid::from_u128(2),
        version: seq,
        event_id: Uuid::from_u128(3),
        name: "message_posted".into(),
        schema: 1,
        data: RawValue::from_string("{}".into()).unwrap(),
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

fn all_shards() -> Vec<Shard> {
    Shard::all().collect()
}

async fn next(events: &mut Events) -> RecordedEvent {
    tokio::time::timeout(PATIENCE, events.next()).await.expect("no event").unwrap().unwrap()
}

/// The server has refused what was just tried, and says so.
async fn denied(errors: &mut UnboundedReceiver<String>, what: &str) {
    let error = tokio::time::timeout(PATIENCE, errors.recv()).await.unwrap_or_else(|_| panic!("not denied: {what}"));
    let error = error.unwrap();
    assert!(error.to_lowercase().contains("permissions violation") && error.contains(what), "{what}: {error}");
}

async fn may_not(server: &Server, user: User, publish: &[&'static str], subscribe: &[&'static str]) {
    let (client, mut errors) = server.raw(user).await;
    for subject in publish {
        client.publish(*subject, "".into()).await.unwrap();
        denied(&mut errors, subject).await;
    }
    for subject in subscribe {
        let _subscription = client.subscribe(*subject).await.unwrap();
        denied(&mut errors, subject).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_viewer_sees_events_and_can_do_nothing_else() {
    let server = Server::start().await;
    let (viewer, _errors) = server.raw(User::Viewer).await;
    let mut seen = viewer.subscribe("events.>").await.unwrap();
    viewer.flush().await.unwrap();
    server.bus(User::Relay).await.events().publish_all(&[event(1, 5)], 10, 1).await.unwrap();
    let message = tokio::time::timeout(PATIENCE, seen.next()).await.unwrap().unwrap();
    assert_eq!(domain::envelope::decode(&message.payload).unwrap().seq, 5);
    let headers = message.headers.unwrap();
    assert_eq!(headers.get("Nats-Msg-Id").unwrap().as_str(), "10:00000000000000000000000000000001:5");
    let publish = [
        "events.1.2.3.4",
        "doorbell.1",
        "projected.1",
        "$JS.API.STREAM.INFO.EVENTS",
        "$JS.API.CONSUMER.CREATE.EVENTS",
        "$JS.API.CONSUMER.MSG.NEXT.EVENTS.x",
        "$JS.API.DIRECT.GET.EVENTS",
        "$JS.API.INFO",
        "_INBOX_relay.x",
        "x",
    ];
    let subscribe = [
        "_INBOX_relay.>",
        "_INBOX_projector.>",
        "_INBOX.>",
        ">",
        "doorbell.>",
        "projected.*",
        "$JS.>",
        "*.>",
        "$SYS.>",
    ];
    may_not(&server, User::Viewer, &publish, &subscribe).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_can_do_anothers_work() {
    let server = Server::start().await;
    let publish = [
        "events.1.x",
        "projected.1",
        "$JS.API.STREAM.INFO.EVENTS",
        "$JS.API.CONSUMER.CREATE.EVENTS",
        "$JS.API.CONSUMER.MSG.NEXT.EVENTS.x",
        "$JS.API.DIRECT.GET.EVENTS",
        "_INBOX_relay.x",
    ];
    let subscribe = ["_INBOX_relay.>", "_INBOX_projector.>", "doorbell.>", "*.1", "$JS.>", ">"];
    may_not(&server, User::Api, &publish, &subscribe).await;
    let publish = [
        "events.1.x",
        "doorbell.1",
        "$JS.API.STREAM.CREATE.EVENTS",
        "$JS.API.STREAM.DELETE.EVENTS",
        "$JS.API.STREAM.PURGE.EVENTS",
        "$JS.API.STREAM.MSG.GET.EVENTS",
        "$JS.API.CONSUMER.DURABLE.CREATE.EVENTS.d",
        "$JS.API.CONSUMER.CREATE.EVENTS.d",
        "$JS.API.CONSUMER.CREATE.OTHER",
    ];
    may_not(&server, User::Projector, &publish, &["_INBOX_relay.>", "_INBOX.>", "events.>", "doorbell.>"]).await;
    let publish = [
        "doorbell.1",
        "projected.1",
        "$JS.API.STREAM.DELETE.EVENTS",
        "$JS.API.STREAM.PURGE.EVENTS",
        "$JS.API.STREAM.CREATE.OTHER",
        "$JS.API.STREAM.SNAPSHOT.EVENTS",
        "$JS.API.STREAM.MSG.DELETE.EVENTS",
        "$JS.API.CONSUMER.CREATE.EVENTS",
    ];
    may_not(&server, User::Relay, &publish, &["_INBOX_projector.>", "_INBOX_api.>", "events.>", "projected.>"]).await;

    // A durable consumer through the subject of ephemeral ones.
    let (projector, _errors) = server.raw(User::Projector).await;
    let durable = r#"{"stream_name":"EVENTS","config":{"durable_name":"d","name":"d","ack_policy":"none"}}"#;
    let answer = projector.request("$JS.API.CONSUMER.CREATE.EVENTS", durable.into()).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    assert!(answer["error"].is_object(), "{answer}");
    for (user, password) in [("relay", "wrong"), ("nobody", "x"), ("", "")] {
        let options = async_nats::ConnectOptions::with_user_and_password(user.into(), password.into());
        assert!(options.connect(&server.access.url).await.is_err(), "{user}");
    }
    assert!(async_nats::connect(&server.access.url).await.is_err(), "without a user");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_stored_once_per_generation() {
    let server = Server::without_a_stream().await;
    let stream = server.bus(User::Relay).await.events();
    assert_eq!(stream.identity().await.unwrap(), None);
    assert!(matches!(stream.publish_all(&[event(1, 1)], 1, 8).await, Err(Error::StreamMissing)));
    let (one, another) = tokio::join!(stream.ensure(), stream.ensure());
    assert_eq!(one.unwrap(), another.unwrap());
    let events: Vec<_> = (1..=500).map(|seq| event(1 + u128::from(seq % 50), seq)).collect();
    assert_eq!(stream.publish_all(&events, 1, 100).await.unwrap(), 500);
    // At once, so within the duplicate window: the last one alone, because a slow machine may not manage all of them.
    assert_eq!(stream.publish_all(&events[499..], 1, 100).await.unwrap(), 500);
    assert_eq!(stream.publish_all(&events, 2, 100).await.unwrap(), 1000);
    assert_eq!(stream.ensure().await.unwrap().last_sequence, 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_definition_of_the_stream_is_changed() {
    let server = Server::without_a_stream().await;
    let (raw, _errors) = server.raw(User::Relay).await;
    let older = r#"{"name":"EVENTS","subjects":["events.>"],"storage":"file","retention":"limits","discard":"old",
                    "num_replicas":1,"max_age":1000000000000}"#;
    raw.request("$JS.API.STREAM.CREATE.EVENTS", older.into()).await.unwrap();
    server.bus(User::Relay).await.events().ensure().await.unwrap();
    let info = raw.request("$JS.API.STREAM.INFO.EVENTS", "".into()).await.unwrap();
    let info: Value = serde_json::from_slice(&info.payload).unwrap();
    assert_eq!(info["config"]["max_age"], 604_800_000_000_000_u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_gets_the_events_of_its_shards_in_order() {
    let server = Server::start().await;
    let consumer = server.bus(User::Projector).await.consumer();
    let all = all_shards();
    let events: Vec<_> = (1..=1000_u64).map(|n| event(u128::from(n % 100), n)).collect();
    let two = [events[0].tenant.shard(), events[1].tenant.shard()];
    let mut of_all = consumer.subscribe(&all).await.unwrap();
    let mut of_two = consumer.subscribe(&two).await.unwrap();
    let mut of_63 = consumer.subscribe(&all[1..]).await.unwrap();
    let mut of_none = consumer.subscribe(&[]).await.unwrap();
    server.bus(User::Relay).await.events().publish_all(&events, 7, 256).await.unwrap();
    for event in &events {
        assert_eq!(next(&mut of_all).await.seq, event.seq);
    }
    for event in events.iter().filter(|event| two.contains(&event.tenant.shard())) {
        assert_eq!(next(&mut of_two).await.seq, event.seq);
    }
    for event in events.iter().filter(|event| event.tenant.shard().number() != 0) {
        assert_eq!(next(&mut of_63).await.seq, event.seq);
    }
    assert!(tokio::time::timeout(Duration::from_millis(50), of_none.next()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_consumer_is_noticed_and_a_dropped_one_is_gone() {
    let server = Server::start().await;
    let consumer = server.bus(User::Projector).await.consumer();
    let (raw, _errors) = server.raw(User::Projector).await;
    let count = async || {
        let info = raw.request("$JS.API.STREAM.INFO.EVENTS", "".into()).await.unwrap();
        let info: Value = serde_json::from_slice(&info.payload).unwrap();
        info["state"]["consumer_count"].as_u64().unwrap()
    };
    for read_before in [true, false] {
        let mut events = consumer.subscribe(&all_shards()).await.unwrap();
        assert_eq!(count().await, 1);
        if read_before {
            server.bus(User::Relay).await.events().publish_all(&[event(1, 1)], 1, 1).await.unwrap();
            assert_eq!(next(&mut events).await.seq, 1);
        }
        // Its name is shown for logs.
        let shown = format!("{events:?}");
        let name = shown.split('"').nth(1).unwrap();
        raw.request(format!("$JS.API.CONSUMER.DELETE.EVENTS.{name}"), "".into()).await.unwrap();
        let end = tokio::time::timeout(PATIENCE, events.next()).await.unwrap();
        assert!(matches!(end, Some(Err(Error::ConsumerLost(_)))), "{end:?}");
        assert!(events.next().await.is_none());
    }
    let events = consumer.subscribe(&all_shards()).await.unwrap();
    assert_eq!(count().await, 1);
    drop(events);
    eventually("the dropped consumer is gone", async || count().await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rung_is_heard_whatever_else_is_said() {
    let server = Server::start().await;
    let (api, relay, projector) =
        (server.bus(User::Api).await, server.bus(User::Relay).await, server.bus(User::Projector).await);
    let mut heard = relay.doorbell().subscribe().await.unwrap();
    let mut projected = api.projected().subscribe().await.unwrap();
    relay.flush().await.unwrap();
    api.flush().await.unwrap();
    let tenant = |number: u128| TenantId(Uuid::from_u128(number));
    let (raw, _errors) = server.raw(User::Api).await;
    raw.publish("doorbell.1", "[]".into()).await.unwrap();
    raw.publish("doorbell.1", "".into()).await.unwrap();
    raw.flush().await.unwrap();
    api.doorbell().ring(&[(tenant(1), 1), (tenant(1), 3), (tenant(1), 2)]);
    assert_eq!(tokio::time::timeout(PATIENCE, heard.next()).await.unwrap().unwrap(), [(tenant(1), 3)]);
    let many: Vec<_> = (1..=5000).flat_map(|n| [(tenant(n), 1), (tenant(n), 2)]).collect();
    projector.projected().ring(&many);
    let mut got = Vec::new();
    while got.len() < 5000 {
        got.extend(tokio::time::timeout(PATIENCE, projected.next()).await.unwrap().unwrap());
    }
    got.sort_unstable();
    assert_eq!(got, (1..=5000).map(|n| (tenant(n), 2)).collect::<Vec<_>>());
}
