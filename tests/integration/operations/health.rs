//! The report tells how everything does: counts that are right, reasons when something is wrong, and no tenants.

use std::time::Duration;

use api::Operations;
use convolog::node::{Nats as NatsAccess, Node};
use serde_json::Value;
use sqlx::Executor as _;
use tests::{User, World, WorldSettings, eventually};

use crate::http::anonymous;

const FOR_EVER: Duration = Duration::from_secs(3600);

fn api_alone() -> WorldSettings {
    WorldSettings { relay: false, projector: false, ..WorldSettings::default() }
}

fn codes(report: &Value) -> Vec<&str> {
    report["reasons"].as_array().unwrap().iter().map(|reason| reason["code"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_well_says_so_with_all_its_parts() {
    let world = World::start().await;
    let user = world.tenant().await;
    user.start_session().await;
    world.drain().await;
    world.drain_relay().await;
    // Asked for once: what is answered now is what is kept.
    let reply = anonymous(&world).get("/health").await;
    let report = &reply.body;
    assert_eq!((reply.status, &report["status"]), (200, &Value::from("ok")), "{report}");
    assert_eq!(report["reasons"], Value::Array(vec![]));
    assert_eq!(report["log"], serde_json::json!({"tenants": 1, "events": 4}));
    for part in ["relay", "read_model"] {
        assert_eq!((&report[part]["behind_events"], &report[part]["shards"]), (&0.into(), &64.into()), "{report}");
    }
    assert_eq!(report["postgresql"]["row_level_security"], "ok");
    assert!(report["postgresql"]["latency_us"].as_u64().is_some_and(|micros| micros > 0));
    assert!(report["postgresql"]["oldest_snapshot_seconds"].is_u64(), "{report}");
    assert_eq!((&report["nats"]["connected"], &report["process"]["writers_running"]), (&true.into(), &true.into()));
    assert_eq!(report["process"]["pool"]["max"], 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_behind_is_counted_without_naming_a_tenant() {
    let world = World::with(api_alone()).await;
    let (one, two, three) = (world.tenant().await, world.tenant().await, world.tenant().await);
    one.start_session().await;
    let admin = &world.database.admin;
    // Of 4 + 3 + 3 events: one is published but for its last, two wholly projected, three is untouched.
    let moved = async |table: &str, columns: &str, user: &User, seq: i64| {
        let sql = format!("insert into {table} (tenant_id, seq{columns}");
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(user.tenant).bind(seq).execute(admin).await.unwrap();
    };
    moved("relay_cursors", ") values ($1, $2)", &one, 3).await;
    moved("projection_checkpoints", ", group_name) values ($1, $2, 'read_model')", &two, 3).await;
    moved("projection_checkpoints", ", group_name) values ($1, $2, 'another')", &one, 4).await;
    sqlx::query(
        "update events set recorded_at = clock_timestamp() - interval '50 seconds' where tenant_id = $1 and seq = 1",
    )
    .bind(three.tenant)
    .execute(admin)
    .await
    .unwrap();

    let reply = anonymous(&world).get("/health").await;
    let report = &reply.body;
    assert_eq!((reply.status, &report["status"]), (200, &Value::from("degraded")), "{report}");
    let lag =
        |part: &str| ["behind_tenants", "behind_events", "shards"].map(|member| report[part][member].as_u64().unwrap());
    assert_eq!((lag("relay"), lag("read_model")), ([3, 7, 0], [2, 7, 0]), "{report}");
    for part in ["relay", "read_model"] {
        let seconds = report[part]["behind_seconds"].as_u64().unwrap();
        assert!((50..600).contains(&seconds), "{seconds}");
    }
    assert_eq!(report["read_model"]["stuck_tenants"], 1);
    assert_eq!(report["log"], serde_json::json!({"tenants": 3, "events": 10}));
    let mut found = codes(report);
    found.sort_unstable();
    assert_eq!(found, ["read_model_behind", "read_model_idle", "relay_behind", "relay_idle", "tenants_stuck"]);
    for user in [&one, &two, &three] {
        assert!(!report.to_string().contains(&user.tenant.to_string()), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_nats_it_is_degraded_and_with_an_open_schema_it_fails() {
    let mut world = World::with(WorldSettings { apis: 0, ..WorldSettings::default() }).await;
    let operations = Operations { self_check_lifetime: Duration::from_millis(50), ..Operations::default() };
    let mut settings = world.node_settings(&WorldSettings { operations, ..api_alone() }, false);
    settings.nats = NatsAccess { url: "nats://127.0.0.1:1".to_owned(), passwords: Default::default() };
    world.nodes.push(Node::start(settings).await.unwrap());
    let health = async || anonymous(&world).get("/health").await;

    let reply = health().await;
    assert_eq!((reply.status, &reply.body["status"]), (200, &Value::from("degraded")), "{}", reply.body);
    assert!(codes(&reply.body).contains(&"nats_unavailable"), "{}", reply.body);

    world.database.admin.execute("alter table events no force row level security").await.unwrap();
    eventually("it fails", async || health().await.status == 503).await;
    let reply = health().await;
    assert_eq!((reply.header("content-type"), reply.header("retry-after")), ("application/json", "5"));
    let report = reply.body;
    assert_eq!((&report["status"], codes(&report)[0]), (&Value::from("failing"), "isolation"), "{report}");
    world.database.admin.execute("alter table events force row level security").await.unwrap();
    eventually("it recovers", async || health().await.status == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_whether_it_is_ready_asks_the_database_once_in_a_while() {
    let operations = Operations { self_check_lifetime: FOR_EVER, ..Operations::default() };
    let world = World::with(WorldSettings { operations, ..api_alone() }).await;
    let ready = async || anonymous(&world).get("/health/ready").await.status;
    assert_eq!(ready().await, 200);
    // Had it been asked again, it would say no.
    world.database.admin.execute("alter table events no force row level security").await.unwrap();
    for _ in 0..20 {
        assert_eq!(ready().await, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_transaction_is_seen_where_the_server_allows_it() {
    let world = World::with(WorldSettings { apis: 0, ..api_alone() }).await;
    let mut holder = world.database.admin.begin().await.unwrap();
    holder.execute("set transaction isolation level repeatable read; select 1").await.unwrap();
    let api = sqlx::PgPool::connect_lazy_with(world.database.login_options("convolog_api").await);
    let ask = "select age_ms, transactions from oldest_snapshot()";
    let oldest = async || {
        let (age, _): (Option<i64>, Option<i64>) = sqlx::query_as(ask).fetch_one(&api).await.unwrap();
        age.unwrap()
    };
    eventually("the snapshot is found", async || oldest().await > 200).await;
    holder.rollback().await.unwrap();
    eventually("it is gone", async || oldest().await < 200).await;

    // A managed server may not let the function's owner look. Rolled back: all databases share the role.
    let mut broken = world.database.admin.begin().await.unwrap();
    broken.execute("revoke pg_read_all_stats from convolog_monitor; set local role convolog_api").await.unwrap();
    let unknown: (Option<i64>, Option<i64>) = sqlx::query_as(ask).fetch_one(&mut *broken).await.unwrap();
    broken.rollback().await.unwrap();
    assert_eq!(unknown, (None, None));
}
