//! A message's cost is recorded with the message or not at all, and read with the message and with its session.

use chrono::TimeDelta;
use domain::{Period, TenantId, ledger};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{User, World};
use uuid::Uuid;

use super::{cost, head, with};
use crate::http::{assert_problem, now};

async fn costs_of(user: &User, session: Uuid) -> Value {
    user.get(&format!("/v1/sessions/{session}")).await.body["cost"].clone()
}

fn total(currency: Option<&str>, amount: Option<&str>, [recorded, voided, unpriced]: [u32; 3]) -> Value {
    json!({"currency": currency, "amount": amount, "recorded": recorded, "voided": voided, "unpriced": unpriced})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_and_its_cost_are_one_append() {
    let world = World::start().await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    let path = format!("/v1/sessions/{session}/messages");
    let body = json!({"role": "assistant", "content": "Hello", "cost": cost()});
    let headers = [("idempotency-key", "k")];
    let posted = user.post_with(&path, &headers, &body).await;
    assert_eq!((posted.status, &posted.body["version"]), (201, &json!(2)), "{}", posted.body);
    let again = user.post_with(&path, &headers, &body).await;
    assert_eq!((again.status, &again.body), (201, &posted.body));

    let events = user.events().await;
    let [said, spent] = events.last_chunk().unwrap();
    let id = ledger::cost_of_message(posted.id());
    assert_eq!(said["type"], "convolog.session.message_posted.v1");
    assert_eq!((&spent["type"], &spent["data"]["cost_id"]), (&json!("convolog.ledger.cost_recorded.v1"), &json!(id)));
    assert_eq!((&said["time"], &said["correlationid"]), (&spent["time"], &spent["correlationid"]));
    let charge = &spent["data"]["charge"];
    assert_eq!((&charge["session_id"], &charge["message_id"]), (&json!(session), &json!(posted.id())));
    let seq = spent["sequence"].as_str().unwrap().parse::<u64>().unwrap();
    assert_eq!(posted.seq(), seq);

    world.drain().await;
    assert_eq!(costs_of(&user, session).await, json!([total(Some("USD"), Some("0.1"), [1, 0, 0])]));
    assert_eq!(user.get(&format!("/v1/costs/{id}")).await.body["message_id"], json!(posted.id()));
    let ids = with(cost(), json!({"id": null, "session_id": session, "occurred_at": now() - TimeDelta::hours(1)}));
    let message = Uuid::now_v7();
    let ids = with(ids, json!({"id": ledger::cost_of_message(message), "message_id": message}));
    let told = user.post(&path, &json!({"id": message, "role": "user", "content": "x", "cost": ids})).await;
    assert_eq!(told.status, 201, "{}", told.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_the_cost_from_being_recorded_keeps_the_message_from_being_posted() {
    let world = World::start().await;
    let user = world.tenant().await;
    let (session, ended) = (user.start_session().await, user.start_session().await);
    user.post(&format!("/v1/sessions/{ended}/end"), &json!({})).await;
    let taken = Uuid::now_v7();
    user.post("/v1/costs", &with(cost(), json!({"id": ledger::cost_of_message(taken)}))).await;
    let before = head(&world, user.tenant).await;
    let post = async |session: Uuid, id: Uuid, cost: Value| {
        let body = json!({"id": id, "role": "user", "content": "x", "cost": cost});
        user.post(&format!("/v1/sessions/{session}/messages"), &body).await
    };
    for (members, pointer) in [
        (json!({"id": Uuid::now_v7()}), "/cost/id"),
        (json!({"session_id": Uuid::now_v7()}), "/cost/session_id"),
        (json!({"message_id": Uuid::now_v7()}), "/cost/message_id"),
        (json!({"amount": 0.1}), "/cost/amount"),
        (json!({"x": 1}), "/cost/x"),
        (json!({"usage": [{"type": "frames", "quantity": 1}]}), "/cost/usage/0/unit"),
        (json!({"occurred_at": now() - TimeDelta::days(36)}), "/cost/occurred_at"),
    ] {
        let refused = post(session, Uuid::now_v7(), with(cost(), members)).await;
        assert_problem(&refused, 422, "validation_failed");
        assert_eq!(refused.body["errors"][0]["pointer"], pointer);
    }
    assert_problem(&post(session, taken, cost()).await, 409, "id_taken");
    assert_problem(&post(ended, Uuid::now_v7(), cost()).await, 409, "session_ended");
    assert_problem(&post(Uuid::now_v7(), Uuid::now_v7(), cost()).await, 404, "not_found");
    assert_eq!(head(&world, user.tenant).await, before);
    assert_eq!(post(session, Uuid::now_v7(), Value::Null).await.status, 201);
    assert_eq!(head(&world, user.tenant).await, before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn costs_are_read_with_messages_and_sessions_by_currency() {
    let world = World::start().await;
    let (user, other) = (world.tenant().await, world.tenant().await);
    let (session, silent) = (user.start_session().await, user.start_session().await);
    let path = format!("/v1/sessions/{session}/messages");
    let mut messages = Vec::new();
    for amount in ["0.10", "0.20"] {
        let body = json!({"role": "user", "content": "x", "cost": with(cost(), json!({"amount": amount}))});
        messages.push(user.post(&path, &body).await.id());
    }
    for members in [
        json!({"amount": "1", "currency": "EUR", "session_id": session, "message_id": messages[0]}),
        json!({"amount": null, "session_id": session}),
        json!({"amount": null, "currency": "USD", "session_id": session}),
    ] {
        assert_eq!(user.post("/v1/costs", &with(cost(), members)).await.status, 201);
    }
    // Another tenant's cost that says it is of this session is none of it.
    other.post("/v1/costs", &with(cost(), json!({"session_id": session, "message_id": messages[0]}))).await;
    let voided = ledger::cost_of_message(messages[1]);
    assert_eq!(user.post(&format!("/v1/costs/{voided}/void"), &json!({})).await.status, 200);
    world.drain().await;

    let of_session = json!([
        total(Some("EUR"), Some("1"), [1, 0, 0]),
        total(Some("USD"), Some("0.1"), [3, 1, 1]),
        total(None, None, [1, 0, 1]),
    ]);
    assert_eq!(costs_of(&user, session).await, of_session);
    assert_eq!(costs_of(&user, silent).await, json!([]));
    let sessions = user.get("/v1/sessions").await.body["data"].clone();
    assert_eq!((&sessions[0]["cost"], &sessions[1]["cost"]), (&json!([]), &of_session));
    let rows = user.messages(session, 0).await;
    assert_eq!(
        rows[0]["cost"],
        json!([total(Some("EUR"), Some("1"), [1, 0, 0]), total(Some("USD"), Some("0.1"), [1, 0, 0])])
    );
    assert_eq!(rows[1]["cost"], json!([total(Some("USD"), Some("0"), [1, 1, 0])]));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_session_takes_the_place_of_a_ledger() {
    let world = World::start().await;
    let (user, other) = (world.tenant().await, world.tenant().await);
    let tenant = TenantId(user.tenant);
    let period = |text: &str| Period::parse(text).unwrap();
    let this = Period::of(now()).unwrap();
    for _ in 0..2 {
        for ledger in [this, period("2000-01"), period("2199-12")] {
            let id = ledger.stream(tenant);
            let started = user.post("/v1/sessions", &json!({"mode": "text", "id": id})).await;
            assert_problem(&started, 409, "id_taken");
            for path in ["messages", "end"] {
                let body = if path == "end" { json!({}) } else { json!({"role": "user", "content": "x"}) };
                let request = user.request(Method::POST, &format!("/v1/sessions/{id}/{path}")).json(&body);
                assert_problem(&user.send(request).await, 404, "not_found");
            }
        }
        // The second time there is one.
        let recorded = user.post("/v1/costs", &cost()).await;
        assert_eq!(recorded.status, 201, "{}", recorded.body);
    }
    // To another tenant it is an id like any other.
    let theirs = other.post("/v1/sessions", &json!({"mode": "text", "id": this.stream(tenant)})).await;
    assert_eq!(theirs.status, 201, "{}", theirs.body);
    world.drain().await;
    let events = user.events().await;
    assert!(events.iter().all(|event| !event["subject"].as_str().unwrap().starts_with("session/")));
}
