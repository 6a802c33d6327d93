//! Rebuilding, comparing and looking back: the rows are those of the log, and nobody notices that it is done.

mod differences;
mod past;
mod quiet;
mod readers;
mod same_rows;
mod together;
mod twins;
mod upgrade;

use std::sync::Arc;

use projector::replay::{Counters, Difference, Replay, Sizes};
use projector::{PROJECTIONS, Table};
use sqlx::AssertSqlSafe;
use store::ProjectorDatabase;
use tests::{User, World};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::faults::oracle::assert_rows_are_those_of_the_log;
use crate::faults::rebuild::history;

/// So little in one transaction that the log of a test is long, and its swap takes several.
pub(crate) const LITTLE: Sizes = Sizes { page: 20, tenants: 3, slice: 7, swap: 25 };

/// All read tables.
fn tables() -> impl Iterator<Item = Table> {
    PROJECTIONS.iter().flat_map(|projection| projection.tables()).copied()
}

/// With connections of its own.
pub(crate) async fn replay(world: &World, sizes: Sizes) -> Replay {
    let settings = world.database.databases.projector.clone().with_connections(4);
    Replay::new(ProjectorDatabase::connect(settings).await.unwrap(), sizes).await.unwrap()
}

/// Rebuilds all tenants.
pub(crate) async fn rebuild_all(replay: &Replay) -> Arc<Counters> {
    let counters = Arc::new(Counters::default());
    replay.all(2, true, &counters, &CancellationToken::new()).await.unwrap();
    counters
}

/// All rows of all tenants that are not as the log says.
pub(crate) async fn differences_of(replay: &Replay) -> Vec<Difference> {
    let states = replay.tenants_after(Uuid::nil(), 1000).await.unwrap();
    let mut found = Vec::new();
    let mut sink = |difference| found.push(difference);
    replay.verify(&states, &mut sink, &CancellationToken::new()).await.unwrap();
    found
}

/// Tenants with a generated history, short or long.
async fn tenants_with_a_past(world: &World, commands: &[usize]) -> Vec<User> {
    let mut users = Vec::new();
    let mut clients = Vec::new();
    for (n, commands) in commands.iter().enumerate() {
        let user = world.tenant().await;
        clients.push(store::spawn("client", history(user.clone(), n as u64, *commands)));
        users.push(user);
    }
    for client in clients {
        client.await.unwrap();
    }
    assert_rows_are_those_of_the_log(world).await;
    users
}

/// All rows of all read tables, as text.
pub(crate) async fn rows(world: &World) -> Vec<String> {
    let all = tables().map(|Table { name, .. }| format!("select '{name} ' || t::text as r from {name} t"));
    let sql = format!("select r from ({}) a order by r", all.collect::<Vec<_>>().join(" union all "));
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&world.database.admin).await.unwrap()
}

/// How many rows the schema `staging` holds, progress included.
async fn staged(world: &World) -> i64 {
    let all = tables().map(|Table { name, .. }| format!("select count(*) as n from staging.{name}"));
    let sql = format!(
        "select sum(n)::bigint from ({} union all select count(*) from staging.progress) a",
        all.collect::<Vec<_>>().join(" union all ")
    );
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&world.database.admin).await.unwrap()
}

async fn execute(world: &World, sql: &str, tenant: Uuid) -> u64 {
    let sql = sqlx::query(AssertSqlSafe(sql)).bind(tenant);
    sql.execute(&world.database.admin).await.unwrap().rows_affected()
}
