//! The rows as of a number of the log are those of a log that ends there.

use chrono::{DateTime, Utc};
use projector::replay::{AsOf, Point};
use sqlx::AssertSqlSafe;
use tests::World;
use tokio_util::sync::CancellationToken;

use super::{LITTLE, replay, staged, tables, tenants_with_a_past};
use crate::faults::rebuild::Chance;

/// All rows of a run, as text.
async fn rows_of(world: &World, run: uuid::Uuid) -> Vec<String> {
    let mut all = Vec::new();
    for table in tables() {
        let columns: String = sqlx::query_scalar(
            "select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute
             where attrelid = $1::text::regclass and attnum > 0 and not attisdropped",
        )
        .bind(table.name)
        .fetch_one(&world.database.admin)
        .await
        .unwrap();
        let sql = format!("select '{0} ' || row({columns})::text from staging.{0} where run_id = $1", table.name);
        let rows = sqlx::query_scalar(AssertSqlSafe(sql)).bind(run);
        all.extend(rows.fetch_all(&world.database.admin).await.unwrap());
    }
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_as_of_a_number_are_those_of_a_log_that_ends_there() {
    let mut world = World::start().await;
    let user = tenants_with_a_past(&world, &[90]).await.remove(0);
    let replay = replay(&world, LITTLE).await;
    let state = replay.tenant(domain::TenantId(user.tenant)).await.unwrap().unwrap();
    let mut chance = Chance(3);
    let mut cuts: Vec<u64> = (0..4).map(|_| chance.below(state.head)).collect();
    cuts.sort_unstable();
    assert_eq!(replay.number_of(state, Point::Seq(state.head + 1)).await.unwrap(), None);
    let (mut runs, stop) = (Vec::new(), CancellationToken::new());
    for cut in &cuts {
        assert_eq!(replay.number_of(state, Point::Seq(*cut)).await.unwrap(), Some(*cut));
        let AsOf { run, seq, rows } = replay.as_of(state.tenant, *cut, &|_| {}, &stop).await.unwrap().unwrap();
        assert_eq!(seq, *cut);
        let all = rows_of(&world, run).await;
        assert_eq!(rows.iter().map(|(_, count)| count).sum::<u64>(), all.len() as u64);
        let mut told = 0;
        let mut tell = |_: &str, row: &str| {
            assert!(serde_json::from_str::<serde_json::Value>(row).unwrap()["run_id"].is_null());
            told += 1;
            true
        };
        replay.rows_of(state.tenant, run, &mut tell).await.unwrap();
        assert_eq!(told, all.len());
        runs.push((run, all));
    }
    // The same numbers, told as times: nothing else was recorded at that microsecond, or what was counts too.
    let time: DateTime<Utc> = sqlx::query_scalar("select recorded_at from events where tenant_id = $1 and seq = 40")
        .bind(user.tenant)
        .fetch_one(&world.database.admin)
        .await
        .unwrap();
    let last: i64 = sqlx::query_scalar("select max(seq) from events where tenant_id = $1 and recorded_at <= $2")
        .bind(user.tenant)
        .bind(time)
        .fetch_one(&world.database.admin)
        .await
        .unwrap();
    assert_eq!(replay.number_of(state, Point::Time(time)).await.unwrap(), Some(last.cast_unsigned()));

    // From the longest to the shortest log, each rebuilt by the live projector alone.
    world.stop_nodes().await;
    for (cut, (run, then)) in cuts.iter().zip(&runs).rev() {
        let sql = format!(
            "delete from events where tenant_id = '{0}' and seq > {cut};
             update tenant_heads set seq = {cut} where tenant_id = '{0}';
             delete from projection_checkpoints;
             {1}",
            user.tenant,
            tables().map(|table| format!("delete from {};", table.name)).collect::<String>()
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&world.database.admin).await.unwrap();
        let mut workers = world.node_settings(&tests::WorldSettings::default(), true);
        workers.api = None;
        world.nodes.push(convolog::node::Node::start(workers).await.unwrap());
        world.drain().await;
        let mut now = Vec::new();
        for table in tables() {
            let sql = format!("select '{0} ' || t::text from {0} t", table.name);
            now.extend(
                sqlx::query_scalar::<_, String>(AssertSqlSafe(sql)).fetch_all(&world.database.admin).await.unwrap(),
            );
        }
        now.sort();
        assert_eq!(&now, then, "as of {cut}");
        world.stop_nodes().await;
        replay.discard(state.tenant, *run).await.unwrap();
    }
    assert_eq!(staged(&world).await, 0);
}
