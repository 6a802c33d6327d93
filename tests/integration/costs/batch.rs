//! A batch is one command: each item is created, a duplicate or rejected, and says so again when the request is repeated.

use chrono::{SubsecRound as _, TimeDelta};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tests::{Reply, User, World, WorldSettings};
use uuid::Uuid;

use super::{cost, head, with};
use crate::http::{assert_problem, now};

async fn batch(user: &User, items: &[Value]) -> Reply {
    let body = json!({"items": items});
    user.insist(|| user.request(Method::POST, "/v1/costs/batch").json(&body)).await
}

/// Status and number of each item.
fn results(reply: &Reply) -> Vec<(&str, Option<u64>)> {
    assert_eq!(reply.status, 200, "{}", reply.body);
    let results = reply.body["results"].as_array().unwrap();
    results.iter().map(|result| (result["status"].as_str().unwrap(), result["seq"].as_u64())).collect()
}

fn chosen(id: Uuid) -> Value {
    with(cost(), json!({"id": id}))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_item_is_answered_in_its_place_and_the_valid_ones_are_recorded() {
    let world = World::start().await;
    let user = world.tenant().await;
    let [a, b, c, there] = [(); 4].map(|()| Uuid::now_v7());
    let seq = user.post("/v1/costs", &chosen(there)).await.seq();
    let items = [
        chosen(a),
        json!({"service": "llm", "id": b, "provider": 7}),
        cost(),
        chosen(there),
        chosen(a),
        with(chosen(a), json!({"amount": "0.2"})),
        with(chosen(there), json!({"metadata": {"a": 1}})),
        json!(["llm"]),
        with(cost(), json!({"usage": [{"type": "frames", "quantity": 1}]})),
        with(chosen(b), json!({"amount": "0.100"})),
        chosen(c),
    ];
    let reply = batch(&user, &items).await;
    let (created, duplicate, rejected) = ("created", "duplicate", ("rejected", None));
    assert_eq!(
        results(&reply),
        [
            (created, Some(seq + 1)),
            rejected,
            (created, Some(seq + 2)),
            (duplicate, Some(seq)),
            (duplicate, Some(seq + 1)),
            rejected,
            rejected,
            rejected,
            rejected,
            (created, Some(seq + 3)),
            (created, Some(seq + 4)),
        ]
    );
    assert_eq!(head(&world, user.tenant).await, seq + 4);
    let found = |at: usize| {
        let Value::Object(result) = &reply.body["results"][at] else { panic!() };
        let problem = &result["problem"];
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
        assert_eq!(problem["type"], format!("/problems/{}", problem["code"].as_str().unwrap()));
        let errors = problem["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 1);
        (result["id"].clone(), problem["code"].clone(), errors[0]["pointer"].clone(), errors[0]["code"].clone())
    };
    let expect = |id: Value, code: &str, pointer: &str, error: &str| (id, json!(code), json!(pointer), json!(error));
    assert_eq!(found(1), expect(json!(b), "validation_failed", "/items/1/provider", "wrong_type"));
    assert_eq!(found(5), expect(json!(a), "id_taken", "/items/5/id", "id_taken"));
    assert_eq!(found(6), expect(json!(there), "id_taken", "/items/6/id", "id_taken"));
    assert_eq!(found(7), expect(Value::Null, "validation_failed", "/items/7", "wrong_type"));
    assert_eq!(found(8), expect(Value::Null, "validation_failed", "/items/8/usage/0/unit", "invalid_value"));

    // The numbers are those of the events.
    let events = user.events().await;
    for (at, result) in reply.body["results"].as_array().unwrap().iter().enumerate() {
        let Some(seq) = result["seq"].as_u64() else { continue };
        let event = &events[usize::try_from(seq).unwrap() - 1];
        assert_eq!(event["data"]["cost_id"], result["id"], "{at}");
        assert!(result.get("problem").is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cost_that_is_told_again_is_a_duplicate_only_when_it_says_the_same() {
    let world = World::with(WorldSettings { relay: false, projector: false, ..WorldSettings::default() }).await;
    let user = world.tenant().await;
    let [timed, untimed, voided] = [(); 3].map(|()| Uuid::now_v7());
    let at = now().trunc_subsecs(6);
    let usage = json!([{"type": "input_uncached", "quantity": 10}, {"type": "input_cache_read", "quantity": 4}]);
    let full = with(
        chosen(timed),
        json!({"occurred_at": at, "usage": usage, "usage_convention": "inclusive", "metadata": {"a": 1}}),
    );
    let first = batch(&user, &[full.clone(), chosen(untimed), chosen(voided)]).await;
    let seq = results(&first)[0].1.unwrap();
    assert_eq!(user.post(&format!("/v1/costs/{voided}/void"), &json!({})).await.status, 200);
    let before = head(&world, user.tenant).await;
    let disjoint =
        json!([{"type": "input_uncached", "quantity": "6.0"}, {"type": "input_cache_read", "quantity": "4"}]);
    let mut timeless = full.clone();
    timeless.as_object_mut().unwrap().remove("occurred_at");
    for (item, expected) in [
        (full.clone(), Some(seq)),
        (timeless, Some(seq)),
        (with(full.clone(), json!({"amount": "00.1000", "currency": "USD"})), Some(seq)),
        (with(full.clone(), json!({"usage": disjoint, "usage_convention": "disjoint"})), Some(seq)),
        (chosen(untimed), Some(seq + 1)),
        // That it counts no more does not make it another cost.
        (chosen(voided), Some(seq + 2)),
        (with(full.clone(), json!({"occurred_at": at + TimeDelta::microseconds(1)})), None),
        (with(full.clone(), json!({"occurred_at": at - TimeDelta::days(31)})), None),
        (with(full.clone(), json!({"amount": "0.1000000001"})), None),
        (with(full.clone(), json!({"currency": "EUR"})), None),
        (with(full.clone(), json!({"session_id": Uuid::now_v7()})), None),
        (with(full.clone(), json!({"metadata": {"a": 1.0}})), None),
        (with(full.clone(), json!({"usage_convention": "disjoint"})), None),
        (with(chosen(untimed), json!({"occurred_at": at - TimeDelta::hours(1)})), None),
    ] {
        let reply = batch(&user, std::slice::from_ref(&item)).await;
        let expected = expected.map_or(("rejected", None), |seq| ("duplicate", Some(seq)));
        assert_eq!(results(&reply), [expected], "{item}");
    }
    assert_eq!(head(&world, user.tenant).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_batch_gets_its_first_answer_also_when_nothing_was_created() {
    let world = World::with(WorldSettings { apis: 2, ..WorldSettings::default() }).await;
    let user = world.tenant().await;
    let id = Uuid::now_v7();
    let ask = async |node: usize, key: &str, items: Value| {
        let user = user.at(world.url(node));
        user.post_with("/v1/costs/batch", &[("idempotency-key", key)], &json!({"items": items})).await
    };
    let mixed = json!([chosen(id), cost(), {"service": "llm"}, chosen(id)]);
    let first = ask(0, "mixed", mixed.clone()).await;
    assert_eq!(
        results(&first).iter().map(|(status, _)| *status).collect::<Vec<_>>(),
        ["created", "created", "rejected", "duplicate"]
    );
    let nothing = json!([chosen(id), {"service": "llm"}]);
    let second = ask(0, "nothing", nothing.clone()).await;
    assert_eq!(results(&second), [("duplicate", results(&first)[0].1), ("rejected", None)]);
    assert_eq!(second.header("idempotency-replayed"), "");
    let none = ask(0, "none", json!([7])).await;
    assert_eq!(results(&none), [("rejected", None)]);
    user.post("/v1/costs", &cost()).await;
    let before = head(&world, user.tenant).await;
    for node in [0, 1] {
        for (key, items, answer) in
            [("mixed", &mixed, &first), ("nothing", &nothing, &second), ("none", &json!([7]), &none)]
        {
            let again = ask(node, key, items.clone()).await;
            assert_eq!((again.status, &again.body), (200, &answer.body), "{key}");
            assert_eq!(again.header("idempotency-replayed"), "true");
            assert_problem(&ask(node, key, json!([cost()])).await, 422, "idempotency_key_reused");
        }
    }
    assert_eq!(head(&world, user.tenant).await, before);
    world.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_atomic_batch_is_recorded_whole_or_not_at_all_also_over_two_months() {
    let world = World::start().await;
    let user = world.tenant().await;
    let before = head(&world, user.tenant).await;
    let [there, id] = [(); 2].map(|()| Uuid::now_v7());
    // A month and more lies between the oldest and the newest time that is taken.
    let month_ago = with(cost(), json!({"occurred_at": now() - TimeDelta::days(34)}));
    let atomic = async |items: Value| user.post("/v1/costs/batch", &json!({"items": items, "atomic": true})).await;
    assert_eq!(user.post("/v1/costs", &chosen(there)).await.status, 201);
    let bad = json!([chosen(id), month_ago, {"service": "LLM", "provider": "p"}, with(chosen(there), json!({"model": "x"})), 7]);
    let refused = atomic(bad).await;
    assert_problem(&refused, 422, "validation_failed");
    let errors = refused.body["errors"].as_array().unwrap();
    let pointers: Vec<&str> = errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect();
    assert_eq!(pointers, ["/items/2/service", "/items/3/id", "/items/4"]);
    assert_eq!(head(&world, user.tenant).await, before + 1);

    let good = atomic(json!([month_ago, chosen(id), chosen(there), cost()])).await;
    let expected =
        [("created", before + 2), ("created", before + 3), ("duplicate", before + 1), ("created", before + 4)];
    assert_eq!(results(&good), expected.map(|(status, seq)| (status, Some(seq))));
    let events = user.events().await;
    let subjects: Vec<&str> =
        events[events.len() - 3..].iter().map(|event| event["subject"].as_str().unwrap()).collect();
    assert!(subjects[0] != subjects[1] && subjects[1] == subjects[2], "{subjects:?}");
    world.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_with_the_same_ids_at_once_record_each_cost_once() {
    let world = World::with(WorldSettings { apis: 2, ..WorldSettings::default() }).await;
    let user = world.tenant().await;
    let before = head(&world, user.tenant).await;
    let ids: Vec<Uuid> = (0..20).map(|_| Uuid::now_v7()).collect();
    let clients: Vec<User> = (0..8).map(|n| user.at(world.url(n % 2))).collect();
    let answers = join_all(clients.iter().enumerate().map(|(n, client)| {
        // Every client tells other ones, and each is told by several.
        let items: Vec<Value> = ids.iter().cycle().skip(n * 3).take(10).map(|id| chosen(*id)).collect();
        async move { (items.clone(), batch(client, &items).await) }
    }))
    .await;
    let events = user.events().await;
    let mut created = 0;
    for (items, answer) in &answers {
        for (item, (status, seq)) in items.iter().zip(results(answer)) {
            created += u64::from(status == "created");
            assert_eq!(events[usize::try_from(seq.unwrap()).unwrap() - 1]["data"]["cost_id"], item["id"], "{status}");
        }
    }
    assert_eq!((created, head(&world, user.tenant).await), (20, before + 20));
    world.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_costs_are_one_command() {
    let world = World::start().await;
    let user = world.tenant().await;
    let before = head(&world, user.tenant).await;
    let session = Uuid::now_v7();
    let items: Vec<Value> =
        (0..500).map(|n| with(cost(), json!({"session_id": session, "amount": format!("0.{n:03}")}))).collect();
    let reply = batch(&user, &items).await;
    let expected: Vec<_> = (1..=500).map(|n| ("created", Some(before + n))).collect();
    assert_eq!(results(&reply), expected);
    world.drain().await;
    let rows = user.all_pages(&format!("/v1/costs?limit=200&session_id={session}")).await;
    assert_eq!(rows.len(), 500);
    // All at one time: the later item comes first.
    assert_eq!(rows[0]["id"], reply.body["results"][499]["id"]);
    let total: String = sqlx::query_scalar("select trim_scale(amount)::text from session_costs where session_id = $1")
        .bind(session)
        .fetch_one(&world.database.admin)
        .await
        .unwrap();
    assert_eq!(total, "124.75");
}
