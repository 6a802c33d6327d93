//! The relay publishes everything in order, whatever happens to the one that was publishing.

use std::collections::HashMap;
use std::time::Duration;

use convolog::node::Node;
use futures_util::StreamExt as _;
use tests::{World, WorldSettings, eventually};
use uuid::Uuid;

use super::load::Load;
use super::outside::{client, logs, message_id, stream_content};

/// A node that only relays.
pub(crate) async fn start_relay(world: &World) -> Node {
    let mut settings = world.node_settings(&WorldSettings { projector: false, ..WorldSettings::default() }, true);
    settings.api = None;
    Node::start(settings).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_loses_its_connections_and_its_place_publishes_everything_in_order() {
    let mut world = World::with(WorldSettings { relay: false, ..WorldSettings::default() }).await;
    let first = start_relay(&world).await;
    let users = [world.tenant().await, world.tenant().await];
    world.drain_relay().await;
    let viewer = client(&world, bus::User::Viewer).await;
    let mut seen = viewer.subscribe("events.>").await.unwrap();
    viewer.flush().await.unwrap();

    let load = Load::start(&users, 2).await;
    for round in 0..10_u64 {
        sqlx::query(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where application_name = 'convolog-relay' and datname = current_database()",
        )
        .execute(&world.database.admin)
        .await
        .unwrap();
        tokio::time::sleep(Duration::from_millis(11 + round * 17 % 41)).await;
    }
    let second = start_relay(&world).await;
    first.stop().await.unwrap();
    load.goes_on(20).await;
    load.stop().await;
    world.drain_relay().await;
    let logs = logs(&world).await;
    assert_eq!(stream_content(&world).await.get(&1), Some(&logs));

    // Each tenant's events come in order: a repeated one may follow, a hole never.
    let mut next: HashMap<Uuid, u64> = HashMap::new();
    let founded: u64 = users.len() as u64 * 3;
    let mut left: u64 = logs.values().map(|seqs| seqs.len() as u64).sum::<u64>() - founded;
    while left > 0 {
        let message = tokio::time::timeout(Duration::from_secs(20), seen.next()).await.unwrap().unwrap();
        let (_, tenant, seq) = message_id(message.headers.as_ref());
        let expected = next.entry(tenant).or_insert(4);
        assert!(seq <= *expected, "{tenant}: {seq} came before {expected}");
        if seq == *expected {
            *expected += 1;
            left -= 1;
        }
    }
    second.stop().await.unwrap();
    world.stop_nodes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_is_stored_only_for_what_nats_has_acknowledged() {
    // NATS is away from the start.
    let mut world = World::with(WorldSettings { apis: 0, ..WorldSettings::default() }).await;
    let settings = world.node_settings(&WorldSettings::default(), true);
    world.nats.kill().await.unwrap();
    world.nodes.push(Node::start(settings).await.unwrap());
    let user = world.tenant().await;
    let session = user.start_session().await;
    for n in 0..20 {
        let seq = user.say(session, "nobody carries this").await.seq();
        user.messages(session, seq).await;
        let cursors: i64 = sqlx::query_scalar("select coalesce(sum(seq), 0)::bigint from relay_cursors")
            .fetch_one(&world.database.admin)
            .await
            .unwrap();
        assert_eq!(cursors, 0, "after {n}");
    }
    world.nats.start_again().await.unwrap();
    world.drain_relay().await;
    eventually("everything is in the stream", async || {
        stream_content(&world).await.get(&1) == Some(&logs(&world).await)
    })
    .await;
}
