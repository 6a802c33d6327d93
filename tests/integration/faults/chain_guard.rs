//! Whatever arrives on the stream, the rows are those of the log: duplicates, holes, early and foreign messages.

use std::time::Duration;

use bus::{Bus, User as NatsUser};
use domain::RecordedEvent;
use serde_json::json;
use serde_json::value::RawValue;
use store::{EVENT_COLUMNS, event_from_row};
use tests::{User, World, WorldSettings, eventually};
use uuid::Uuid;

use super::oracle::assert_rows_are_those_of_the_log;
use super::outside::client;

const NEVER: Duration = Duration::from_secs(3600);

/// A world without a relay, whose projector hears of events from messages alone.
pub(crate) async fn world_that_only_hears() -> (World, Bus) {
    let mut world = World::with(WorldSettings { apis: 0, ..WorldSettings::default() }).await;
    let mut settings = world.node_settings(&WorldSettings { relay: false, ..WorldSettings::default() }, true);
    settings.projector.as_mut().unwrap().sweep = NEVER;
    let password = world.nats_access.passwords[&NatsUser::Relay].clone();
    let relay = Bus::connect(&world.nats_access.url, NatsUser::Relay, Some(&password)).await.unwrap();
    assert!(relay.ready(Duration::from_secs(20)).await);
    relay.events().ensure().await.unwrap();
    world.nodes.push(convolog::node::Node::start(settings).await.unwrap());
    wait_for_the_subscription(&world).await;
    (world, relay)
}

/// From then on nothing but a message tells the projector of an event.
pub(super) async fn wait_for_the_subscription(world: &World) {
    let raw = client(world, NatsUser::Relay).await;
    eventually("the projector subscribes", async || {
        let info = raw.request("$JS.API.STREAM.INFO.EVENTS", "".into()).await.unwrap();
        let info: serde_json::Value = serde_json::from_slice(&info.payload).unwrap();
        info["state"]["consumer_count"].as_u64().unwrap() > 0
    })
    .await;
}

pub(crate) async fn log_of(world: &World, user: &User) -> Vec<RecordedEvent> {
    let sql = format!("select {EVENT_COLUMNS} from events e where tenant_id = $1 order by seq");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(user.tenant).fetch_all(&world.database.admin).await.unwrap();
    rows.iter().map(|row| event_from_row(row).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicated_reordered_and_dropped_messages_do_not_change_the_rows() {
    let (world, relay) = world_that_only_hears().await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    let mut generation = 100;
    let mut publish = async |events: &[&RecordedEvent]| {
        // A generation per message: the stream itself must not drop what we repeat.
        for event in events {
            generation += 1;
            let _number = relay.events().publish(event, generation).await.unwrap().stored().await.unwrap();
        }
    };
    let first = log_of(&world, &user).await;
    publish(&first.iter().collect::<Vec<_>>()).await;
    assert_rows_are_those_of_the_log(&world).await;

    for round in 0..8 {
        let before = usize::try_from(user.say(session, "one").await.seq()).unwrap() - 1;
        for content in ["two", "three", "four"] {
            user.say(session, content).await;
        }
        let log = log_of(&world, &user).await;
        let [one, two, three, four] = log[before..].iter().collect::<Vec<_>>()[..] else { panic!("four events") };
        match round % 4 {
            0 => publish(&[one, one, two, one, two, three, four, four]).await, // doubled
            1 => publish(&[four, three, two, one]).await,                      // a later one first
            2 => publish(&[one, four]).await,                                  // a hole
            _ => publish(&[three, &log[0], one, two, four]).await,             // all of it
        }
        assert_rows_are_those_of_the_log(&world).await;
    }
    let rows: i64 = sqlx::query_scalar("select sum(message_count)::bigint from sessions")
        .fetch_one(&world.database.admin)
        .await
        .unwrap();
    assert_eq!(rows, 32);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_event_is_refused_or_skipped() {
    let (world, relay) = world_that_only_hears().await;
    let (user, other) = (world.tenant().await, world.tenant().await);
    let session = user.start_session().await;
    user.say(session, "true").await;
    let log = log_of(&world, &user).await;
    let last = log.last().unwrap();
    let subject = |event: &RecordedEvent| {
        let shard = event.tenant.shard();
        format!("events.{shard}.{}.{}.{}", event.tenant.0.simple(), event.category, event.name)
    };
    let payload = domain::envelope::encode(last).unwrap();

    // Users without the right to publish: nothing reaches the stream.
    let before = relay.events().identity().await.unwrap().unwrap().last_sequence;
    for forger in [NatsUser::Api, NatsUser::Projector, NatsUser::Viewer] {
        let forger = client(&world, forger).await;
        forger.publish(subject(last), payload.clone().into()).await.unwrap();
        forger.flush().await.unwrap();
    }
    assert_eq!(relay.events().identity().await.unwrap().unwrap().last_sequence, before);

    // The one that may, with what would be the next event but on a foreign subject, and with bytes that are no event:
    // skipped, and what follows is heard.
    relay.events().publish_all(&log, 1, 8).await.unwrap();
    eventually("what is true is projected", async || {
        let seq: Option<i64> = sqlx::query_scalar("select seq from projection_checkpoints where tenant_id = $1")
            .bind(user.tenant)
            .fetch_optional(&world.database.admin)
            .await
            .unwrap();
        seq == Some(last.seq.cast_signed())
    })
    .await;
    let mut forged = last.clone();
    (forged.seq, forged.version, forged.event_id) = (last.seq + 1, last.version + 1, Uuid::now_v7());
    let data = json!({"message_id": Uuid::now_v7(), "role": "user", "content": "false"}).to_string();
    forged.data = RawValue::from_string(data).unwrap();
    let foreign = subject(&forged).replace(&user.tenant.simple().to_string(), &other.tenant.simple().to_string());
    let raw = client(&world, NatsUser::Relay).await;
    for (subject, bytes) in
        [(foreign, domain::envelope::encode(&forged).unwrap()), (subject(last), b"garbage".to_vec())]
    {
        raw.publish(subject, bytes.into()).await.unwrap();
    }
    raw.flush().await.unwrap();
    user.say(session, "true again").await;
    let log = log_of(&world, &user).await;
    let others = log_of(&world, &other).await;
    relay.events().publish_all(&others, 1, 8).await.unwrap();
    relay.events().publish_all(&log, 1, 8).await.unwrap();
    assert_rows_are_those_of_the_log(&world).await;
}
