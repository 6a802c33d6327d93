//! A cost is recorded exactly, in the ledger of its month, once.

use chrono::TimeDelta;
use serde_json::{Value, json};
use sqlx::Row as _;
use tests::{World, eventually};
use uuid::Uuid;

use super::{cost, with};
use crate::http::now;

fn exact() -> Value {
    json!({"service": "llm", "provider": "openai", "model": "gpt-4o", "amount": "999999999999.999999999999",
           "usage": [{"type": "input_uncached", "quantity": 420}, {"type": "frames", "quantity": "1.25", "unit": "frames"}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cost_stands_in_the_ledger_of_its_month_and_in_every_read_table_exactly() {
    let world = World::start().await;
    let user = world.tenant().await;
    let session = Uuid::now_v7();
    let mut body = exact();
    body["session_id"] = json!(session);
    for version in 1..=3 {
        let reply = user.post("/v1/costs", &body).await;
        assert_eq!(reply.status, 201, "{}", reply.body);
        assert_eq!(reply.body["version"], version);
    }
    world.drain().await;
    let row = sqlx::query(
        "select (select count(*) from cost_events where tenant_id = $1) as rows,
                (select amount::text from session_costs where tenant_id = $1 and session_id = $2 and currency = 'USD') as amount,
                (select trim_scale(quantity)::text from usage_summaries where tenant_id = $1 and type = 'frames') as frames,
                (select last_version from cost_periods where tenant_id = $1) as version,
                (select c.period = to_char(now() at time zone 'UTC', 'YYYY-MM') from cost_periods c where tenant_id = $1) as now",
    )
    .bind(user.tenant)
    .bind(session)
    .fetch_one(&world.database.admin)
    .await
    .unwrap();
    assert_eq!(row.get::<i64, _>("rows"), 3);
    assert_eq!(row.get::<String, _>("amount"), "2999999999999.999999999997");
    assert_eq!(row.get::<String, _>("frames"), "3.75");
    assert_eq!(row.get::<i64, _>("version"), 3);
    assert!(row.get::<Option<bool>, _>("now").is_some());
    let events = user.events().await;
    let last = events.last().unwrap();
    assert_eq!(last["type"], "convolog.ledger.cost_recorded.v1");
    assert_eq!(last["subject"], format!("ledger/{}", last["data"]["period"].as_str().unwrap()));
    assert_eq!(last["data"]["charge"]["amount"], "999999999999.999999999999");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_repeated_too_late_for_its_cost_gets_its_first_answer() {
    let world = World::start().await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    let messages = format!("/v1/sessions/{session}/messages");
    // As long ago as is allowed, for a little while yet.
    let old = with(cost(), json!({"occurred_at": now() - TimeDelta::days(35) + TimeDelta::seconds(4)}));
    let requests = [
        ("/v1/costs", old.clone(), 201),
        ("/v1/costs/batch", json!({"items": [old], "atomic": true}), 200),
        (messages.as_str(), json!({"role": "user", "content": "x", "cost": old}), 201),
    ];
    let mut first = Vec::new();
    for (path, body, status) in &requests {
        let reply = user.post_with(path, &[("idempotency-key", path)], body).await;
        assert_eq!(reply.status, *status, "{}", reply.body);
        first.push(reply.body);
    }
    for ((path, body, status), first) in requests.iter().zip(first) {
        eventually("the cost is too old", async || user.post(path, body).await.code() == "validation_failed").await;
        let again = user.post_with(path, &[("idempotency-key", path)], body).await;
        assert_eq!((again.status, again.header("idempotency-replayed")), (*status, "true"), "{}", again.body);
        assert_eq!(again.body, first);
    }
}
