//! Rows of an older version of the group are rebuilt, those of a newer one are left alone.

use std::time::Duration;

use convolog::node::{Node, NodeSettings};
use serde_json::json;
use tests::{User, World, WorldSettings, eventually};

use super::oracle::{assert_rows_are_those_of_the_log, differences};

/// A world whose relay and projector sweep often and do not rest long.
pub(crate) async fn quick_world() -> World {
    let mut world = World::with(WorldSettings { apis: 0, ..WorldSettings::default() }).await;
    let node = quick_node(&world);
    world.nodes.push(Node::start(node).await.unwrap());
    world
}

/// The settings of such a node.
pub(crate) fn quick_node(world: &World) -> NodeSettings {
    let mut settings = world.node_settings(&WorldSettings::default(), true);
    let (projector, relay) = (settings.projector.as_mut().unwrap(), settings.relay.as_mut().unwrap());
    (projector.sweep, relay.sweep) = (Duration::from_millis(20), Duration::from_millis(20));
    (projector.pause, relay.pause) = (Duration::from_millis(500), Duration::from_millis(500));
    settings
}

async fn conversation(user: &User) -> uuid::Uuid {
    let session = user.start_session().await;
    for content in ["one", "two", "three"] {
        assert_eq!(user.say(session, content).await.status, 201);
    }
    let usage = json!([{"type": "images", "quantity": 1}]);
    let cost = json!({"service": "llm", "provider": "p", "amount": "1.5", "session_id": session, "message_id": session, "usage": usage});
    assert_eq!(user.post("/v1/costs", &cost).await.status, 201);
    session
}

async fn set_version(world: &World, user: &User, change: i32) {
    sqlx::query("update projection_checkpoints set version = version + $2 where tenant_id = $1")
        .bind(user.tenant)
        .bind(change)
        .execute(&world.database.admin)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_an_older_version_are_rebuilt_from_the_log() {
    let world = quick_world().await;
    let (user, other) = (world.tenant().await, world.tenant().await);
    conversation(&user).await;
    conversation(&other).await;
    assert_rows_are_those_of_the_log(&world).await;
    // Wrong, missing and superfluous rows, as an older projection might have left them.
    for sql in [
        "update sessions set message_count = 77, mode = 'meeting' where tenant_id = $1",
        "delete from messages where tenant_id = $1 and content = 'two'",
        "insert into messages (tenant_id, id, session_id, version, role, content, attachments, posted_at)
         values ($1, gen_random_uuid(), gen_random_uuid(), 1, 'user', 'never said', '[]', now())",
        "update cost_events set amount = 2 where tenant_id = $1",
        "update cost_summaries set amount = amount + 1 where tenant_id = $1",
        "delete from usage_summaries where tenant_id = $1",
        "update session_costs set currency = 'EUR' where tenant_id = $1",
        "update message_costs set recorded = 2 where tenant_id = $1",
        "update cost_periods set last_version = 7 where tenant_id = $1",
        "insert into cost_period_totals (tenant_id, period, recorded, voided, unpriced) values ($1, '2026-01', 1, 0, 1)",
    ] {
        sqlx::query(sql).bind(user.tenant).execute(&world.database.admin).await.unwrap();
    }
    assert!(!differences(&world).await.is_empty());
    set_version(&world, &user, -1).await;
    eventually("the rows are rebuilt", async || differences(&world).await.is_empty()).await;
    // And live projecting goes on from there.
    conversation(&user).await;
    assert_rows_are_those_of_the_log(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_newer_version_are_left_alone_and_other_tenants_go_on() {
    let world = quick_world().await;
    let (newer, other) = (world.tenant().await, world.tenant().await);
    let session = conversation(&newer).await;
    assert_rows_are_those_of_the_log(&world).await;
    set_version(&world, &newer, 1).await;
    for _ in 0..10 {
        newer.say(session, "for the newer worker").await;
        let theirs = other.start_session().await;
        let seq = other.say(theirs, "for us").await.seq();
        assert_eq!(other.messages(theirs, seq).await.len(), 1);
    }
    let wrong = differences(&world).await;
    assert!(wrong.iter().all(|line| line.contains(&newer.tenant.to_string())), "{wrong:#?}");
    let rows: i64 = sqlx::query_scalar("select count(*) from messages where tenant_id = $1")
        .bind(newer.tenant)
        .fetch_one(&world.database.admin)
        .await
        .unwrap();
    assert_eq!(rows, 3, "nothing was added under the newer version");
    // The newer worker is rolled back.
    set_version(&world, &newer, -1).await;
    assert_rows_are_those_of_the_log(&world).await;
}
