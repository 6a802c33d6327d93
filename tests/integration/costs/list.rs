//! Costs are listed by the time when they occurred, newest first, in pages that neither repeat nor lose one.

use chrono::{DateTime, SecondsFormat, SubsecRound as _, TimeDelta, Utc};
use serde_json::{Value, json};
use tests::{User, World};
use uuid::Uuid;

use super::{cost, with};
use crate::http::{assert_problem, now};

fn text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn ids(rows: &[Value]) -> Vec<Uuid> {
    rows.iter().map(|row| row["id"].as_str().unwrap().parse().unwrap()).collect()
}

async fn recorded(user: &User, members: Value) -> Uuid {
    let reply = user.post("/v1/costs", &with(cost(), members)).await;
    assert_eq!(reply.status, 201, "{}", reply.body);
    reply.id()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_has_all_that_was_told_and_amounts_without_trailing_zeros() {
    let world = World::start().await;
    let user = world.tenant().await;
    let [id, session, message, meeting] = [(); 4].map(|()| Uuid::now_v7());
    let occurred_at = text(now());
    let told = json!({
        "id": id, "service": "voice", "provider": "Ä", "model": "m", "amount": "-0012.3400", "currency": "EUR",
        "usage": [{"type": "input_uncached", "quantity": 10}, {"type": "input_cache_read", "quantity": "4.0"},
                  {"type": "images", "quantity": 0}],
        "usage_convention": "inclusive", "occurred_at": occurred_at, "session_id": session, "message_id": message,
        "meeting_id": meeting, "metadata": {"a": 1},
    });
    let reply = user.post("/v1/costs", &told).await;
    assert_eq!(reply.status, 201, "{}", reply.body);
    assert_eq!(reply.header("location"), format!("/v1/costs/{id}"));
    world.drain().await;
    let row = user.get(&format!("/v1/costs/{id}")).await;
    assert_eq!(row.status, 200, "{}", row.body);
    let mut body = row.body.clone();
    assert!(body.as_object_mut().unwrap().remove("recorded_at").unwrap().is_string());
    let expected = json!({
        "id": id, "service": "voice", "provider": "Ä", "model": "m", "amount": "-12.34", "currency": "EUR",
        "usage": [{"type": "input_uncached", "quantity": "6", "unit": "tokens"},
                  {"type": "input_cache_read", "quantity": "4", "unit": "tokens"}],
        "occurred_at": occurred_at, "session_id": session, "message_id": message, "meeting_id": meeting,
        "metadata": {"a": 1}, "period": &occurred_at[..7], "seq": reply.seq(), "version": 1,
        "voided_at": null, "void_id": null, "void_reason": null,
    });
    assert_eq!(body, expected);
    let unpriced = user.post("/v1/costs", &json!({"service": "other", "provider": "p"})).await.id();
    world.drain().await;
    let row = user.get(&format!("/v1/costs/{unpriced}")).await.body;
    assert_eq!((&row["amount"], &row["currency"], &row["usage"]), (&Value::Null, &Value::Null, &json!([])));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_ordered_by_time_then_number_and_hold_every_cost_once() {
    let world = World::start().await;
    let user = world.tenant().await;
    let begun = now().trunc_subsecs(6);
    // Told in no order, several at the same time.
    let mut told = Vec::new();
    for minutes in [3, 1, 2, 1, 3, 0, 1] {
        let occurred_at = begun - TimeDelta::minutes(minutes);
        told.push((occurred_at, recorded(&user, json!({"occurred_at": text(occurred_at)})).await));
    }
    world.drain().await;
    let mut expected: Vec<(DateTime<Utc>, usize, Uuid)> =
        told.iter().enumerate().map(|(n, (at, id))| (*at, n, *id)).collect();
    expected.sort();
    let expected: Vec<Uuid> = expected.into_iter().rev().map(|(_, _, id)| id).collect();
    for limit in [1, 2, 200] {
        assert_eq!(ids(&user.all_pages(&format!("/v1/costs?limit={limit}")).await), expected, "{limit}");
    }
    // One that is older than the page's end is still met, a newer one is not.
    let first = user.get("/v1/costs?limit=2").await;
    let older = recorded(&user, json!({"occurred_at": text(begun - TimeDelta::days(1))})).await;
    recorded(&user, json!({})).await;
    world.drain().await;
    let cursor = first.body["next_cursor"].as_str().unwrap();
    let rest = user.all_pages(&format!("/v1/costs?limit=200&cursor={cursor}")).await;
    assert_eq!(ids(&rest), [&expected[2..], &[older]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_filter_leaves_what_it_names() {
    let world = World::start().await;
    let (user, other) = (world.tenant().await, world.tenant().await);
    let (session, message) = (Uuid::now_v7(), Uuid::now_v7());
    let at = now().trunc_subsecs(6) - TimeDelta::hours(2);
    let plain = recorded(&user, json!({"occurred_at": text(at)})).await;
    let euro = recorded(&user, json!({"currency": "EUR", "occurred_at": text(at + TimeDelta::microseconds(1))})).await;
    let voice =
        recorded(&user, json!({"service": "voice", "provider": "a&b=c", "model": "x", "session_id": session})).await;
    let said = recorded(&user, json!({"session_id": session, "message_id": message, "model": "x"})).await;
    recorded(&other, json!({"session_id": session, "message_id": message})).await;
    assert_eq!(user.post(&format!("/v1/costs/{said}/void"), &json!({})).await.status, 200);
    world.drain().await;
    let later = text(at + TimeDelta::microseconds(1));
    for (filter, expected) in [
        (String::new(), vec![said, voice, euro, plain]),
        ("&service=voice".into(), vec![voice]),
        ("&service=vision".into(), vec![]),
        ("&provider=a%26b%3Dc".into(), vec![voice]),
        ("&model=x".into(), vec![said, voice]),
        (format!("&session_id={session}"), vec![said, voice]),
        (format!("&message_id={message}"), vec![said]),
        (format!("&session_id={session}&message_id={message}&model=x"), vec![said]),
        ("&currency=EUR".into(), vec![euro]),
        ("&voided=true".into(), vec![said]),
        ("&voided=false".into(), vec![voice, euro, plain]),
        (format!("&from={later}"), vec![said, voice, euro]),
        (format!("&to={later}"), vec![plain]),
        (format!("&from={}&to={later}", text(at)), vec![plain]),
        (format!("&from={later}&to={later}"), vec![]),
        (format!("&from={later}&model=gpt-4o"), vec![euro]),
    ] {
        for limit in [1, 50] {
            let rows = user.all_pages(&format!("/v1/costs?limit={limit}{filter}")).await;
            assert_eq!(ids(&rows), expected, "{filter}");
        }
    }
    assert_eq!(user.get(&format!("/v1/costs?cursor={}", "A".repeat(32))).await.status, 400);
    let cursor = user.get("/v1/costs?limit=1&model=x").await.body["next_cursor"].as_str().unwrap().to_owned();
    for list in ["/v1/costs?", "/v1/costs?model=y&", "/v1/costs?provider=x&", "/v1/sessions?"] {
        assert_problem(&user.get(&format!("{list}cursor={cursor}")).await, 400, "cursor_mismatch");
    }
    for (query, parameter) in [
        ("from=yesterday", "from"),
        ("to=%2B12026-11-22T18:00:00Z", "to"),
        ("service=LLM", "service"),
        ("currency=usd", "currency"),
        ("voided=yes", "voided"),
        ("session_id=1", "session_id"),
        ("meeting_id=x", "meeting_id"),
    ] {
        let reply = user.get(&format!("/v1/costs?{query}")).await;
        assert_problem(&reply, 422, "validation_failed");
        assert_eq!(reply.body["errors"][0]["parameter"], parameter);
    }
}
