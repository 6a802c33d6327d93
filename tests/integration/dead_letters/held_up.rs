//! What is no poison: an event of newer code stops its tenant, a refused statement everybody, until it is mended.

use std::time::{Duration, Instant};

use serde_json::json;
use tests::{User, World, eventually};

use super::{execute, letters, say_and_see};
use crate::faults::group_version::quick_world;
use crate::faults::oracle::assert_rows_are_those_of_the_log;
use crate::operations::Metrics;

/// The name of an event that this version does not know, or the one that it knows.
async fn rename(world: &World, user: &User, seq: u64, name: &str) {
    sqlx::query("update events set name = $3 where tenant_id = $1 and seq = $2")
        .bind(user.tenant)
        .bind(seq.cast_signed())
        .bind(name)
        .execute(&world.database.admin)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_that_wait_for_a_tenant_that_waits_for_newer_code_are_told_so_at_once() {
    let mut world = quick_world().await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    say_and_see(&user, session, "before").await;
    let node = world.nodes.remove(0);
    let (other, settings) = (user.clone(), super::idle_api(&world));
    world.nodes.push(convolog::node::Node::start(settings).await.unwrap());
    node.stop().await.unwrap();
    let user = other.at(world.url(0));
    let newer = user.say(session, "of newer code").await.seq();
    rename(&world, &user, newer, "message_liked").await;
    let last = user.say(user.start_session().await, "behind it").await.seq();
    let mut workers = crate::faults::group_version::quick_node(&world);
    workers.api = None;
    world.nodes.push(convolog::node::Node::start(workers).await.unwrap());

    let path = |seq: u64| format!("/v1/sessions/{session}?min_seq={seq}");
    let paused = async || {
        let sql = "select paused from projection_checkpoints where tenant_id = $1";
        let paused: Option<String> =
            sqlx::query_scalar(sql).bind(user.tenant).fetch_one(&world.database.admin).await.unwrap();
        paused
    };
    eventually("it is known why the tenant stands still", async || paused().await.is_some()).await;
    assert_eq!(user.get(&path(last)).await.code(), "newer_event");
    let begun = Instant::now();
    let reply = user.get(&path(newer)).await;
    assert_eq!((reply.status, reply.code(), &reply.body["current_seq"]), (503, "newer_event", &json!(newer - 1)));
    assert!(!reply.header("retry-after").is_empty());
    assert!(begun.elapsed() < Duration::from_secs(4), "it waited for nothing");
    assert_eq!(user.get(&path(last + 1)).await.code(), "seq_not_in_log");
    // As of before the event everything is there.
    for path in [path(newer - 1), format!("/v1/sessions/{session}")] {
        let reply = user.get(&path).await;
        assert_eq!((reply.status, &reply.body["message_count"]), (200, &json!(1)), "{}", reply.body);
    }
    assert!(letters(&world, &user).await.is_empty(), "it is no poison");

    // The code is newer.
    rename(&world, &user, newer, "message_posted").await;
    eventually("it goes on", async || user.get(&path(last)).await.status == 200).await;
    assert_rows_are_those_of_the_log(&world).await;
    assert_eq!(paused().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_that_postgresql_refuses_park_nothing_and_are_tried_again_with_an_alert() {
    let world = quick_world().await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    say_and_see(&user, session, "before").await;
    execute(&world, "revoke insert on messages from convolog_projector").await;
    user.say(session, "refused").await;
    let alert = async || Metrics::scrape(&user).await.sum("convolog_projection_group_paused", &[]);
    eventually("there is an alert", async || alert().await >= 1.0).await;
    user.say(session, "behind").await;
    execute(&world, "grant insert on messages to convolog_projector").await;
    assert_rows_are_those_of_the_log(&world).await;
    assert!(letters(&world, &user).await.is_empty());
    eventually("the alert is over", async || alert().await < 1.0).await;
}
