//! A summary adds up what occurred in a range of time, by bucket and group, exactly.

use domain::ledger::Service;
use serde_json::{Value, json};
use uuid::Uuid;

use super::ledger::{Ledger, cost};
use crate::faults::group_version::quick_world;
use crate::http::assert_problem;

#[tokio::test(flavor = "multi_thread")]
async fn costs_are_added_up_by_bucket_group_and_currency() {
    let world = quick_world().await;
    let user = world.tenant().await;
    let ledger = Ledger::of(&world);
    let session = Uuid::now_v7();
    let mistake = cost("2026-11-01T09:00:00Z", Some("5"), Some("USD")).using(&[("output_text", "7", "tokens")]);
    let events = vec![
        cost("2026-11-01T00:00:00Z", Some("0.1"), Some("USD")).using(&[("output_text", "1.5", "tokens")]).recorded(),
        cost("2026-11-01T23:59:59Z", Some("0.2"), Some("USD")).using(&[("output_text", "2.5", "tokens")]).recorded(),
        cost("2026-11-01T12:00:00Z", Some("1"), Some("EUR"))
            .with(|charge| charge.session_id = Some(session))
            .recorded(),
        cost("2026-11-02T00:00:00Z", None, None).with(|charge| charge.model = None).recorded(),
        cost("2026-11-03T00:00:00Z", Some("9"), Some("USD")).recorded(),
        mistake.clone().recorded(),
        mistake.voided("2026-11-20T00:00:00Z"),
        cost("2026-11-02T14:07:00Z", Some("-3.000000000001"), Some("USD"))
            .with(|charge| charge.service = Service::Voice)
            .recorded(),
    ];
    let seq = ledger.append(&user, events).await;
    let range = "from=2026-11-01T00:00:00Z&to=2026-11-03T00:00:00Z";
    let whole = user.get(&format!("/v1/costs/summary?{range}&min_seq={seq}")).await;
    assert_eq!(whole.status, 200, "{}", whole.body);
    assert_eq!(whole.header("convolog-seq"), seq.to_string());
    let totals = json!([
        {"currency": null, "amount": null, "recorded": 1, "voided": 0, "unpriced": 1},
        {"currency": "EUR", "amount": "1", "recorded": 1, "voided": 0, "unpriced": 0},
        {"currency": "USD", "amount": "-2.700000000001", "recorded": 4, "voided": 1, "unpriced": 0},
    ]);
    let usage = json!([{"type": "output_text", "unit": "tokens", "quantity": "4"}]);
    let row = json!({"start": "2026-11-01T00:00:00Z", "end": "2026-11-03T00:00:00Z", "group": {}, "totals": totals, "usage": usage});
    assert_eq!(whole.body, json!({"data": [row], "totals": totals}));

    let by_day = user.get(&format!("/v1/costs/summary?{range}&bucket=day&group_by=model,service")).await.body;
    assert_eq!(by_day["totals"], totals);
    let rows: Vec<Value> = by_day["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            json!([
                row["start"],
                row["group"],
                row["totals"].as_array().unwrap().len(),
                row["usage"].as_array().unwrap().len()
            ])
        })
        .collect();
    assert_eq!(
        json!(rows),
        json!([
            ["2026-11-01T00:00:00Z", {"service": "llm", "model": "gpt-4o"}, 2, 1],
            ["2026-11-02T00:00:00Z", {"service": "llm", "model": null}, 1, 0],
            ["2026-11-02T00:00:00Z", {"service": "voice", "model": "gpt-4o"}, 1, 0],
        ])
    );

    let filtered = |filter: String| {
        let (user, path) = (user.clone(), format!("/v1/costs/summary?{range}&{filter}"));
        async move { user.get(&path).await.body["totals"].clone() }
    };
    assert_eq!(filtered("service=voice".into()).await[0]["amount"], "-3.000000000001");
    assert_eq!(filtered(format!("session_id={session}")).await, json!([totals[1]]));
    assert_eq!(filtered("model=gpt-4o&provider=openai&service=llm".into()).await[1]["amount"], "0.3");
    assert_eq!(filtered("provider=nobody".into()).await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_without_costs_is_empty_and_by_default_it_is_the_current_month() {
    let world = quick_world().await;
    let (user, other) = (world.tenant().await, world.tenant().await);
    let body = json!({"service": "llm", "provider": "p", "amount": "1.50"});
    let seq = user.post("/v1/costs", &body).await.seq();
    let now = user.get(&format!("/v1/costs/summary?min_seq={seq}&bucket=month&timezone=Asia/Kathmandu")).await.body;
    assert_eq!(now["totals"][0]["amount"], "1.5", "{now}");
    assert_eq!(now["data"].as_array().unwrap().len(), 1);
    let empty = json!({"data": [], "totals": []});
    assert_eq!(other.get("/v1/costs/summary?group_by=service").await.body, empty);
    let then = "from=2020-01-01T00:00:00Z&to=2021-01-01T00:00:00Z";
    assert_eq!(user.get(&format!("/v1/costs/summary?{then}")).await.body, empty);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_that_cannot_be_answered_is_refused_by_its_parameter() {
    let world = quick_world().await;
    let user = world.tenant().await;
    for (query, parameter, code) in [
        ("from=2026-11-01T00:07:00Z", "from", "not_on_a_quarter"),
        ("from=2026-11-01T00:15:00.000001Z", "from", "not_on_a_quarter"),
        ("to=2026-11-01T00:15:01Z", "to", "not_on_a_quarter"),
        ("from=2026-11-01", "from", "invalid_value"),
        ("from=2026-11-01T00:00:00Z&to=2026-11-01T00:00:00Z", "to", "empty_range"),
        ("from=2026-11-02T00:00:00Z&to=2026-11-01T00:00:00Z", "to", "empty_range"),
        ("from=1999-12-31T23:45:00Z", "from", "out_of_range"),
        ("to=2200-01-01T00:00:00Z", "to", "out_of_range"),
        ("timezone=Europe/Atlantis", "timezone", "unknown_time_zone"),
        ("timezone=X%2B3:07", "timezone", "unknown_time_zone"),
        ("timezone=", "timezone", "unknown_time_zone"),
        ("bucket=week", "bucket", "invalid_value"),
        ("group_by=", "group_by", "invalid_value"),
        ("group_by=model,", "group_by", "invalid_value"),
        ("group_by=model,model", "group_by", "repeated"),
        ("group_by=currency", "group_by", "invalid_value"),
        ("service=text", "service", "invalid_value"),
        ("session_id=1", "session_id", "invalid_value"),
        ("limit=1", "limit", "unknown_field"),
        // 1000 hours are 41 days and 16 hours.
        ("bucket=hour&from=2026-01-01T00:00:00Z&to=2026-02-11T16:15:00Z", "bucket", "too_many_rows"),
        ("bucket=month&from=2001-01-01T00:00:00Z&to=2199-01-01T00:00:00Z", "bucket", "too_many_rows"),
    ] {
        let reply = user.get(&format!("/v1/costs/summary?{query}")).await;
        assert_problem(&reply, 422, "validation_failed");
        let error = &reply.body["errors"][0];
        assert_eq!((&error["parameter"], &error["code"]), (&json!(parameter), &json!(code)), "{query}: {error}");
    }
    for query in [
        "bucket=hour&from=2026-01-01T00:00:00Z&to=2026-02-11T16:00:00Z",
        "from=2000-01-01T00:00:00Z&to=2199-12-31T23:45:00Z",
        "from=2026-11-01T00:00:00%2B05:45&to=2027-01-01T00:00:00Z",
        "group_by=session,service,model,provider",
    ] {
        let reply = user.get(&format!("/v1/costs/summary?{query}")).await;
        assert_eq!(reply.status, 200, "{query}: {}", reply.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_more_rows_or_lines_than_can_be_told_is_refused() {
    let world = quick_world().await;
    let user = world.tenant().await;
    let admin = &world.database.admin;
    let range = "/v1/costs/summary?from=2026-11-01T00:00:00Z&to=2026-12-01T00:00:00Z";
    let sessions =
        "insert into cost_summaries (tenant_id, bucket, service, provider, session_id, recorded, voided, unpriced)
                    select $1, '2026-11-05', 'llm', 'p', gen_random_uuid(), 1, 0, 1 from generate_series(1, $2)";
    let add = async |sql: &'static str, count: i32| {
        sqlx::query(sql).bind(user.tenant).bind(count).execute(admin).await.unwrap();
    };
    add(sessions, 1000).await;
    let most = user.get(&format!("{range}&group_by=session")).await;
    assert_eq!((most.status, most.body["data"].as_array().unwrap().len()), (200, 1000));
    add(sessions, 1).await;
    let refused = user.get(&format!("{range}&group_by=session")).await;
    assert_problem(&refused, 422, "validation_failed");
    assert_eq!(refused.body["errors"][0]["code"], "too_many_rows");
    assert_eq!(refused.body["errors"][0]["parameter"], "group_by");
    assert!(refused.body["detail"].as_str().unwrap().contains("more than 1000 rows; ask for"), "{}", refused.body);
    assert_eq!(user.get(range).await.body["totals"][0]["recorded"], 1001);

    let types = "insert into usage_summaries (tenant_id, bucket, service, provider, type, unit, quantity)
                 select $1, '2026-11-05', 'llm', 'p', gen_random_uuid(), 'pieces', 1 from generate_series(1, $2)";
    add(types, 20_000).await;
    assert_eq!(user.get(range).await.body["data"][0]["usage"].as_array().unwrap().len(), 20_000);
    add(types, 1).await;
    let refused = user.get(range).await;
    assert_problem(&refused, 422, "validation_failed");
    assert!(refused.body["detail"].as_str().unwrap().contains("more than 20000 "), "{}", refused.body);
}
