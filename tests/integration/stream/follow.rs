//! Whoever comes back anywhere at any time gets each event once and in order, while several write and NATS comes and goes.

use std::collections::BTreeMap;

use tests::{User, World};

use super::listener::{listen, log_of};
use super::random::Random;
use crate::faults::load::Load;

const LAST_WORD: &str = "that was all";

/// Follows until the last word; comes back after so many events each time, a bit before where it was.
async fn follow(user: User, mut random: Random, patience: u64) -> BTreeMap<u64, String> {
    let mut seen: BTreeMap<u64, String> = BTreeMap::new();
    loop {
        let last = seen.keys().next_back().copied().unwrap_or(0);
        // Less far back than forth.
        let mut expected = last - random.below(last.min(patience / 3) + 1);
        let mut listener = listen(&user, "", expected).await;
        let mut left = random.below(patience) + 1;
        while left > 0 {
            let (id, data) = listener.event().await.expect("the stream has ended");
            expected += 1;
            assert_eq!(id, expected);
            let done = data.contains(LAST_WORD);
            // What is told twice, because it was asked for twice, is the same.
            let before = seen.insert(id, data);
            assert!(before.is_none_or(|before| before == seen[&id]));
            if done {
                return seen;
            }
            left -= 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_comes_once_and_in_order_whoever_writes_and_whatever_nats_does() {
    let mut world = World::start().await;
    let users = [world.tenant().await, world.tenant().await];
    let load = Load::start(&users, 3).await;
    load.goes_on(100).await;
    let followers: Vec<_> = users
        .iter()
        .flat_map(|user| [u64::MAX, 300, 40, 5].map(|patience| (user.clone(), patience)))
        .map(|(user, patience)| {
            let random = Random::new("reconnects");
            (user.clone(), store::spawn("follower", follow(user, random, patience)))
        })
        .collect();
    load.goes_on(150).await;
    world.nats.kill().await.unwrap();
    load.goes_on(100).await;
    world.nats.start_again().await.unwrap();
    load.goes_on(150).await;
    world.nats.wipe().await.unwrap();
    load.goes_on(50).await;
    world.nats.start_again().await.unwrap();
    load.goes_on(150).await;
    load.stop().await;
    for user in &users {
        let session = user.start_session().await;
        assert_eq!(user.say(session, LAST_WORD).await.status, 201);
    }
    for (user, follower) in followers {
        let seen: Vec<_> = follower.await.unwrap().into_iter().collect();
        let log = log_of(&user, "").await;
        assert_eq!(seen.len(), log.len());
        assert!(seen == log, "the same bytes as in the feed");
        assert!(seen.iter().map(|(id, _)| *id).eq(1..=log.len() as u64));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_now_is_told_at_every_process() {
    let world = World::with(tests::WorldSettings { apis: 2, ..Default::default() }).await;
    let user = world.tenant().await;
    let mut listeners = [listen(&user, "", 3).await, listen(&user.at(world.url(1)), "", 3).await];
    let session = user.start_session().await;
    for n in 0..20 {
        let seq = user.say(session, &format!("message {n}")).await.seq();
        for listener in &mut listeners {
            if n == 0 {
                assert_eq!(listener.event().await.unwrap().0, 4);
            }
            let (id, data) = listener.event().await.unwrap();
            assert_eq!(id, seq);
            assert!(data.contains(&format!("\"message {n}\"")));
        }
    }
}
