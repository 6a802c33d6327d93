//! A machine's clock that jumps, and two that differ: nothing but the time that events tell depends on them.

use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use projector::replay::Sizes;
use serde_json::{Value, json};
use tests::{PASSWORD, User, World, WorldSettings};

use super::oracle::assert_rows_are_those_of_the_log;
use crate::replay::{differences_of, replay};

/// By how many seconds the clock of the second API is ahead.
static AHEAD: AtomicI64 = AtomicI64::new(0);

fn moved() -> DateTime<Utc> {
    Utc::now() + TimeDelta::seconds(AHEAD.load(Ordering::SeqCst))
}

fn time(event: &Value, member: &str) -> DateTime<Utc> {
    event[member].as_str().unwrap().parse().unwrap()
}

/// A message and a cost, each followed by a read of what it has written.
async fn works(user: &User, elsewhere: &User) {
    let session = user.start_session().await;
    let seq = user.say(session, "hello").await.seq();
    assert_eq!(elsewhere.messages(session, seq).await.len(), 1);
    let cost = json!({"service": "llm", "provider": "openai", "model": "gpt-4o", "amount": "0.10"});
    let reply = user.post("/v1/costs", &cost).await;
    assert_eq!(reply.status, 201, "{}", reply.body);
    // Several events of one command are stored in another way than one.
    let both = user.post("/v1/costs/batch", &json!({"items": [cost, cost]})).await;
    assert_eq!(both.status, 200, "{}", both.body);
    let listed = elsewhere.get(&format!("/v1/sessions/{session}?min_seq={}", reply.seq())).await;
    assert_eq!(listed.status, 200, "{}", listed.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_loses_nothing_and_needs_no_restart() {
    let mut world = World::start().await;
    let mut second = world.node_settings(&WorldSettings::default(), false);
    second.api.as_mut().unwrap().clock = moved;
    world.nodes.push(convolog::node::Node::start(second).await.unwrap());
    let email = "ada@example.com";
    let here = world.register("Engines", email).await;
    let there = here.at(world.url(1));

    // So far apart two clocks may be.
    for seconds in [0, 4, -4] {
        AHEAD.store(seconds, Ordering::SeqCst);
        works(&there, &here).await;
        works(&here, &there).await;
    }

    const DAY: i64 = 86_400;
    for seconds in [DAY, -DAY, 400 * DAY, -400 * DAY] {
        AHEAD.store(seconds, Ordering::SeqCst);
        // A token of here is not good there, now: it has expired, or is not good yet.
        let refused = there.get("/v1/sessions").await;
        assert_eq!((refused.status, refused.code()), (401, "unauthorized"), "{}", refused.body);
        // Whoever logs in there gets on, and what was written there is read here.
        let login = json!({"email": email, "password": PASSWORD});
        let reply = there.post("/v1/auth/login", &login).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        works(&there.signed_in(&reply.body), &there.signed_in(&reply.body)).await;
        works(&here, &here).await;
    }

    AHEAD.store(0, Ordering::SeqCst);
    works(&there, &here).await;

    // The log has its own order and PostgreSQL's clock; only when something happened is what the caller's API believed.
    let events = here.events().await;
    let now = Utc::now();
    let mut last = now - TimeDelta::minutes(10);
    for (event, seq) in events.iter().zip(1_u64..) {
        assert_eq!(event["sequence"], format!("{seq:020}"));
        let recorded = time(event, "recordedtime");
        assert!(recorded >= last && recorded <= now + TimeDelta::seconds(5), "{event}");
        last = recorded;
    }
    let far = |event: &&Value| (time(event, "time") - time(event, "recordedtime")).abs() > TimeDelta::days(300);
    assert!(events.iter().filter(far).count() >= 6);
    assert_rows_are_those_of_the_log(&world).await;
    let replay = replay(&world, Sizes::default()).await;
    assert!(differences_of(&replay).await.is_empty());
}
