//! NATS lies: whatever it doubles, reorders, drops or makes up, the rows are those of the log, and a stream tells each
//! event once and in order.
//!
//! What is believed of whom: the relay's user, what an event says that is the next of its log (see the last test); nobody
//! else, anything. A hint is a reason to look, never an answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bus::{Bus, User as NatsUser};
use domain::{RecordedEvent, TenantId};
use serde_json::json;
use serde_json::value::RawValue;
use sqlx::PgPool;
use store::{EVENT_COLUMNS, event_from_row};
use tests::{User, World, WorldSettings, eventually};
use uuid::Uuid;

use super::load::{Load, assert_all_are_read};
use super::oracle::assert_rows_are_those_of_the_log;
use super::outside::client;
use crate::stream::listener::{Listener, ask, listen, log_of};
use crate::stream::random::Random;

/// Percent of messages.
#[derive(Clone, Copy, Debug)]
struct Lies {
    doubled: u64,
    dropped: u64,
    reordered: bool,
}

const HONEST: Lies = Lies { doubled: 0, dropped: 0, reordered: false };
const PHASES: [Lies; 5] = [
    Lies { doubled: 100, ..HONEST },
    Lies { reordered: true, ..HONEST },
    Lies { dropped: 30, ..HONEST },
    Lies { dropped: 100, ..HONEST },
    Lies { doubled: 60, dropped: 30, reordered: true },
];

async fn bus(world: &World, user: NatsUser) -> Bus {
    let password = world.nats_access.passwords[&user].clone();
    let bus = Bus::connect(&world.nats_access.url, user, Some(&password)).await.unwrap();
    assert!(bus.ready(Duration::from_secs(20)).await);
    bus
}

