//! An event that cannot be projected parks its own stream alone, until it is mended or discarded.

mod discards;
mod held_up;
mod parked;
mod rebuilds;
mod retries;

use std::sync::Arc;

use convolog::node::NodeSettings;
use domain::{Actor, ActorKind, TenantId};
use projector::dead_letters::{DeadLetter, Unparked, of_tenant, retry};
use projector::replay::Difference;
use store::{ApiDatabase, CommandContext, Discard, DiscardOutcome, ProjectorDatabase, TenantContext, discard};
use tests::{User, World, WorldSettings, eventually};
use uuid::Uuid;

use crate::replay::{LITTLE, differences_of, replay};

/// What a message says that PostgreSQL refuses while [`refuse_poison`] is in force.
const POISON: &str = "poison";

/// The read table refuses such messages from now on; its twin in `staging` does not.
async fn refuse_poison(world: &World) {
    execute(world, "alter table messages add constraint no_poison check (content not like 'poison%')").await;
}

/// The read table takes them.
async fn mend(world: &World) {
    execute(world, "alter table messages drop constraint no_poison").await;
}

async fn execute(world: &World, sql: &'static str) {
    sqlx::raw_sql(sql).execute(&world.database.admin).await.unwrap();
}

/// The tenant's, as an operator is shown them.
async fn letters(world: &World, user: &User) -> Vec<DeadLetter> {
    of_tenant(&projector(world).await, TenantId(user.tenant)).await.unwrap()
}

/// Waits until as many streams of the tenant are parked, and answers them.
async fn parked(world: &World, user: &User, streams: usize) -> Vec<DeadLetter> {
    eventually(&format!("{streams} streams are parked"), async || letters(world, user).await.len() == streams).await;
    letters(world, user).await
}

/// As the projector's role.
async fn projector(world: &World) -> ProjectorDatabase {
    ProjectorDatabase::connect(world.database.databases.projector.clone().with_connections(2)).await.unwrap()
}

/// What `convolog dead-letters retry` does.
async fn retried(world: &World, user: &User, stream: Uuid) -> Unparked {
    retry(&projector(world).await, TenantId(user.tenant), stream).await.unwrap()
}

/// Says something and waits until it is in the read tables.
async fn say_and_see(user: &User, session: Uuid, content: &str) {
    let seq = user.say(session, content).await.seq();
    let said = user.messages(session, seq).await;
    assert_eq!(said.last().unwrap()["content"], content);
}

/// Discards the event at which a stream is parked, as an operator does.
async fn discarded(world: &World, user: &User, letter: &DeadLetter) -> DiscardOutcome {
    let api = ApiDatabase::connect(world.database.databases.api.clone().with_connections(1)).await.unwrap();
    let actor = Actor { kind: ActorKind::System, id: Uuid::nil() };
    let caller = TenantContext::authenticated(TenantId(user.tenant), actor);
    let context = CommandContext::new(caller, Uuid::now_v7(), chrono::DateTime::UNIX_EPOCH);
    let new = Discard { context, stream: letter.stream, seq: letter.seq, reason: "nobody needs it".into() };
    discard(&api, Arc::new(|_: &_| {}), new).await.unwrap()
}

/// The rows that are not as the log says, parked and discarded events left out.
async fn drift(world: &World) -> Vec<Difference> {
    differences_of(&replay(world, LITTLE).await).await
}

/// The settings of a node that only serves the API.
fn idle_api(world: &World) -> NodeSettings {
    world.node_settings(&WorldSettings { relay: false, projector: false, ..WorldSettings::default() }, false)
}
