//! No hint is needed: what nobody told of is found in PostgreSQL.

use std::time::Duration;

use convolog::node::{Node, NodeSettings};
use sqlx::Executor as _;
use tests::{User, World, WorldSettings};

use super::chain_guard::wait_for_the_subscription;
use super::load::{Load, assert_all_are_read};
use super::oracle::assert_rows_are_those_of_the_log;
use super::outside::{logs, stream_content};
use crate::http::stalled::let_wait_for_locks;
use crate::http::until_wait_for_locks;

async fn world_of(settings: &[WorldSettings], edit: impl Fn(usize, &mut NodeSettings)) -> World {
    let mut world = World::with(WorldSettings { apis: 0, ..WorldSettings::default() }).await;
    for (n, node) in settings.iter().enumerate() {
        let mut settings = world.node_settings(node, true);
        edit(n, &mut settings);
        world.nodes.push(Node::start(settings).await.unwrap());
    }
    world
}

/// A port on which nobody listens.
fn dead_port() -> String {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    format!("nats://127.0.0.1:{port}")
}

/// What is read at once when rows are there, and within the wait of `min_seq` when they come soon.
async fn sees_its_own_writes(user: &User) {
    let session = user.start_session().await;
    let seq = user.say(session, "hello").await.seq();
    assert_eq!(user.messages(session, seq).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_nats_everything_is_projected_and_read_as_usual() {
    let url = dead_port();
    let world = world_of(&[WorldSettings::default()], |_, node| node.nats.url.clone_from(&url)).await;
    let users = [world.tenant().await, world.tenant().await];
    let load = Load::start(&users, 2).await;
    load.goes_on(60).await;
    let acks = load.stop().await;
    assert_rows_are_those_of_the_log(&world).await;
    assert_all_are_read(&world, &acks).await;
    for user in users {
        sees_its_own_writes(&user).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_while_no_worker_ran_is_found_at_the_start() {
    let idle = WorldSettings { relay: false, projector: false, ..WorldSettings::default() };
    let mut world = world_of(std::slice::from_ref(&idle), |_, _| {}).await;
    let users = [world.tenant().await, world.tenant().await];
    let load = Load::start(&users, 2).await;
    load.goes_on(40).await;
    let acks = load.stop().await;
    world.stop_nodes().await;
    let mut workers = world.node_settings(&WorldSettings::default(), true);
    workers.api = None;
    // Found at the start, not by a later sweep.
    workers.projector.as_mut().unwrap().sweep = Duration::from_secs(3600);
    workers.relay.as_mut().unwrap().sweep = Duration::from_secs(3600);
    world.nodes.push(Node::start(workers).await.unwrap());
    assert_rows_are_those_of_the_log(&world).await;
    assert_all_are_read(&world, &acks).await;
    world.drain_relay().await;
    assert_eq!(stream_content(&world).await.get(&1), Some(&logs(&world).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_messages_are_found_by_the_sweep() {
    // NATS is there, the projector is subscribed, and nobody publishes.
    let settings = [WorldSettings { relay: false, ..WorldSettings::default() }];
    let world = world_of(&settings, |_, node| {
        node.projector.as_mut().unwrap().sweep = Duration::from_millis(20);
    })
    .await;
    make_the_stream(&world).await;
    let user = world.tenant().await;
    for _ in 0..3 {
        sees_its_own_writes(&user).await;
    }
    assert_rows_are_those_of_the_log(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_before_the_subscription_is_found_also_when_its_tenant_is_being_caught_up() {
    let mut world = world_of(&[], |_, _| {}).await;
    make_the_stream(&world).await;
    world.nats.kill().await.unwrap();
    let_wait_for_locks(&world, "convolog_projector", "60s").await;
    // Nobody publishes, and from the subscription on nobody sweeps.
    let mut settings = world.node_settings(&WorldSettings { relay: false, ..WorldSettings::default() }, true);
    settings.projector.as_mut().unwrap().sweep = Duration::from_secs(3600);
    world.nodes.push(Node::start(settings).await.unwrap());
    let user = world.tenant().await;
    let session = user.start_session().await;
    world.drain().await;
    let mut lock = world.database.admin.begin().await.unwrap();
    lock.execute("lock table messages in access exclusive mode").await.unwrap();
    user.say(session, "is being projected").await;
    until_wait_for_locks(&world, 1).await;
    user.say(session, "comes too late for that").await;
    world.nats.start_again().await.unwrap();
    wait_for_the_subscription(&world).await;
    lock.rollback().await.unwrap();
    assert_rows_are_those_of_the_log(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_doorbells_are_found_by_the_relays_sweep() {
    // The API has no NATS, so nobody rings.
    let url = dead_port();
    let settings = [
        WorldSettings { relay: false, ..WorldSettings::default() },
        WorldSettings { projector: false, ..WorldSettings::default() },
    ];
    let world = world_of(&settings, |n, node| match &mut node.relay {
        Some(relay) => relay.sweep = Duration::from_millis(20),
        None => {
            assert_eq!(n, 0);
            node.nats.url.clone_from(&url);
        }
    })
    .await;
    let user = world.tenant().await;
    for _ in 0..3 {
        sees_its_own_writes(&user).await;
        world.drain_relay().await;
    }
    assert_eq!(stream_content(&world).await.get(&1), Some(&logs(&world).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_new_is_read_while_a_relay_is_busy_with_what_is_old() {
    // As after a long outage of NATS: the read tables were kept up to date without it, and new events are published last.
    let world = world_of(&[WorldSettings { relay: false, ..WorldSettings::default() }], |_, _| {}).await;
    let relay = make_the_stream(&world).await;
    let users = [world.tenant().await, world.tenant().await];
    users[0].start_session().await;
    // Nobody has published it, so a sweep finds it; that takes a while.
    world.drain().await;
    // It believes that nobody publishes; wait until that is forgotten.
    tokio::time::sleep(Duration::from_secs(11)).await;
    let old: Vec<domain::RecordedEvent> = sqlx::query(sqlx::AssertSqlSafe(store::select_events_after()))
        .bind(vec![users[0].tenant])
        .bind(vec![0_i64])
        .bind(100_i64)
        .fetch_all(&world.database.admin)
        .await
        .unwrap()
        .iter()
        .map(|row| store::event_from_row(row).unwrap())
        .collect();
    assert!(old.len() > 1);
    let busy = tokio_util::sync::CancellationToken::new();
    let publishing = store::spawn("busy relay", {
        let busy = busy.clone();
        async move {
            for generation in 1_000.. {
                relay.events().publish_all(&old, generation, 16).await.unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
                if busy.is_cancelled() {
                    break;
                }
            }
        }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    for user in &users {
        sees_its_own_writes(user).await;
    }
    busy.cancel();
    publishing.await.unwrap();
}

/// As the relay does it.
async fn make_the_stream(world: &World) -> bus::Bus {
    let password = world.nats_access.passwords[&bus::User::Relay].clone();
    let relay = bus::Bus::connect(&world.nats_access.url, bus::User::Relay, Some(&password)).await.unwrap();
    assert!(relay.ready(Duration::from_secs(20)).await);
    relay.events().ensure().await.unwrap();
    relay
}