async fn all_after(database: &PgPool, cursors: &HashMap<Uuid, i64>) -> Vec<RecordedEvent> {
    let (tenants, after): (Vec<Uuid>, Vec<i64>) = cursors.iter().map(|(tenant, seq)| (*tenant, *seq)).unzip();
    let sql = format!(
        "select {EVENT_COLUMNS} from events e left join unnest($1::uuid[], $2::bigint[]) c (tenant, seq) on c.tenant = e.tenant_id
         where e.seq > coalesce(c.seq, 0) order by e.recorded_at, e.tenant_id, e.seq"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenants).bind(after).fetch_all(database).await.unwrap();
    rows.iter().map(|row| event_from_row(row).unwrap()).collect()
}

/// Plays the relay, with lies.
async fn lie(database: PgPool, relay: Bus, lies: Lies, stop: Arc<AtomicBool>, generation: Arc<AtomicU64>) {
    let mut random = Random::new(&format!("{lies:?}"));
    let mut cursors = HashMap::new();
    for event in all_after(&database, &HashMap::new()).await {
        cursors.insert(event.tenant.0, event.seq.cast_signed());
    }
    while !stop.load(Ordering::Relaxed) {
        let mut messages = Vec::new();
        for event in all_after(&database, &cursors).await {
            cursors.insert(event.tenant.0, event.seq.cast_signed());
            let copies =
                if random.below(100) < lies.dropped { 0 } else { 1 + u64::from(random.below(100) < lies.doubled) };
            messages.extend((0..copies).map(|_| event.clone()));
        }
        if lies.reordered {
            random.shuffle(&mut messages);
        }
        for event in messages {
            // Another generation each time: the stream itself must not drop what is doubled.
            let generation = generation.fetch_add(1, Ordering::Relaxed);
            let _number = relay.events().publish(&event, generation).await.unwrap().stored().await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn doubled_reordered_and_dropped_messages_change_neither_rows_nor_streams() {
    let world = World::with(WorldSettings { relay: false, ..WorldSettings::default() }).await;
    let relay = bus(&world, NatsUser::Relay).await;
    relay.events().ensure().await.unwrap();
    let users = [world.tenant().await, world.tenant().await];
    let mut listeners = [listen(&users[0], "", 0).await, listen(&users[1], "", 0).await];
    let (mut told, mut acks) = ([vec![], vec![]], vec![]);
    let generation = Arc::new(AtomicU64::new(100));
    for lies in PHASES {
        let stop = Arc::new(AtomicBool::new(false));
        let lying = lie(world.database.admin.clone(), relay.clone(), lies, stop.clone(), generation.clone());
        let lying = store::spawn("liar", lying);
        let load = Load::start(&users, 2).await;
        load.goes_on(50).await;
        acks.extend(load.stop().await);
        for (user, (listener, told)) in users.iter().zip(listeners.iter_mut().zip(told.iter_mut())) {
            let log = log_of(user, "").await;
            told.extend(listener.events(log.len() - told.len()).await);
            assert!(*told == log, "{lies:?}");
        }
        assert_rows_are_those_of_the_log(&world).await;
        stop.store(true, Ordering::Relaxed);
        lying.await.unwrap();
    }
    assert_all_are_read(&world, &acks).await;
}

/// Transactions of this test's database so far.
async fn transactions(world: &World) -> i64 {
    sqlx::query_scalar("select xact_commit + xact_rollback from pg_stat_database where datname = current_database()")
        .fetch_one(&world.database.admin)
        .await
        .unwrap()
}

/// Nothing goes round in circles. A slow machine only makes this weaker.
async fn is_calm(world: &World) {
    // What was said must have been heard, and PostgreSQL counts with a delay of a second.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let before = transactions(world).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let worked = transactions(world).await - before;
    assert!(worked < 400, "{worked} transactions of nobody in a second and a half");
}

/// An event that would follow on the log's last, or comes `ahead` behind it.
async fn made_up(world: &World, user: &User, ahead: u64) -> RecordedEvent {
    let events = all_after(&world.database.admin, &HashMap::new()).await;
    let mut event = events.into_iter().filter(|event| event.tenant.0 == user.tenant).max_by_key(|e| e.seq).unwrap();
    (event.seq, event.version, event.event_id) = (event.seq + ahead, event.version + ahead, Uuid::now_v7());
    let data = json!({"message_id": Uuid::now_v7(), "role": "user", "content": "made up"}).to_string();
    event.data = RawValue::from_string(data).unwrap();
    event
}

#[tokio::test(flavor = "multi_thread")]
async fn hints_that_are_wrong_are_looked_into_and_forgotten() {
    let world = World::start().await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    user.say(session, "true").await;
    let mut listener = listen(&user, "", 0).await;
    world.drain().await;
    let (api, projector) = (bus(&world, NatsUser::Api).await, bus(&world, NatsUser::Projector).await);
    let known = TenantId(user.tenant);
    for n in 0..200 {
        let unknown = TenantId(Uuid::now_v7());
        for bell in [api.doorbell(), projector.projected()] {
            bell.ring(&[(unknown, n + 1), (known, u64::MAX), (known, u64::MAX - n)]);
        }
    }
    for (user, subject) in [(NatsUser::Api, "doorbell.3"), (NatsUser::Projector, "projected.3")] {
        let raw = client(&world, user).await;
        for garbage in [vec![], vec![0; 24], vec![255; 24 * 2000], b"[[\"x\",1]]".to_vec(), vec![1; 100_000]] {
            raw.publish(subject, garbage.into()).await.unwrap();
        }
        raw.publish(format!("{}.none.x", &subject[..8]), "x".into()).await.unwrap();
        raw.flush().await.unwrap();
    }
    is_calm(&world).await;
    let seq = user.say(session, "true again").await.seq();
    assert_eq!(user.messages(session, seq).await.len(), 2);
    assert!(listener.events(6).await == log_of(&user, "").await);
    assert_rows_are_those_of_the_log(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_waits_is_not_answered_because_somebody_says_that_the_rows_are_there() {
    let mut world = World::with(WorldSettings { projector: false, ..WorldSettings::default() }).await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    let seq = user.say(session, "hello").await.seq();
    let reading = {
        let (user, path) = (user.clone(), format!("/v1/sessions/{session}/messages?min_seq={seq}"));
        store::spawn("reader", async move { user.get(&path).await })
    };
    let liar = bus(&world, NatsUser::Projector).await;
    // For as long as it takes the hints to be heard many times over; nothing is awaited.
    for _ in 0..50 {
        liar.projected().ring(&[(TenantId(user.tenant), u64::MAX)]);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!reading.is_finished(), "it has given up");
    let mut workers = world.node_settings(&WorldSettings { relay: false, ..WorldSettings::default() }, true);
    workers.api = None;
    world.nodes.push(convolog::node::Node::start(workers).await.unwrap());
    let reply = reading.await.unwrap();
    assert_eq!((reply.status, &reply.body["data"][0]["content"]), (200, &json!("hello")), "{}", reply.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn made_up_events_that_follow_on_nothing_are_looked_into_and_forgotten() {
    let world = World::start().await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    user.say(session, "true").await;
    let mut listener = listen(&user, "", 0).await;
    world.drain().await;
    world.drain_relay().await;
    let relay = bus(&world, NatsUser::Relay).await;
    let mut forged = Vec::new();
    for (n, ahead) in [2, 1000, 1 << 62].into_iter().enumerate() {
        forged.push(made_up(&world, &user, ahead).await);
        let mut unknown = made_up(&world, &user, ahead).await;
        (unknown.tenant, unknown.seq) = (TenantId(Uuid::now_v7()), n as u64 + 1);
        forged.push(unknown);
    }
    relay.events().publish_all(&forged, 900, 8).await.unwrap();
    let raw = client(&world, NatsUser::Relay).await;
    let shard = TenantId(user.tenant).shard();
    for garbage in ["", "{}", "null", "\u{0}"] {
        let subject = format!("events.{shard}.{}.session.message_posted", user.tenant.simple());
        raw.publish(subject, garbage.into()).await.unwrap();
    }
    // Another tenant's next event on this tenant's subject.
    let other = world.tenant().await;
    let mut of_other = listen(&other, "", 3).await;
    let next = made_up(&world, &other, 1).await;
    let subject = format!("events.{shard}.{}.{}.{}", user.tenant.simple(), next.category, next.name);
    raw.publish(subject, domain::envelope::encode(&next).unwrap().into()).await.unwrap();
    raw.flush().await.unwrap();
    is_calm(&world).await;
    let seq = user.say(session, "true again").await.seq();
    assert_eq!(user.messages(session, seq).await.len(), 2);
    let told = listener.events(6).await;
    assert!(told == log_of(&user, "").await);
    other.start_session().await;
    assert_eq!(of_other.event().await.unwrap(), log_of(&other, "").await[3]);
    let strangers: i64 = sqlx::query_scalar(
        "select count(*) from projection_checkpoints c where not exists (select from tenant_heads h where h.tenant_id = c.tenant_id) and c.seq > 0",
    )
    .fetch_one(&world.database.admin)
    .await
    .unwrap();
    assert_eq!(strangers, 0, "nothing is projected of tenants that do not exist");
    assert_rows_are_those_of_the_log(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_relays_user_makes_up_as_the_next_event_is_believed_until_the_rows_are_rebuilt() {
    let world = World::with(WorldSettings { relay: false, ..WorldSettings::default() }).await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    user.say(session, "true").await;
    world.drain().await;
    let relay = bus(&world, NatsUser::Relay).await;
    relay.events().ensure().await.unwrap();
    let next = made_up(&world, &user, 1).await;
    let generation = AtomicU64::new(900);
    // The trust in the relay's user ends here: its word is taken for the next event of a log.
    eventually("it is believed", async || {
        let generation = generation.fetch_add(1, Ordering::Relaxed);
        relay.events().publish_all(std::slice::from_ref(&next), generation, 1).await.unwrap();
        user.messages(session, 0).await.iter().any(|message| message["content"] == "made up")
    })
    .await;
    // The log has nothing of it, and a rebuild gives what the log has.
    assert_eq!(log_of(&user, "").await.len(), 5);
    user.say(session, "true again").await;
    sqlx::query("update projection_checkpoints set version = 0").execute(&world.database.admin).await.unwrap();
    eventually("the rows are rebuilt", async || super::oracle::differences(&world).await.is_empty()).await;
    assert_eq!(user.messages(session, 6).await.len(), 2);
}

/// Until the stream ends.
async fn to_the_end(listener: &mut Listener) -> Vec<(u64, String)> {
    let mut told = Vec::new();
    while let Some(event) = listener.event().await {
        told.push(event);
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_told_of_an_event_that_the_log_does_not_have_ends_and_the_next_is_true() {
    let world = World::with(WorldSettings { relay: false, projector: false, ..WorldSettings::default() }).await;
    let user = world.tenant().await;
    let relay = bus(&world, NatsUser::Relay).await;
    relay.events().ensure().await.unwrap();
    let mut listener = listen(&user, "", 0).await;
    assert_eq!(listener.events(3).await, log_of(&user, "").await);
    let next = made_up(&world, &user, 1).await;
    relay.events().publish_all(&[next], 900, 1).await.unwrap();
    // Here the trust ends: whoever has the relay's password is believed for a moment, by those who listen now.
    let end = tokio::time::timeout(Duration::from_secs(30), to_the_end(&mut listener));
    let told = end.await.expect("it does not end");
    assert!(told.len() == 1 && told[0].0 == 4 && told[0].1.contains("made up"), "{told:?}");
    // Who comes back hears that it is ahead of the log.
    let reply = ask(&user, "", Some("4")).await.err().unwrap();
    assert_eq!((reply.status, reply.code(), &reply.body["current_seq"]), (422, "seq_not_in_log", &json!(3)));
    let mut again = listen(&user, "", 3).await;
    let session = user.start_session().await;
    let told = again.event().await.unwrap();
    assert!(told.0 == 4 && told.1.contains(&session.to_string()));
    eventually("its place is free", async || world.nodes[0].app().unwrap().streams().open == 1).await;
}
