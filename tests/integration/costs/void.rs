//! A cost is voided once, for good, in its own ledger, whatever the read tables have seen of it.

use std::collections::HashSet;

use chrono::SubsecRound as _;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tests::{Reply, User, World, WorldSettings};
use uuid::Uuid;

use super::{cost, head, with};
use crate::http::{assert_problem, now};

async fn void(user: &User, id: Uuid) -> Reply {
    let (path, body) = (format!("/v1/costs/{id}/void"), json!({"reason": "billed twice"}));
    user.insist(|| user.request(Method::POST, &path).json(&body)).await
}

async fn read(user: &User, id: Uuid, seq: u64) -> Reply {
    let path = format!("/v1/costs/{id}?min_seq={seq}");
    user.insist(|| user.request(Method::GET, &path)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_void_stands_in_the_ledger_of_its_cost_and_carries_the_whole_charge() {
    let world = World::start().await;
    let user = world.tenant().await;
    // As far back as a cost may lie, so mostly in the month before.
    let occurred_at = (now() - chrono::TimeDelta::days(34)).trunc_subsecs(6);
    let (session, message) = (Uuid::now_v7(), Uuid::now_v7());
    let told = with(
        cost(),
        json!({"occurred_at": occurred_at, "session_id": session, "message_id": message, "metadata": {"a": 1.0},
               "usage": [{"type": "output_text", "quantity": 96}]}),
    );
    let recorded = user.post("/v1/costs", &told).await;
    assert_eq!(recorded.status, 201, "{}", recorded.body);
    user.post("/v1/costs", &cost()).await;
    let voided = void(&user, recorded.id()).await;
    assert_eq!((voided.status, &voided.body["version"]), (200, &json!(2)), "{}", voided.body);
    assert_eq!(voided.header("etag"), "\"2\"");

    let events = user.events().await;
    let [cost_event, _, void_event] = events.last_chunk().unwrap();
    assert_eq!(void_event["type"], "convolog.ledger.cost_voided.v1");
    assert_eq!((&void_event["id"], &void_event["streamversion"]), (&voided.body["id"], &json!(2)));
    let period = occurred_at.format("%Y-%m").to_string();
    assert_eq!(
        (&void_event["subject"], &cost_event["subject"]),
        (&json!(format!("ledger/{period}")), &void_event["subject"])
    );
    assert_ne!(void_event["time"], cost_event["time"]);
    assert_eq!(void_event["data"]["charge"], cost_event["data"]["charge"]);
    assert_eq!(void_event["data"]["charge"]["session_id"], json!(session));
    assert_eq!(void_event["data"]["occurred_at"], json!(occurred_at));
    assert_eq!(
        (&void_event["data"]["reason"], &void_event["data"]["metadata"]),
        (&json!("billed twice"), &Value::Null)
    );

    let row = read(&user, recorded.id(), voided.seq()).await;
    assert_eq!(row.header("etag"), "\"2\"");
    assert_eq!((&row.body["void_id"], &row.body["void_reason"]), (&voided.body["id"], &json!("billed twice")));
    assert_eq!((&row.body["version"], &row.body["period"]), (&json!(2), &json!(period)));
    assert!(row.body["voided_at"].is_string() && row.body["metadata"] == json!({"a": 1.0}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cost_is_voided_without_any_read_table_and_the_second_time_refused() {
    let world =
        World::with(WorldSettings { relay: false, projector: false, apis: 2, ..WorldSettings::default() }).await;
    let user = world.tenant().await;
    let id = user.post("/v1/costs", &cost()).await.id();
    let elsewhere = user.at(world.url(1));
    let path = format!("/v1/costs/{id}/void");
    let first = elsewhere.post_with(&path, &[("idempotency-key", "k")], &json!({})).await;
    assert_eq!(first.status, 200, "{}", first.body);
    let before = head(&world, user.tenant).await;
    for user in [&user, &elsewhere] {
        assert_problem(&void(user, id).await, 409, "already_voided");
        let again = user.post_with(&path, &[("idempotency-key", "k")], &json!({})).await;
        assert_eq!((again.status, &again.body), (200, &first.body));
        assert_eq!(again.header("idempotency-replayed"), "true");
        // That the key was used is said before anything else.
        for (path, body) in
            [(&path, json!({"reason": "other"})), (&format!("/v1/costs/{}/void", Uuid::now_v7()), json!({}))]
        {
            let reused = user.post_with(path, &[("idempotency-key", "k")], &body).await;
            assert_problem(&reused, 422, "idempotency_key_reused");
        }
    }
    assert_eq!(head(&world, user.tenant).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_twenty_voids_at_once_one_happens() {
    let world = World::with(WorldSettings { apis: 2, ..WorldSettings::default() }).await;
    let user = world.tenant().await;
    let id = user.post("/v1/costs", &cost()).await.id();
    let before = head(&world, user.tenant).await;
    let clients: Vec<User> = (0..20).map(|n| user.at(world.url(n % 2))).collect();
    let answers = join_all(clients.iter().map(|client| void(client, id))).await;
    let (done, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert_eq!((done.len(), refused.len()), (1, 19));
    for answer in refused {
        assert_problem(answer, 409, "already_voided");
    }
    assert_eq!(head(&world, user.tenant).await, before + 1);
    let path = format!("/v1/costs/{}/void", user.post("/v1/costs", &cost()).await.id());
    let keyed = |client: &User| client.request(Method::POST, &path).header("idempotency-key", "one");
    let answers = join_all(clients.iter().map(|client| client.insist(|| keyed(client)))).await;
    let same: HashSet<String> = answers.iter().map(|answer| format!("{} {}", answer.status, answer.body)).collect();
    assert!(same.len() == 1 && answers[0].status == 200, "{same:?}");
    world.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_cost_of_ones_own_cannot_be_voided() {
    let world = World::start().await;
    let (ada, eve) = (world.tenant().await, world.tenant().await);
    let id = ada.post("/v1/costs", &cost()).await.id();
    let session = ada.start_session().await;
    let message = ada.say(session, "Hello").await.id();
    let voided = ada.post("/v1/costs", &cost()).await.id();
    let event = void(&ada, voided).await.id();
    let before = [head(&world, ada.tenant).await, head(&world, eve.tenant).await];
    world.drain().await;
    let mut answers = Vec::new();
    for id in [session, message, event, ada.tenant, Uuid::now_v7()] {
        answers.push(void(&ada, id).await);
        answers.push(ada.get(&format!("/v1/costs/{id}")).await);
    }
    answers.push(void(&eve, id).await);
    answers.push(eve.get(&format!("/v1/costs/{id}")).await);
    for mut answer in answers {
        assert_problem(&answer, 404, "not_found");
        answer.body.as_object_mut().unwrap().remove("request_id");
        assert_eq!(answer.body["detail"], "It does not exist, or it is not yours.");
        assert_eq!(answer.body.as_object().unwrap().len(), 5, "{}", answer.body);
    }
    assert_eq!([head(&world, ada.tenant).await, head(&world, eve.tenant).await], before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_void_may_insist_on_the_cost_as_it_was_read() {
    let world = World::start().await;
    let user = world.tenant().await;
    user.post("/v1/costs", &cost()).await;
    let recorded = user.post("/v1/costs", &cost()).await;
    let etag = read(&user, recorded.id(), recorded.seq()).await.header("etag").to_owned();
    assert_eq!((etag.as_str(), recorded.header("etag")), ("\"2\"", "\"2\""));
    let path = format!("/v1/costs/{}/void", recorded.id());
    let void_if = async |tag: &str| user.post_with(&path, &[("if-match", tag)], &json!({})).await;
    assert_problem(&void_if("\"1\"").await, 412, "version_mismatch");
    assert_eq!(void_if(&etag).await.status, 200);
    let outdated = void_if(&etag).await;
    assert_problem(&outdated, 412, "version_mismatch");
    assert_eq!(outdated.body["current_version"], 3);
    assert_problem(&void_if("\"3\"").await, 409, "already_voided");
    assert_problem(&void_if("*").await, 409, "already_voided");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reason_has_at_most_500_characters() {
    let world = World::start().await;
    let user = world.tenant().await;
    let id = user.post("/v1/costs", &cost()).await.id();
    let path = format!("/v1/costs/{id}/void");
    let too_long = user.post(&path, &json!({"reason": "ä".repeat(501)})).await;
    assert_problem(&too_long, 422, "validation_failed");
    assert_eq!(too_long.body["errors"][0]["pointer"], "/reason");
    let voided = user.post(&path, &json!({"reason": "ä".repeat(500)})).await;
    assert_eq!(voided.status, 200, "{}", voided.body);
    let row = read(&user, id, voided.seq()).await;
    assert_eq!(row.body["void_reason"], "ä".repeat(500));
}
