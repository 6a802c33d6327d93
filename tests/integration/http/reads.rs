//! Reads say which number of the log they reflect, and wait for the one that they must reflect.

use std::time::{Duration, Instant};

use serde_json::json;
use tests::{World, WorldSettings, eventually};

use super::{assert_problem, head};

#[tokio::test(flavor = "multi_thread")]
async fn every_read_says_which_number_of_the_log_it_reflects() {
    let world = World::start().await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    for n in 0..20 {
        let seq = user.say(session, &format!("{n}")).await.seq();
        for path in [
            "/v1/auth/me".to_owned(),
            "/v1/events".into(),
            "/v1/sessions".into(),
            format!("/v1/sessions/{session}"),
            format!("/v1/sessions/{session}/messages"),
        ] {
            let reply = user.get(&format!("{path}?min_seq={seq}")).await;
            assert_eq!(reply.status, 200, "{}", reply.body);
            assert_eq!(reply.header("convolog-seq"), seq.to_string(), "{path}");
        }
        let read = user.get(&format!("/v1/sessions/{session}?min_seq={seq}")).await;
        assert_eq!(read.body["message_count"], n + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_beyond_the_log_is_refused_at_once() {
    let world = World::start().await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    let head = head(&world, user.tenant).await;
    for path in
        ["/v1/auth/me".to_owned(), "/v1/events".into(), "/v1/sessions".into(), format!("/v1/sessions/{session}")]
    {
        for beyond in [head + 1, u64::MAX] {
            let reply = user.get(&format!("{path}?min_seq={beyond}")).await;
            assert_problem(&reply, 422, "seq_not_in_log");
            assert_eq!(reply.body["current_seq"], head);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_projector_a_read_that_must_see_its_write_says_so_and_others_are_served() {
    let world = World::with(WorldSettings { projector: false, ..WorldSettings::default() }).await;
    let user = world.tenant().await;
    let seq = user.post("/v1/sessions", &json!({"mode": "text"})).await.seq();
    let begun = Instant::now();
    let (list, other) =
        tokio::join!(user.get("/v1/sessions?min_seq=3"), user.get("/v1/sessions?min_seq=1&status=open"));
    assert!(begun.elapsed() >= Duration::from_secs(5), "it waits as long as it promises");
    for reply in [list, other] {
        assert_problem(&reply, 503, "read_model_behind");
        assert_eq!(reply.body["current_seq"], 0);
    }
    let stale = user.get("/v1/sessions").await;
    assert_eq!((stale.status, stale.header("convolog-seq"), &stale.body["data"]), (200, "0", &json!([])));
    // What the command's own transaction writes needs no projector.
    assert_eq!(user.get(&format!("/v1/events?min_seq={seq}")).await.body["head"], seq);
    assert_eq!(user.get(&format!("/v1/auth/me?min_seq={seq}")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_hint_does_not_let_a_read_through_that_does_not_see_its_write() {
    let world = World::with(WorldSettings { projector: false, ..WorldSettings::default() }).await;
    let user = world.tenant().await;
    let seq = user.post("/v1/sessions", &json!({"mode": "text"})).await.seq();
    let path = format!("/v1/sessions?min_seq={seq}");
    let reading = user.get(&path);
    // What a projector said before a crash took its last rows back.
    let password = world.nats_access.passwords[&bus::User::Projector].clone();
    let projector = bus::Bus::connect(&world.nats_access.url, bus::User::Projector, Some(&password)).await.unwrap();
    let hints = async {
        let hinted = Instant::now();
        eventually("the read is over", async || {
            projector.projected().ring(&[(domain::TenantId(user.tenant), seq)]);
            hinted.elapsed() > Duration::from_secs(1)
        })
        .await;
    };
    let (reply, ()) = tokio::join!(reading, hints);
    assert_problem(&reply, 503, "read_model_behind");
}
