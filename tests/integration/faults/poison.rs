//! An event that cannot be projected stops its own tenant alone, quietly, until it is repaired or the code is newer.

use serde_json::json;
use sqlx::Row as _;
use tests::{User, World};
use uuid::Uuid;

use super::group_version::quick_world;
use super::oracle::{assert_rows_are_those_of_the_log, differences};

/// An event after the head of the tenant's log, as only an administrator, or newer code, can have written it.
struct Foreign {
    name: &'static str,
    schema: i16,
    data: String,
    meta: Option<&'static str>,
}

/// Writes it into the stream of the session; answers its seq.
async fn insert(world: &World, user: &User, session: Uuid, event: &Foreign) -> i64 {
    let row = sqlx::query(
        "with head as (update tenant_heads set seq = seq + 1 where tenant_id = $1 returning seq)
         insert into events (tenant_id, seq, category, stream_id, version, event_id, name, schema, data, meta,
                             occurred_at, recorded_at)
         select e.tenant_id, head.seq, e.category, e.stream_id, e.version + 1, gen_random_uuid(), $3, $4, $5::json,
                coalesce($6::json, e.meta), now(), now()
         from events e, head where e.tenant_id = $1 and e.stream_id = $2 order by e.version desc limit 1
         returning seq",
    )
    .bind(user.tenant)
    .bind(session)
    .bind(event.name)
    .bind(event.schema)
    .bind(&event.data)
    .bind(event.meta)
    .fetch_one(&world.database.admin)
    .await
    .unwrap();
    row.get("seq")
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
    poisoned.say(session, "before").await;
    assert_rows_are_those_of_the_log(&world).await;
    // In one gap together with good ones before it, so that the batch has to be split.
    poisoned.say(session, "just before").await;
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
    let behind = poisoned.get(&format!("/v1/sessions/{session}?min_seq={bad}")).await;
    assert_eq!(behind.status, 503, "{}", behind.body);
    let wrong = differences(&world).await;
    assert!(wrong.iter().all(|line| line.contains(&poisoned.tenant.to_string())), "{wrong:#?}");

    // It is tried again now and then, not all the time. (The sweeps of this world alone are 50 a second.)
    let before = transactions(&world).await;
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    let after = transactions(&world).await;
    assert!(after - before < 600, "{} transactions in 1.5 s", after - before);

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
    // No text of PostgreSQL holds U+0000; JSON does.
    let data = format!(r#"{{"message_id": "{}", "role": "user", "content": "nul \u0000"}}"#, Uuid::now_v7());
    one_tenant_stops_and_goes_on_after_the_repair(Foreign { name: "message_posted", schema: 1, data, meta: None })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_newer_code_stops_its_tenant_alone() {
    let data = json!({"emoji": "+1"}).to_string();
    one_tenant_stops_and_goes_on_after_the_repair(Foreign { name: "message_liked", schema: 1, data, meta: None }).await;
}
