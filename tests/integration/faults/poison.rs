//! An event that cannot be projected stops its own tenant alone, quietly, until it is repaired or the code is newer.

use serde_json::json;
use tests::{User, World};
use uuid::Uuid;

use super::group_version::quick_world;
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

/// Transactions of this test's database so far.
async fn transactions(world: &World) -> i64 {
    sqlx::query("select pg_stat_clear_snapshot()").execute(&world.database.admin).await.unwrap();
    sqlx::query_scalar("select xact_commit + xact_rollback from pg_stat_database where datname = current_database()")
        .fetch_one(&world.database.admin)
        .await
        .unwrap()
}

async fn one_tenant_stops_and_goes_on_after_the_repair(event: Foreign) {
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
    tests::eventually("the events before it are projected", async || {
        let checkpoint: i64 = sqlx::query_scalar("select seq from projection_checkpoints where tenant_id = $1")
            .bind(poisoned.tenant)
            .fetch_one(&world.database.admin)
            .await
            .unwrap();
        assert!(checkpoint < bad);
        checkpoint == bad - 1
    })
    .await;
    let wrong = differences(&world).await;
    assert!(wrong.iter().all(|line| line.contains(&poisoned.tenant.to_string())), "{wrong:#?}");

    // It is tried again now and then, not all the time. (The sweeps of this world alone are 100 a second.)
    let before = transactions(&world).await;
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    let after = transactions(&world).await;
    assert!(after - before < 900, "{} transactions in 1.5 s", after - before);

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
    assert_rows_are_those_of_the_log(&world).await;
    world.drain_relay().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_with_malformed_data_stops_its_tenant_alone() {
    let data = json!({"message_id": "not an id", "role": "user", "content": 7}).to_string();
    one_tenant_stops_and_goes_on_after_the_repair(Foreign { name: "message_posted", schema: 1, data, meta: None })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_whose_metadata_cannot_be_read_stops_its_tenant_alone() {
    let data = json!({"message_id": Uuid::now_v7(), "role": "user", "content": "hello"}).to_string();
    let meta = Some(r#"{"actor": "nobody"}"#);
    one_tenant_stops_and_goes_on_after_the_repair(Foreign { name: "message_posted", schema: 1, data, meta }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_whose_row_postgresql_refuses_stops_its_tenant_alone() {
    // The id of a message that is there already.
    let data = json!({"message_id": TAKEN, "role": "user", "content": "again"}).to_string();
    one_tenant_stops_and_goes_on_after_the_repair(Foreign { name: "message_posted", schema: 1, data, meta: None })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_newer_code_stops_its_tenant_alone() {
    let data = json!({"emoji": "+1"}).to_string();
    one_tenant_stops_and_goes_on_after_the_repair(Foreign { name: "message_liked", schema: 1, data, meta: None }).await;
}
