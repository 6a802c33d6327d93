//! An event that cannot be projected parks its stream, one of newer code stops its tenant: nobody else is held up.

use std::time::Duration;

use convolog::node::Node;
use domain::TenantId;
use projector::dead_letters::{Unparked, retry};
use serde_json::json;
use store::ProjectorDatabase;
use tests::{User, World, WorldSettings, eventually};
use uuid::Uuid;

use super::group_version::{quick_node, quick_world};
use super::oracle::{assert_rows_are_those_of_the_log, differences};

/// The id of the first message.
const TAKEN: &str = "01900000-0000-7000-8000-000000000001";

/// An event after the head of the tenant's log, as only an administrator, or newer code, can have written it.
struct Foreign {
    name: &'static str,
    schema: i16,
    data: String,
    meta: Option<&'static str>,
}

/// Writes a good message and then the event into the stream of the session, in one transaction, so that no batch ends
/// between them; answers the event's seq.
async fn insert(world: &World, user: &User, session: Uuid, event: &Foreign) -> i64 {
    let good = json!({"message_id": Uuid::now_v7(), "role": "user", "content": "just before"}).to_string();
    sqlx::query_scalar(
        "with head as (update tenant_heads set seq = seq + 2 where tenant_id = $1 returning seq),
              last as (select * from events where tenant_id = $1 and stream_id = $2 order by version desc limit 1)
         insert into events (tenant_id, seq, category, stream_id, version, event_id, name, schema, data, meta,
                             occurred_at, recorded_at)
         select last.tenant_id, last.seq + n, last.category, last.stream_id, last.version + n, gen_random_uuid(),
                new.name, new.schema, new.data::json, coalesce(new.meta::json, last.meta), now(), now()
         from last, head, (values (1, 'message_posted', 1::smallint, $7, null), (2, $3, $4, $5, $6))
           as new (n, name, schema, data, meta)
         order by n
         returning seq",
    )
    .bind(user.tenant)
    .bind(session)
    .bind(event.name)
    .bind(event.schema)
    .bind(&event.data)
    .bind(event.meta)
    .bind(good)
    .fetch_all(&world.database.admin)
    .await
    .unwrap()[1]
}

/// What an event holds up that cannot be projected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeldUp {
    Stream,
    Tenant,
}

