//! Several replays at once, and a replay that is interrupted at any step and taken up again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use projector::replay::{Counters, Difference};
use sqlx::AssertSqlSafe;
use tests::World;
use tokio_util::sync::CancellationToken;

use super::{LITTLE, execute, rebuild_all, replay, rows, staged, tables, tenants_with_a_past};

#[tokio::test(flavor = "multi_thread")]
async fn several_replays_of_the_same_tenants_do_no_harm() {
    let world = World::start().await;
    let users = tenants_with_a_past(&world, &[5, 30, 100]).await;
    let right = rows(&world).await;
    let replay = replay(&world, LITTLE).await;
    for round in 0..3 {
        for user in &users {
            execute(&world, "delete from messages where tenant_id = $1 and role = 'user'", user.tenant).await;
        }
        let mut tasks = Vec::new();
        for restart in [true, false, round == 1] {
            let replay = replay.clone();
            tasks.push(store::spawn("replay", async move {
                let counters = Arc::new(Counters::default());
                replay.all(2, restart, &counters, &CancellationToken::new()).await.unwrap();
                assert_eq!(counters.failed.load(Ordering::Relaxed), 0, "{:?}", counters.take_failures());
            }));
        }
        let long = replay.tenant(domain::TenantId(users[2].tenant)).await.unwrap().unwrap();
        replay.one(long, &Counters::default(), &CancellationToken::new()).await.unwrap();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(rows(&world).await, right);
    }
    // Whoever was last may have left marks that another had removed before.
    replay.all(2, true, &Arc::new(Counters::default()), &CancellationToken::new()).await.unwrap();
    assert_eq!(staged(&world).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_ended_again_and_again_goes_on_where_it_was() {
    let world = World::start().await;
    let users = tenants_with_a_past(&world, &[3, 3, 3, 3, 3, 3, 3, 120]).await;
    let right = rows(&world).await;
    for user in &users {
        execute(&world, "delete from messages where tenant_id = $1", user.tenant).await;
    }
    let replay = replay(&world, LITTLE).await;
    let (mut rounds, mut done) = (0_u64, 0);
    loop {
        let stop = CancellationToken::new();
        let ending = {
            let stop = stop.clone();
            store::spawn("ending", async move {
                tokio::time::sleep(Duration::from_millis(5 + rounds * 7 % 40)).await;
                stop.cancel();
            })
        };
        replay.all(1, false, &Arc::new(Counters::default()), &stop).await.unwrap();
        ending.await.unwrap();
        rounds += 1;
        assert!(rounds < 500);
        // At its end it removes all marks.
        if done > 0 && staged(&world).await == 0 {
            break;
        }
        // It never begins anew: who was done stays so.
        let now = marks(&world).await;
        assert!(now >= done, "{now} are done, and {done} were before that");
        done = now;
    }
    assert!(rounds > 1);
    assert_eq!(rows(&world).await, right);
    assert_eq!(staged(&world).await, 0);
}

/// How many tenants an interrupted replay has done.
async fn marks(world: &World) -> i64 {
    let sql = "select count(*) from staging.progress where state = 'done'";
    sqlx::query_scalar(sql).fetch_one(&world.database.admin).await.unwrap()
}

/// Every few milliseconds ends all connections of the projector's role; a few times what is staged goes too, as in a
/// crash of PostgreSQL.
async fn sabotage(admin: sqlx::PgPool, stop: CancellationToken) -> u32 {
    let staged = tables().map(|table| format!("staging.{}", table.name)).collect::<Vec<_>>().join(", ");
    let mut ended = 0;
    while !stop.is_cancelled() && ended < 40 {
        tokio::time::sleep(Duration::from_millis(40)).await;
        if ended % 10 == 5 {
            let sql = AssertSqlSafe(format!(
                "set lock_timeout = '1s'; truncate staging.progress, {staged}; reset lock_timeout"
            ));
            // Where it waits for a lock too long, it comes later.
            let _taken = sqlx::raw_sql(sql).execute(&admin).await;
        }
        let sql = "select pg_terminate_backend(pid) from pg_stat_activity
                   where usename = 'convolog_projector' and datname = current_database()";
        sqlx::raw_sql(sql).execute(&admin).await.unwrap();
        ended += 1;
    }
    ended
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_and_a_comparison_go_on_when_connections_end_and_staged_rows_are_gone() {
    let world = World::start().await;
    let users = tenants_with_a_past(&world, &[3, 3, 3, 120]).await;
    let right = rows(&world).await;
    let replay = replay(&world, LITTLE).await;
    for user in &users {
        execute(&world, "delete from messages where tenant_id = $1", user.tenant).await;
    }
    let stop = CancellationToken::new();
    let saboteur = store::spawn("saboteur", sabotage(world.database.admin.clone(), stop.clone()));
    let states = replay.tenants_after(uuid::Uuid::nil(), 1000).await.unwrap();
    let mut missing = std::collections::BTreeSet::new();
    let mut sink = |difference: Difference| {
        assert_eq!((difference.table, &difference.there), ("messages", &None), "{difference:?}");
        assert!(missing.insert(difference.key.clone()), "told twice: {difference:?}");
    };
    let verified = replay.verify(&states, &mut sink, &CancellationToken::new()).await.unwrap();
    assert!(verified.failures.is_empty(), "{:?}", verified.failures);
    assert_eq!(missing.len(), right.iter().filter(|row| row.starts_with("messages ")).count());
    let counters = rebuild_all(&replay).await;
    assert_eq!(counters.failed.load(Ordering::Relaxed), 0, "{:?}", counters.take_failures());
    stop.cancel();
    assert!(saboteur.await.unwrap() > 5);
    assert_eq!(rows(&world).await, right);
}
