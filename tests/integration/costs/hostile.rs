//! Costs made to break something: each is refused where it is wrong, alone and in a batch, and leaves nothing.

use chrono::TimeDelta;
use serde_json::{Value, json};
use tests::World;
use uuid::Uuid;

use super::{cost, head, with};
use crate::http::{assert_problem, now, post_text, raw};

/// A cost as JSON, and where it is wrong. Text, because some numbers fit into no type.
fn bad() -> Vec<(String, &'static str)> {
    let line = |r#type: &str, quantity: &str| format!(r#"{{"type":"{type}","quantity":{quantity}}}"#);
    let usage = |lines: &[String]| format!(r#""usage":[{}]"#, lines.join(","));
    let lines =
        |count: usize| (0..count).map(|n| format!(r#"{{"type":"t{n}","quantity":1,"unit":"u"}}"#)).collect::<Vec<_>>();
    let inclusive = |lines: &[String]| format!(r#"{},"usage_convention":"inclusive""#, usage(lines));
    let time = |delta: TimeDelta| format!(r#""occurred_at":"{}""#, (now() + delta).to_rfc3339());
    let long = "x".repeat(201);
    let members = [
        (r#""amount":0.1"#.to_owned(), "/amount"),
        (r#""amount":1"#.into(), "/amount"),
        (r#""amount":1e400"#.into(), "/amount"),
        (r#""amount":"1e400""#.into(), "/amount"),
        (r#""amount":"1234567890123""#.into(), "/amount"),
        (r#""amount":"0.1234567890123""#.into(), "/amount"),
        (r#""amount":"+1""#.into(), "/amount"),
        (r#""amount":"NaN""#.into(), "/amount"),
        (r#""amount":"\u0661""#.into(), "/amount"),
        (r#""amount":"""#.into(), "/amount"),
        (r#""currency":"usd""#.into(), "/currency"),
        (r#""currency":"US$""#.into(), "/currency"),
        (r#""service":"teleport""#.into(), "/service"),
        (r#""provider":"""#.into(), "/provider"),
        (format!(r#""provider":"{long}""#), "/provider"),
        (format!(r#""model":"{long}""#), "/model"),
        (usage(&[line("output_text", "-1")]), "/usage/0/quantity"),
        (usage(&[line("output_text", "\"-1\"")]), "/usage/0/quantity"),
        (usage(&[line("output_text", "1.5")]), "/usage/0/quantity"),
        (usage(&[line("output_text", "1e400")]), "/usage/0/quantity"),
        (usage(&[line("output_text", "1000000000000")]), "/usage/0/quantity"),
        (usage(&[line("Output", "1")]), "/usage/0/type"),
        (usage(&[line("images", "1"), line("images", "2")]), "/usage/1"),
        (usage(&lines(33)), "/usage"),
        (usage(&[r#"{"type":"images","quantity":1,"unit":"tokens"}"#.into()]), "/usage/0/unit"),
        (inclusive(&[line("input_uncached", "3"), line("input_cache_read", "4")]), "/usage"),
        (inclusive(&[line("input_cache_read", "4")]), "/usage"),
        (time(-TimeDelta::days(36)), "/occurred_at"),
        (time(TimeDelta::minutes(6)), "/occurred_at"),
        (r#""occurred_at":"+262142-01-01T00:00:00Z""#.into(), "/occurred_at"),
        (r#""occurred_at":"1999-12-31T23:59:59Z""#.into(), "/occurred_at"),
        (format!(r#""metadata":{{"a":"{}"}}"#, "x".repeat(16 * 1024)), "/metadata"),
        (r#""metadata":[]"#.into(), "/metadata"),
        (r#""session_id":"x""#.into(), "/session_id"),
        (r#""period":"2026-11""#.into(), "/period"),
        (r#""service":"llm""#.into(), "/service"),
    ];
    let whole = |member: &str| {
        let mut others = vec![r#""service":"llm""#, r#""provider":"p""#, r#""currency":"USD""#];
        // What is told twice is one of the refusals.
        others.retain(|other| *other == member || !member.starts_with(other.split_once(':').unwrap().0));
        format!("{{{},{member}}}", others.join(","))
    };
    let mut all: Vec<_> = members.iter().map(|(member, pointer)| (whole(member), *pointer)).collect();
    all.push((r#"{"service":"llm"}"#.into(), "/provider"));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cost_that_is_not_valid_is_refused_where_it_is_wrong() {
    let world = World::start().await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    let before = head(&world, user.tenant).await;
    for (cost, pointer) in bad() {
        for (path, body, parent) in [
            ("/v1/costs".to_owned(), cost.clone(), ""),
            (
                "/v1/costs/batch".into(),
                format!(r#"{{"atomic":true,"items":[{{"service":"llm","provider":"p"}},{cost}]}}"#),
                "/items/1",
            ),
            (
                format!("/v1/sessions/{session}/messages"),
                format!(r#"{{"role":"user","content":"x","cost":{cost}}}"#),
                "/cost",
            ),
        ] {
            let reply = raw(post_text(&user, &path, body)).await.reply();
            assert_problem(&reply, 422, "validation_failed");
            assert_eq!(reply.body["errors"][0]["pointer"], format!("{parent}{pointer}"), "{path} {cost:.300}");
        }
        let reply = raw(post_text(&user, "/v1/costs/batch", format!(r#"{{"items":[{cost}]}}"#))).await.reply();
        assert_eq!((reply.status, &reply.body["results"][0]["status"]), (200, &json!("rejected")), "{cost:.300}");
        let error = &reply.body["results"][0]["problem"]["errors"][0];
        assert_eq!(error["pointer"], format!("/items/0{pointer}"), "{cost:.300}");
    }
    assert_eq!(head(&world, user.tenant).await, before);
    let claims: i64 =
        sqlx::query_scalar("select count(*) from claims where claim like 'cost/%' or claim like 'message/%'")
            .fetch_one(&world.database.admin)
            .await
            .unwrap();
    assert_eq!(claims, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_just_within_the_limits_is_taken() {
    let world = World::start().await;
    let user = world.tenant().await;
    let lines: Vec<Value> = (0..32)
        .map(|n| json!({"type": format!("t{n}"), "quantity": "999999999999.999999999999", "unit": "u"}))
        .collect();
    for members in [
        json!({"amount": "-999999999999.999999999999"}),
        json!({"occurred_at": now() - TimeDelta::days(35) + TimeDelta::minutes(1)}),
        json!({"occurred_at": now() + TimeDelta::minutes(4)}),
        json!({"usage": lines}),
        json!({"provider": "ä".repeat(200), "model": "x".repeat(200), "metadata": {"a": "x".repeat(16 * 1024 - 8)}}),
        json!({"usage_convention": "inclusive", "usage": [{"type": "input_uncached", "quantity": 4}, {"type": "input_cache_read", "quantity": 4}]}),
    ] {
        let reply = user.post("/v1/costs", &with(cost(), members)).await;
        assert_eq!(reply.status, 201, "{}", reply.body);
    }
    world.drain().await;
    assert_eq!(user.all_pages("/v1/costs?limit=5").await.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_has_1_to_500_items_and_takes_no_condition() {
    let world = World::start().await;
    let user = world.tenant().await;
    let before = head(&world, user.tenant).await;
    for items in [json!([]), json!(vec![cost(); 501]), json!({"0": cost()}), Value::Null] {
        for atomic in [true, false] {
            let reply = user.post("/v1/costs/batch", &json!({"items": items, "atomic": atomic})).await;
            assert_problem(&reply, 422, "validation_failed");
            assert_eq!(reply.body["errors"][0]["pointer"], "/items");
        }
    }
    let conditional = user.post_with("/v1/costs/batch", &[("if-match", "*")], &json!({"items": [cost()]})).await;
    assert_problem(&conditional, 400, "invalid_header");
    assert_eq!(head(&world, user.tenant).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_cost_is_in_nobodys_way() {
    let world = World::start().await;
    let (ada, eve) = (world.tenant().await, world.tenant().await);
    let id = Uuid::now_v7();
    let theirs = with(cost(), json!({"id": id, "amount": "7"}));
    assert_eq!(ada.post("/v1/costs", &theirs).await.status, 201);
    let before = head(&world, eve.tenant).await;
    let batch = json!({"items": [with(cost(), json!({"id": id}))]});
    let reply = eve.post("/v1/costs/batch", &batch).await;
    assert_eq!(reply.body["results"][0]["status"], "created", "{}", reply.body);
    assert_problem(&ada.post("/v1/costs", &theirs).await, 409, "id_taken");
    assert_eq!(eve.post(&format!("/v1/costs/{id}/void"), &json!({})).await.status, 200);
    assert_eq!(head(&world, eve.tenant).await, before + 2);
    world.drain().await;
    let row = ada.get(&format!("/v1/costs/{id}")).await.body;
    assert_eq!((&row["amount"], &row["voided_at"]), (&json!("7"), &Value::Null));
}
