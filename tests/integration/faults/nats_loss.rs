//! NATS may be killed, wiped or set back at any time: commands and reads go on, and its content comes back.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use futures_util::StreamExt as _;
use tests::{User, World, WorldSettings, eventually};

use super::load::{Load, assert_all_are_read};
use super::oracle::assert_rows_are_those_of_the_log;
use super::outside::{client, generation, logs, message_id, stream_content};
use super::relay::start_relay;

async fn tenants(world: &World, number: usize) -> Vec<User> {
    let mut users = Vec::new();
    for _ in 0..number {
        users.push(world.tenant().await);
    }
    users
}

/// The message that was acknowledged last is read back now.
async fn reads_see_what_was_acknowledged(load: &Load, users: &[User]) {
    let last = load.last();
    let user = users.iter().find(|user| user.tenant == last.tenant).unwrap();
    let messages = user.messages(last.session, last.seq).await;
    assert!(messages.iter().any(|message| message["content"] == *last.content), "{last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_killed_under_load_stops_neither_commands_nor_reads_and_loses_nothing() {
    let mut world = World::start().await;
    let users = tenants(&world, 3).await;
    let load = Load::start(&users, 2).await;
    for _ in 0..2 {
        load.goes_on(50).await;
        world.nats.kill().await.unwrap();
        load.goes_on(50).await;
        reads_see_what_was_acknowledged(&load, &users).await;
        load.goes_on(50).await;
        world.nats.start_again().await.unwrap();
        load.goes_on(50).await;
        reads_see_what_was_acknowledged(&load, &users).await;
    }
    let acks = load.stop().await;
    assert_rows_are_those_of_the_log(&world).await;
    assert_all_are_read(&world, &acks).await;
    world.drain_relay().await;
    let generations = stream_content(&world).await;
    assert_eq!(generations, BTreeMap::from([(1, logs(&world).await)]), "a restart with its disk loses nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_nats_is_filled_again_from_postgresql_under_a_new_generation() {
    let mut world = World::start().await;
    let users = tenants(&world, 3).await;
    let load = Load::start(&users, 2).await;
    load.goes_on(100).await;
    assert_eq!(generation(&world).await, 1);

    world.nats.wipe().await.unwrap();
    load.goes_on(50).await;
    reads_see_what_was_acknowledged(&load, &users).await;
    world.nats.start_again().await.unwrap();
    load.goes_on(50).await;
    reads_see_what_was_acknowledged(&load, &users).await;
    let acks = load.stop().await;

    assert_rows_are_those_of_the_log(&world).await;
    assert_all_are_read(&world, &acks).await;
    eventually("the loss is noticed", async || generation(&world).await == 2).await;
    world.drain_relay().await;
    assert_eq!(stream_content(&world).await.get(&2), Some(&logs(&world).await), "everything is in the stream again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nats_restored_from_an_older_copy_is_filled_again_before_the_eyes_of_an_onlooker() {
    let mut world = World::with(WorldSettings { relay: false, ..WorldSettings::default() }).await;
    let relay = start_relay(&world).await;
    let users = tenants(&world, 2).await;
    let load = Load::start(&users, 1).await;
    load.goes_on(30).await;
    let acks_before = load.stop().await;
    world.drain_relay().await;
    world.nats.kill().await.unwrap();
    let store = world.nats.data_dir().join("jetstream");
    let copy = world.nats.data_dir().join("older");
    copy_all(&store, &copy);
    world.nats.start_again().await.unwrap();

    let load = Load::start(&users, 1).await;
    load.goes_on(30).await;
    let acks = load.stop().await;
    world.drain_relay().await;
    assert_eq!(stream_content(&world).await, BTreeMap::from([(1, logs(&world).await)]));

    relay.stop().await.unwrap();
    world.nats.wipe().await.unwrap();
    copy_all(&copy, &store);
    world.nats.start_again().await.unwrap();
    let viewer = client(&world, bus::User::Viewer).await;
    let mut seen = viewer.subscribe("events.>").await.unwrap();
    viewer.flush().await.unwrap();
    let relay = start_relay(&world).await;
    eventually("the loss is noticed", async || generation(&world).await == 2).await;
    world.drain_relay().await;

    let logs = logs(&world).await;
    assert_eq!(stream_content(&world).await.get(&2), Some(&logs));
    let mut missing = logs;
    while missing.values().any(|seqs| !seqs.is_empty()) {
        let message = tokio::time::timeout(Duration::from_secs(20), seen.next()).await.unwrap().unwrap();
        let (generation, tenant, seq) = message_id(message.headers.as_ref());
        assert_eq!(generation, 2);
        missing.get_mut(&tenant).unwrap().remove(&seq);
    }
    assert_rows_are_those_of_the_log(&world).await;
    assert_all_are_read(&world, &[acks_before, acks].concat()).await;
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn several_relays_that_live_through_a_loss_agree_on_it_and_publish_everything_again() {
    let mut world = World::with(WorldSettings { relay: false, ..WorldSettings::default() }).await;
    let relays = [start_relay(&world).await, start_relay(&world).await, start_relay(&world).await];
    let users = tenants(&world, 12).await;
    let load = Load::start(&users, 1).await;
    load.goes_on(50).await;
    load.stop().await;
    world.drain_relay().await;
    world.nats.kill().await.unwrap();
    let (store, copy) = (world.nats.data_dir().join("jetstream"), world.nats.data_dir().join("older"));
    copy_all(&store, &copy);
    world.nats.start_again().await.unwrap();
    let load = Load::start(&users, 1).await;
    load.goes_on(150).await;
    for (round, restored) in [false, true, false].into_iter().enumerate() {
        world.nats.wipe().await.unwrap();
        if restored {
            copy_all(&copy, &store);
        }
        load.goes_on(100).await;
        world.nats.start_again().await.unwrap();
        let expected = 2 + round as u64;
        eventually("the loss is noticed", async || generation(&world).await == expected).await;
        load.goes_on(100).await;
    }
    load.stop().await;
    world.drain_relay().await;
    assert_eq!(generation(&world).await, 4, "each loss is one loss");
    eventually("everything is in the stream again", async || {
        stream_content(&world).await.get(&4) == Some(&logs(&world).await)
    })
    .await;

    // Of what is lost now, only the relay of one tenant has published something.
    world.nats.kill().await.unwrap();
    std::fs::remove_dir_all(&copy).unwrap();
    copy_all(&store, &copy);
    world.nats.start_again().await.unwrap();
    users[0].say(users[0].start_session().await, "the only one").await;
    world.drain_relay().await;
    world.nats.wipe().await.unwrap();
    copy_all(&copy, &store);
    world.nats.start_again().await.unwrap();
    eventually("the loss is noticed", async || generation(&world).await == 5).await;
    world.drain_relay().await;
    assert_eq!(stream_content(&world).await.get(&5), Some(&logs(&world).await));
    for relay in relays {
        relay.stop().await.unwrap();
    }
}

/// With owners and rights, because the server may run under another account.
fn copy_all(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}
