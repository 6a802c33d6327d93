//! A discarded event stays in the log and is left out of the rows: once, by whoever rebuilds them too, also after a crash.

use convolog::node::Node;
use projector::dead_letters::Unparked;
use serde_json::json;
use store::DiscardOutcome;
use tests::eventually;

use super::{POISON, discarded, drift, letters, mend, parked, refuse_poison, retried, say_and_see};
use crate::faults::group_version::{quick_node, quick_world};
use crate::replay::{LITTLE, rebuild_all, replay, rows};

#[tokio::test(flavor = "multi_thread")]
async fn a_discarded_event_stays_in_the_log_and_what_waited_behind_it_is_projected() {
    let world = quick_world().await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    refuse_poison(&world).await;
    user.say(session, POISON).await;
    let behind = user.say(session, "behind").await.seq();
    let letter = parked(&world, &user, 1).await.remove(0);
    let DiscardOutcome::Done { seq } = discarded(&world, &user, &letter).await else { panic!("not discarded") };
    assert_eq!(seq, behind + 1);
    // Nobody unparks it but the projector's sweep: as after a crash of whoever discarded.
    eventually("the stream goes on", async || letters(&world, &user).await.is_empty()).await;
    let said = user.messages(session, seq).await;
    assert_eq!(said.iter().map(|said| said["content"].clone()).collect::<Vec<_>>(), ["behind"]);
    let reply = user.get(&format!("/v1/sessions/{session}")).await;
    assert_eq!((reply.header("convolog-parked"), &reply.body["message_count"]), ("", &json!(1)));

    let events = user.events().await;
    let last = events.last().unwrap();
    assert_eq!(last["type"], "convolog.operations.event_discarded.v1");
    let expected = json!({"seq": letter.seq, "category": "session", "stream_id": session, "version": 2, "event_id": letter.event_id,
        "name": "message_posted", "reason": "nobody needs it"});
    assert_eq!((&last["data"], &last["actorkind"]), (&expected, &json!("system")));
    assert_eq!(events[usize::try_from(letter.seq).unwrap() - 1]["data"]["content"], POISON);

    // Also when the table would take it by now.
    mend(&world).await;
    say_and_see(&user, session, "after").await;
    assert_eq!(drift(&world).await, []);
    let before = rows(&world).await;
    rebuild_all(&replay(&world, LITTLE).await).await;
    assert_eq!(rows(&world).await, before);
    assert_eq!(discarded(&world, &user, &letter).await, DiscardOutcome::NotParked);
    assert_eq!(retried(&world, &user, session).await, Unparked::NotParked);
    world.drain_relay().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_discarded_once_by_however_many() {
    let world = quick_world().await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    refuse_poison(&world).await;
    user.say(session, POISON).await;
    let letter = parked(&world, &user, 1).await.remove(0);
    let discards = (0..4).map(|_| discarded(&world, &user, &letter));
    let outcomes = futures_util::future::join_all(discards).await;
    let done = outcomes.iter().filter(|outcome| matches!(outcome, DiscardOutcome::Done { .. })).count();
    assert_eq!(done, 1, "{outcomes:?}");
    eventually("the stream goes on", async || letters(&world, &user).await.is_empty()).await;
    let events = user.events().await;
    let discards = events.iter().filter(|event| event["type"] == "convolog.operations.event_discarded.v1").count();
    assert_eq!(discards, 1);
    assert_eq!(drift(&world).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_tried_again_while_it_is_discarded_is_projected_or_discarded_and_never_both() {
    let world = quick_world().await;
    let user = world.tenant().await;
    refuse_poison(&world).await;
    for _ in 0..6 {
        user.say(user.start_session().await, POISON).await;
    }
    let parked = parked(&world, &user, 6).await;
    mend(&world).await;
    let races = parked.iter().map(|letter| async {
        let discard = async { discarded(&world, &user, letter).await };
        let retry = async { retried(&world, &user, letter.stream).await };
        let (discard, _) = tokio::join!(discard, retry);
        (letter.stream, matches!(discard, DiscardOutcome::Done { .. }))
    });
    let outcomes = futures_util::future::join_all(races).await;
    eventually("all streams go on", async || letters(&world, &user).await.is_empty()).await;
    world.drain().await;
    for (session, is_discarded) in outcomes {
        let said = user.messages(session, 0).await;
        assert_eq!(said.is_empty(), is_discarded, "{said:?}");
    }
    assert_eq!(drift(&world).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_discard_counts_from_its_own_number_on_and_the_next_projector_sees_to_it() {
    let mut world = quick_world().await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    refuse_poison(&world).await;
    user.say(session, POISON).await;
    let behind = user.say(session, "behind").await.seq();
    let letter = parked(&world, &user, 1).await.remove(0);
    assert_eq!(user.get(&format!("/v1/sessions/{session}?min_seq={behind}")).await.status, 200);
    world.stop_nodes().await;
    let discarded = discarded(&world, &user, &letter).await;
    assert_eq!(discarded, DiscardOutcome::Done { seq: behind + 1 });
    // The rows are as of a number before it.
    assert_eq!(retried(&world, &user, session).await, Unparked::Pending);
    assert_eq!(letters(&world, &user).await[0].discard_seq, Some(behind + 1));
    mend(&world).await;
    assert_eq!(retried(&world, &user, session).await, Unparked::Pending);
    assert_eq!(drift(&world).await, []);
    world.nodes.push(Node::start(quick_node(&world)).await.unwrap());
    eventually("the stream goes on", async || letters(&world, &user).await.is_empty()).await;
    let said = user.at(world.url(0)).messages(session, behind + 1).await;
    assert_eq!(said.iter().map(|said| said["content"].clone()).collect::<Vec<_>>(), ["behind"]);
    assert_eq!(drift(&world).await, []);
}
