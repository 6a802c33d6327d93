//! Versions of Convolog that follow each other share a log: what each may do with what another has written.

mod newer_data;
mod old_data;
mod old_writer;

use std::collections::HashMap;
use std::time::Duration;

use domain::{Actor, ActorKind, Category, DecodeError, EventData, EventType, TenantId};
use futures_util::StreamExt as _;
use serde_json::value::RawValue;
use store::{CommandContext, Posting, TenantContext};
use tests::{User, World};
use uuid::Uuid;

/// An event as code of another version writes it.
#[derive(Clone, Debug)]
struct Foreign {
    category: Category,
    stream: Uuid,
    name: &'static str,
    schema: u16,
    data: &'static str,
}

impl EventData for Foreign {
    fn event_type(&self) -> EventType {
        EventType { name: self.name, schema: self.schema }
    }

    fn encode(&self) -> Result<Box<RawValue>, serde_json::Error> {
        RawValue::from_string(self.data.to_owned())
    }

    fn decode(_: &str, _: u16, _: &RawValue) -> Result<Self, DecodeError> {
        panic!("nobody here reads what others have written")
    }
}

/// Writes it at a node that has not seen the stream before; answers its seq.
async fn write(world: &World, node: usize, tenant: Uuid, event: Foreign) -> u64 {
    let caller = TenantContext::authenticated(TenantId(tenant), Actor { kind: ActorKind::System, id: Uuid::nil() });
    let context = CommandContext::new(caller, Uuid::now_v7(), chrono::DateTime::UNIX_EPOCH);
    let log = world.nodes[node].write_side().unwrap().1;
    let done = log.execute(context, move |unit| {
        let posting = Posting { id: Uuid::now_v7(), occurred_at: chrono::DateTime::UNIX_EPOCH, event: &event };
        unit.record::<_, ()>(event.category, event.stream, &posting)
    });
    let done: Result<_, store::ExecuteError<()>> = done.await;
    done.unwrap_or_else(|error| panic!("{error:?}")).seq
}

/// Follows all events on NATS from now on.
async fn watch(world: &World) -> async_nats::Subscriber {
    let password = world.nats_access.passwords[&bus::User::Viewer].clone();
    let options = async_nats::ConnectOptions::with_user_and_password("viewer".into(), password);
    let viewer = options.connect(&world.nats_access.url).await.unwrap();
    let seen = viewer.subscribe("events.>").await.unwrap();
    viewer.flush().await.unwrap();
    seen
}

/// The bytes that NATS carries of a tenant's log, up to this number, by number.
async fn on_nats(seen: &mut async_nats::Subscriber, tenant: Uuid, up_to: u64) -> Vec<(u64, String)> {
    let mut events = Vec::new();
    let subject = format!(".{}.", tenant.simple());
    while events.len() < usize::try_from(up_to).unwrap() {
        let message = tokio::time::timeout(Duration::from_secs(30), seen.next()).await.unwrap().unwrap();
        if message.subject.contains(&subject) {
            let text = String::from_utf8(message.payload.to_vec()).unwrap();
            events.push((crate::stream::listener::sequence(&text), text));
        }
    }
    events
}

/// Members of an event as they are written.
fn members(event: &str) -> HashMap<String, Box<RawValue>> {
    serde_json::from_str(event).unwrap()
}

/// How much the tenant's log, its keys and its claims hold.
async fn written(world: &World, user: &User) -> (i64, i64, i64) {
    sqlx::query_as(
        "select (select seq from tenant_heads where tenant_id = $1),
                (select count(*) from idempotency_keys where tenant_id = $1),
                (select count(*) from claims where tenant_id = $1)",
    )
    .bind(user.tenant)
    .fetch_one(&world.database.admin)
    .await
    .unwrap()
}
