//! While a stream is parked everything else goes on; after the mending the rows are those of the log.

use convolog::node::Node;
use projector::dead_letters::Unparked;
use serde_json::json;
use tests::{World, WorldSettings};

use super::{POISON, drift, letters, mend, parked, refuse_poison, retried, say_and_see};
use crate::faults::group_version::{quick_node, quick_world};
use crate::faults::oracle::{assert_rows_are_those_of_the_log, differences};
use crate::replay::{LITTLE, rebuild_all, replay, rows};

#[tokio::test(flavor = "multi_thread")]
async fn one_stream_is_parked_and_all_others_go_on_until_it_is_mended() {
    let world = quick_world().await;
    let (user, neighbour) = (world.tenant().await, world.tenant().await);
    let (bad, good, theirs) = (user.start_session().await, user.start_session().await, neighbour.start_session().await);
    say_and_see(&user, bad, "before").await;
    refuse_poison(&world).await;
    let poison = user.say(bad, POISON).await;
    assert_eq!(poison.status, 201);
    for n in 0..5 {
        say_and_see(&user, good, &format!("good {n}")).await;
        say_and_see(&neighbour, theirs, &format!("theirs {n}")).await;
        user.say(bad, &format!("behind {n}")).await;
    }
    let cost = json!({"service": "llm", "provider": "p", "amount": "1.5", "session_id": bad});
    let seq = user.post("/v1/costs", &cost).await.seq();
    let found = parked(&world, &user, 1).await.remove(0);
    assert_eq!((found.stream, found.seq, found.version), (bad, poison.seq(), 3));
    assert_eq!((found.name.as_str(), found.attempts, found.discard_seq), ("message_posted", 1, None));
    assert!(found.error.contains("no_poison"), "{}", found.error);
    assert_eq!(found.waiting, 6);
    assert!(letters(&world, &neighbour).await.is_empty());
    let reply = user.get(&format!("/v1/sessions/{bad}?min_seq={seq}")).await;
    assert_eq!((reply.status, &reply.body["message_count"]), (200, &json!(1)));
    assert_eq!(reply.body["cost"][0]["amount"], "1.5", "what the ledger says of the session is not parked");
    assert_eq!(user.messages(bad, seq).await.len(), 1);
    assert_eq!(reply.header("convolog-parked"), "1");
    let others = neighbour.get("/v1/sessions").await;
    assert_eq!((others.status, others.header("convolog-parked")), (200, ""));
    assert_eq!(drift(&world).await, []);
    let before = rows(&world).await;
    rebuild_all(&replay(&world, LITTLE).await).await;
    assert_eq!(rows(&world).await, before, "a rebuild leaves out what is parked");

    mend(&world).await;
    assert_eq!(retried(&world, &user, bad).await, Unparked::Done(6));
    assert!(letters(&world, &user).await.is_empty());
    assert_rows_are_those_of_the_log(&world).await;
    say_and_see(&user, bad, "after").await;
    assert_rows_are_those_of_the_log(&world).await;
    assert_eq!(retried(&world, &user, bad).await, Unparked::NotParked);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_caught_up_with_many_tenants_and_streams_is_parked_stream_by_stream() {
    let idle = WorldSettings { relay: false, projector: false, ..WorldSettings::default() };
    let mut world = World::with(idle).await;
    refuse_poison(&world).await;
    let (mut poisoned, mut others) = (Vec::new(), Vec::new());
    for n in 0..4 {
        let user = world.tenant().await;
        let mut streams = Vec::new();
        for _ in 0..3 {
            streams.push(user.start_session().await);
        }
        for word in ["one", "two", "three"] {
            for (at, stream) in streams.iter().enumerate() {
                let bad = n < 2 && word == "two" && at < 2;
                assert_eq!(user.say(*stream, if bad { POISON } else { word }).await.status, 201);
            }
        }
        if n < 2 { poisoned.push((user, streams)) } else { others.push(user) }
    }
    // Two projectors, which share the shards.
    for _ in 0..2 {
        let mut workers = quick_node(&world);
        workers.api = None;
        world.nodes.push(Node::start(workers).await.unwrap());
    }
    for (user, streams) in &poisoned {
        let found = parked(&world, user, 2).await;
        let mut parked: Vec<_> = found.iter().map(|letter| letter.stream).collect();
        parked.sort();
        assert!(parked == streams[..2] || parked == [streams[1], streams[0]], "{found:#?}");
        assert!(found.iter().all(|letter| letter.attempts == 1 && letter.version == 3), "{found:#?}");
    }
    world.drain().await;
    for user in &others {
        assert!(letters(&world, user).await.is_empty());
    }
    let wrong = differences(&world).await;
    assert!(!wrong.is_empty());
    let bad = |line: &String| {
        poisoned.iter().any(|(_, streams)| streams[..2].iter().any(|it| line.contains(&it.to_string())))
    };
    assert!(wrong.iter().all(bad), "{wrong:#?}");
    assert_eq!(drift(&world).await, []);
    mend(&world).await;
    for (user, streams) in &poisoned {
        for stream in &streams[..2] {
            assert_eq!(retried(&world, user, *stream).await, Unparked::Done(2));
        }
    }
    assert_rows_are_those_of_the_log(&world).await;
}
