//! A cost is recorded exactly, in the ledger of its month, once.

use serde_json::{Value, json};
use sqlx::Row as _;
use tests::World;
use uuid::Uuid;

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