async fn nobody_else_is_held_up_and_it_goes_on_after_the_repair(event: Foreign, held_up: HeldUp) {
    let world = quick_world().await;
    let (poisoned, other) = (world.tenant().await, world.tenant().await);
    let session = poisoned.start_session().await;
    let first = json!({"id": TAKEN, "role": "user", "content": "before"});
    assert_eq!(poisoned.post(&format!("/v1/sessions/{session}/messages"), &first).await.status, 201);
    assert_rows_are_those_of_the_log(&world).await;
    let bad = insert(&world, &poisoned, session, &event).await;
    for _ in 0..20 {
        let theirs = other.start_session().await;
        let seq = other.say(theirs, "as usual").await.seq();
        assert_eq!(other.messages(theirs, seq).await.len(), 1);
    }
    let fresh = world.tenant().await;
    let seq = fresh.say(fresh.start_session().await, "a new tenant").await.seq();
    assert_eq!(fresh.get(&format!("/v1/sessions?min_seq={seq}")).await.status, 200);
    let mine = poisoned.start_session().await;
    let last = poisoned.say(mine, "in another stream").await.seq().cast_signed();
    let reached = if held_up == HeldUp::Tenant { bad - 1 } else { last };
    eventually("the events that are not held up are projected", async || {
        let checkpoint: i64 = sqlx::query_scalar("select seq from projection_checkpoints where tenant_id = $1")
            .bind(poisoned.tenant)
            .fetch_one(&world.database.admin)
            .await
            .unwrap();
        assert!(checkpoint <= reached);
        checkpoint == reached
    })
    .await;
    if held_up == HeldUp::Stream {
        assert_eq!(poisoned.messages(mine, last.cast_unsigned()).await.len(), 1);
    }
    let wrong = differences(&world).await;
    assert!(wrong.iter().all(|line| line.contains(&poisoned.tenant.to_string())), "{wrong:#?}");

    // The relay carries everybody else's events all the same.
    eventually("the relay has published all of the others", async || {
        let behind: i64 = sqlx::query_scalar(
            "select count(*) from tenant_heads h left join relay_cursors c using (tenant_id)
             where h.seq > coalesce(c.seq, 0) and h.tenant_id <> $1",
        )
        .bind(poisoned.tenant)
        .fetch_one(&world.database.admin)
        .await
        .unwrap();
        behind == 0
    })
    .await;

    // The row is repaired.
    let good = json!({"message_id": Uuid::now_v7(), "role": "user", "content": "repaired"}).to_string();
    sqlx::query(
        "update events e set name = 'message_posted', schema = 1, data = $3::json, meta = g.meta
         from events g where g.tenant_id = e.tenant_id and g.seq = 1 and e.tenant_id = $1 and e.seq = $2",
    )
    .bind(poisoned.tenant)
    .bind(bad)
    .bind(good)
    .execute(&world.database.admin)
    .await
    .unwrap();
    if held_up == HeldUp::Stream {
        let projector = ProjectorDatabase::connect(world.database.databases.projector.clone()).await.unwrap();
        let unparked = retry(&projector, TenantId(poisoned.tenant), session).await.unwrap();
        assert_eq!(unparked, Unparked::Done(1));
    }
    assert_rows_are_those_of_the_log(&world).await;
    world.drain_relay().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_with_malformed_data_parks_its_stream_alone() {
    let data = json!({"message_id": "not an id", "role": "user", "content": 7}).to_string();
    let event = Foreign { name: "message_posted", schema: 1, data, meta: None };
    nobody_else_is_held_up_and_it_goes_on_after_the_repair(event, HeldUp::Stream).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_whose_metadata_cannot_be_read_parks_its_stream_alone() {
    let data = json!({"message_id": Uuid::now_v7(), "role": "user", "content": "hello"}).to_string();
    let meta = Some(r#"{"actor": "nobody"}"#);
    let event = Foreign { name: "message_posted", schema: 1, data, meta };
    nobody_else_is_held_up_and_it_goes_on_after_the_repair(event, HeldUp::Stream).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_whose_row_postgresql_refuses_parks_its_stream_alone() {
    // The id of a message that is there already.
    let data = json!({"message_id": TAKEN, "role": "user", "content": "again"}).to_string();
    let event = Foreign { name: "message_posted", schema: 1, data, meta: None };
    nobody_else_is_held_up_and_it_goes_on_after_the_repair(event, HeldUp::Stream).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_newer_code_stops_its_tenant_alone() {
    let data = json!({"emoji": "+1"}).to_string();
    let event = Foreign { name: "message_liked", schema: 1, data, meta: None };
    nobody_else_is_held_up_and_it_goes_on_after_the_repair(event, HeldUp::Tenant).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_projected_is_left_in_peace_for_a_while() {
    let mut world = World::with(WorldSettings { apis: 0, ..WorldSettings::default() }).await;
    let mut node = quick_node(&world);
    node.projector.as_mut().unwrap().pause = Duration::from_secs(3600);
    world.nodes.push(Node::start(node).await.unwrap());
    let (poisoned, other) = (world.tenant().await, world.tenant().await);
    let session = poisoned.start_session().await;
    assert_rows_are_those_of_the_log(&world).await;
    let sql = format!(
        "create sequence tried;
         grant usage on sequence tried to convolog_projector;
         create function refuse() returns trigger language plpgsql as
         $$ begin perform nextval('tried'); raise exception 'never' using errcode = '23514'; end $$;
         create trigger refuse before insert on messages for each row when (new.tenant_id = '{}')
         execute function refuse()",
        poisoned.tenant
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&world.database.admin).await.unwrap();
    poisoned.say(session, "refused").await;
    // Once with others, once alone, and then not again in spite of sweeps and messages.
    let theirs = other.start_session().await;
    for n in 0..40 {
        poisoned.say(session, "refused").await;
        let seq = other.say(theirs, "as usual").await.seq();
        assert_eq!(other.messages(theirs, seq).await.len(), n + 1);
    }
    let tried: i64 = sqlx::query_scalar("select last_value from tried").fetch_one(&world.database.admin).await.unwrap();
    assert!((1..=12).contains(&tried), "tried {tried} times");
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_are_caught_up_together_with_a_poisoned_tenant_are_projected() {
    let idle = WorldSettings { relay: false, projector: false, ..WorldSettings::default() };
    let mut world = World::with(idle).await;
    let mut others = Vec::new();
    for event in [
        Foreign { name: "message_posted", schema: 1, data: "{}".into(), meta: None },
        Foreign { name: "session_ended", schema: 2, data: "{}".into(), meta: None },
    ] {
        let poisoned = world.tenant().await;
        insert(&world, &poisoned, poisoned.start_session().await, &event).await;
        let other = world.tenant().await;
        other.say(other.start_session().await, "as usual").await;
        others.push(other.tenant);
    }
    // Without NATS there is nothing but catching up, all tenants together.
    world.nats.kill().await.unwrap();
    let mut workers = quick_node(&world);
    workers.api = None;
    // A sweep of a slice of the shards would part them by luck.
    workers.projector.as_mut().unwrap().sweep = Duration::from_secs(3600);
    world.nodes.push(Node::start(workers).await.unwrap());
    eventually("all others are projected", async || {
        let behind: i64 = sqlx::query_scalar(
            "select count(*) from tenant_heads h left join projection_checkpoints c using (tenant_id)
             where h.seq > coalesce(c.seq, 0) and h.tenant_id = any($1)",
        )
        .bind(&others)
        .fetch_one(&world.database.admin)
        .await
        .unwrap();
        behind == 0
    })
    .await;
    let wrong = differences(&world).await;
    assert!(!wrong.iter().any(|line| others.iter().any(|other| line.contains(&other.to_string()))), "{wrong:#?}");
}
