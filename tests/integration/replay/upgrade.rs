//! A new version of the read tables fills them by itself, a long log in many short transactions; another version's are left.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use convolog::node::Node;
use projector::replay::Counters;
use projector::{READ_MODEL, read_model_version};
use tests::{World, WorldSettings, eventually};
use tokio_util::sync::CancellationToken;

use super::{LITTLE, execute, rebuild_all, replay, rows, staged, tables, tenants_with_a_past};
use crate::faults::group_version::quick_node;
use crate::faults::oracle::assert_rows_are_those_of_the_log;

/// A world whose projector does little in one transaction.
async fn world_in_small_steps() -> World {
    let mut world = World::with(WorldSettings { apis: 0, ..WorldSettings::default() }).await;
    let mut node = quick_node(&world);
    node.projector.as_mut().unwrap().sizes = LITTLE;
    world.nodes.push(Node::start(node).await.unwrap());
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_an_older_version_fill_themselves_in_short_transactions() {
    let world = world_in_small_steps().await;
    let users = tenants_with_a_past(&world, &[5, 120]).await;
    let right = rows(&world).await;
    // What the previous version has left: no ledger, and sessions in another form.
    for sql in [
        "delete from cost_events where tenant_id = $1",
        "delete from cost_summaries where tenant_id = $1",
        "update sessions set mode = 'meeting', message_count = 0 where tenant_id = $1",
        "insert into messages (tenant_id, id, session_id, version, role, content, attachments, posted_at)
         values ($1, gen_random_uuid(), gen_random_uuid(), 1, 'user', 'never said', '[]', now())",
    ] {
        for user in &users {
            execute(&world, sql, user.tenant).await;
        }
    }
    // No statement of the rebuild may touch more rows than a slice has.
    let sql = "create table largest (rows bigint not null); insert into largest values (0);
         grant select, update on largest to convolog_projector;
         create function note() returns trigger language plpgsql as $$
         begin update public.largest set rows = greatest(rows, (select count(*) from touched)); return null; end $$;
         create trigger note after insert on cost_events referencing new table as touched
         for each statement execute function note();
         update projection_checkpoints set version = 1";
    sqlx::raw_sql(sql).execute(&world.database.admin).await.unwrap();
    eventually("all rows are of this version", async || {
        let old: i64 = sqlx::query_scalar("select count(*) from projection_checkpoints where version <> $1")
            .bind(read_model_version())
            .fetch_one(&world.database.admin)
            .await
            .unwrap();
        old == 0
    })
    .await;
    assert_eq!(rows(&world).await, right);
    let largest: i64 = sqlx::query_scalar("select rows from largest").fetch_one(&world.database.admin).await.unwrap();
    assert!((1..=10).contains(&largest), "{largest} rows in one statement");
    // And live projecting goes on from there.
    for user in &users {
        user.say(user.start_session().await, "after").await;
    }
    assert_rows_are_those_of_the_log(&world).await;
    eventually("nothing is left in staging", async || staged(&world).await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_whose_rows_are_half_of_this_version_is_rebuilt_whole_although_staging_was_lost() {
    let mut world = world_in_small_steps().await;
    let user = tenants_with_a_past(&world, &[120]).await.remove(0);
    let right = rows(&world).await;
    world.stop_nodes().await;
    execute(&world, "update sessions set mode = 'meeting', message_count = 0 where tenant_id = $1", user.tenant).await;
    // As a crash of PostgreSQL in the middle of the swap leaves it.
    execute(&world, "update projection_checkpoints set version = 0 where tenant_id = $1", user.tenant).await;
    let counters = rebuild_all(&replay(&world, LITTLE).await).await;
    assert_eq!(counters.other_version.load(Ordering::Relaxed), 1);
    let mut node = quick_node(&world);
    (node.api, node.projector.as_mut().unwrap().sizes) = (None, LITTLE);
    world.nodes.push(Node::start(node).await.unwrap());
    eventually("the rows are right", async || rows(&world).await == right).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_leaves_the_rows_of_another_version_alone() {
    let mut world = World::start().await;
    let users = tenants_with_a_past(&world, &[5, 60, 60]).await;
    world.stop_nodes().await;
    let wrong = "update sessions set message_count = 77 where tenant_id = $1";
    for user in &users {
        execute(&world, wrong, user.tenant).await;
    }
    let version = "update projection_checkpoints set version = version + 1 where tenant_id = $1";
    execute(&world, version, users[0].tenant).await;
    execute(&world, version, users[1].tenant).await;
    let replay = replay(&world, LITTLE).await;
    let counters = rebuild_all(&replay).await;
    let (done, other) = (counters.tenants.load(Ordering::Relaxed), counters.other_version.load(Ordering::Relaxed));
    assert_eq!((done, other), (1, 2));
    // Also when it is named.
    let state = replay.tenant(domain::TenantId(users[1].tenant)).await.unwrap().unwrap();
    let counters = Arc::new(Counters::default());
    replay.one(state, &counters, &CancellationToken::new()).await.unwrap();
    assert_eq!(counters.other_version.load(Ordering::Relaxed), 1);
    let spoilt: Vec<uuid::Uuid> =
        sqlx::query_scalar("select distinct tenant_id from sessions where message_count = 77 order by 1")
            .fetch_all(&world.database.admin)
            .await
            .unwrap();
    let mut expected = vec![users[0].tenant, users[1].tenant];
    expected.sort();
    assert_eq!(spoilt, expected);
    let versions: i64 =
        sqlx::query_scalar("select count(*) from projection_checkpoints where group_name = $1 and version = $2")
            .bind(READ_MODEL)
            .bind(read_model_version() + 1)
            .fetch_one(&world.database.admin)
            .await
            .unwrap();
    assert_eq!(versions, 2);
    assert_eq!(staged(&world).await, 0);
}

/// Makes a rebuild for a new version that has come to the last table of its swap.
async fn almost_swapped(world: &World, tenant: uuid::Uuid) {
    let run = uuid::Uuid::from_u128(2);
    for table in tables() {
        let name = table.name;
        let sql = "select string_agg(quote_ident(attname), ', ') from pg_attribute
                   where attrelid = $1::text::regclass and attnum > 0 and not attisdropped and attgenerated = ''";
        let columns: String = sqlx::query_scalar(sql).bind(name).fetch_one(&world.database.admin).await.unwrap();
        let sql = format!(
            "insert into staging.{name} ({columns}, run_id) select {columns}, '{run}' from {name} where tenant_id = $1"
        );
        execute(world, &sql, tenant).await;
    }
    let last = tables().last().unwrap().name;
    let sql = format!(
        "insert into staging.progress (tenant_id, run_id, purpose, version, state, seq, swapped_table)
         select tenant_id, '{run}', 'upgrade', version, 'swapping', seq, '{last}' from projection_checkpoints
         where tenant_id = $1"
    );
    assert_eq!(execute(world, &sql, tenant).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_begins_again_when_all_rows_were_written_anew_by_an_older_version_meanwhile() {
    let mut world = world_in_small_steps().await;
    let user = tenants_with_a_past(&world, &[120]).await.remove(0);
    let right = rows(&world).await;
    world.stop_nodes().await;
    almost_swapped(&world, user.tenant).await;
    execute(&world, "update sessions set mode = 'meeting', message_count = 0 where tenant_id = $1", user.tenant).await;
    execute(&world, "update projection_checkpoints set version = 1 where tenant_id = $1", user.tenant).await;
    let mut settings = quick_node(&world);
    settings.projector.as_mut().unwrap().sizes = LITTLE;
    world.nodes.push(Node::start(settings).await.unwrap());
    eventually("the rows are of this version", async || {
        let sql = "select version = $1 from projection_checkpoints where tenant_id = $2";
        let done = sqlx::query_scalar(sql).bind(read_model_version()).bind(user.tenant);
        done.fetch_one(&world.database.admin).await.unwrap()
    })
    .await;
    assert_eq!(rows(&world).await, right);
}
