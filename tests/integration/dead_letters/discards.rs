//! A discarded event stays in the log and is left out of the rows: once, by whoever rebuilds them too, also after a crash.

use projector::dead_letters::Unparked;
use serde_json::json;
use store::DiscardOutcome;
use tests::eventually;

use super::{POISON, discarded, drift, letters, mend, parked, refuse_poison, retried, say_and_see};
use crate::faults::group_version::quick_world;
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
