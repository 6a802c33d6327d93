//! Costs over HTTP: what is recorded, refused, taken back and added up.

mod batch;
mod exact;
mod fold;
mod histories;
mod hostile;
pub(crate) mod ledger;
mod list;
mod message;
mod once;
mod periods;
mod record;
mod summary;
mod sums;
mod void;

use serde_json::{Value, json};
use sqlx::Row as _;
use tests::World;
use uuid::Uuid;

/// What every cost has.
fn cost() -> Value {
    json!({"service": "llm", "provider": "openai", "model": "gpt-4o", "amount": "0.10"})
}

/// The cost with these members too, or instead.
fn with(mut cost: Value, members: Value) -> Value {
    cost.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    cost
}

/// The number of the last event in a tenant's log, as the database has it.
async fn head(world: &World, tenant: Uuid) -> u64 {
    let row = sqlx::query("select seq from tenant_heads where tenant_id = $1").bind(tenant);
    row.fetch_one(&world.database.admin).await.unwrap().get::<i64, _>("seq").cast_unsigned()
}
