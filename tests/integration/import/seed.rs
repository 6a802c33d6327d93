//! The demo: its replies have costs, and a demo of an earlier version stays as it was made.

use api::passwords::Cost;
use convolog::seed::{Demo, Seeded, seed};
use serde_json::Value;
use sqlx::types::Uuid;
use tests::World;

use super::{import, now};

const CONVERSATIONS: &str = include_str!("../../../crates/convolog/src/seed/conversations.jsonl");

async fn make(world: &World, email: &str) -> Seeded {
    let demo = Demo { email: email.into(), password: "correct horse battery".into(), tenant_name: "A demo".into() };
    let cheap = Cost { memory_kib: 8, passes: 1, lanes: 1 };
    seed(world.nodes[0].write_side().unwrap(), &demo, cheap, now()).await.unwrap()
}

/// Sum in USD and number of the costs of a tenant's sessions.
async fn sum(world: &World, tenant: Uuid) -> (Option<String>, i64) {
    world.drain().await;
    let sql = "select trim_scale(sum(amount))::text, coalesce(sum(recorded), 0)::bigint from session_costs
               where tenant_id = $1 and currency = 'USD'";
    sqlx::query_as(sql).bind(tenant).fetch_one(&world.database.admin).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_demo_has_costs_once() {
    let world = World::start().await;
    let first = make(&world, "ada@example.com").await;
    assert_eq!((first.founded, first.recorded), (true, 21));
    // As worked out from the list prices when the demo was written.
    let expected = (Some("0.05482789".to_owned()), 39);
    assert_eq!(sum(&world, first.tenant.0).await, expected);
    let again = make(&world, "ada@example.com").await;
    assert_eq!((again.founded, again.recorded), (false, 0));
    assert_eq!(sum(&world, first.tenant.0).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_of_the_time_before_costs_is_left_as_it_is() {
    let world = World::start().await;
    let user = world.register("A demo", "ada@example.com").await;
    let old = CONVERSATIONS.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        for message in line["messages"].as_array_mut().unwrap() {
            message.as_object_mut().unwrap().retain(|name, _| name != "usage" && name != "cost");
        }
        format!("{line}\n")
    });
    let report = import(&world, &user, old.collect::<String>()).await;
    assert_eq!((report.new, report.costs), (21, 0));
    let events = user.events().await;
    let seeded = make(&world, "ada@example.com").await;
    assert_eq!((seeded.founded, seeded.recorded), (false, 0));
    assert_eq!(user.events().await, events);
}
