//! Who reads during a rebuild, through the API or by SQL, never sees fewer rows or an older state, and commands go on.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use projector::replay::{Counters, Replay, Sizes};
use sqlx::{Connection as _, PgConnection};
use tests::{User, World, eventually};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{LITTLE, differences_of, replay, staged, tenants_with_a_past};
use crate::faults::oracle::assert_rows_are_those_of_the_log;

/// What a reader has seen last: it only grows.
#[derive(Debug, Default)]
struct Seen {
    seq: u64,
    sessions: usize,
    messages: i64,
    costs: i64,
    /// Messages per session.
    counts: HashMap<String, i64>,
}

/// Reads pages over HTTP until all is done.
async fn read_over_http(user: User, done: Arc<AtomicBool>, reads: Arc<AtomicU64>) {
    let mut seen = Seen::default();
    while !done.load(Ordering::Relaxed) {
        let reply = user.get("/v1/sessions?limit=200").await;
        if reply.status == 503 {
            continue;
        }
        assert_eq!(reply.status, 200, "{}", reply.body);
        let seq: u64 = reply.header("convolog-seq").parse().unwrap();
        let sessions = reply.body["data"].as_array().unwrap();
        assert!(seq >= seen.seq, "{seq} after {}", seen.seq);
        assert!(sessions.len() >= seen.sessions, "{} sessions after {}", sessions.len(), seen.sessions);
        (seen.seq, seen.sessions) = (seq, sessions.len());
        for session in sessions {
            let (id, count) = (session["id"].to_string(), session["message_count"].as_i64().unwrap());
            let before = seen.counts.insert(id, count).unwrap_or(0);
            assert!(count >= before, "{session} had {before} messages");
        }
        reads.fetch_add(1, Ordering::Relaxed);
    }
}

/// Counts rows as the API's role, in one snapshot with the checkpoint.
async fn read_by_sql(mut connection: PgConnection, tenant: Uuid, done: Arc<AtomicBool>, reads: Arc<AtomicU64>) {
    let mut seen = Seen::default();
    while !done.load(Ordering::Relaxed) {
        let mut tx = connection.begin().await.unwrap();
        let set = format!("set local app.current_tenant_id = '{tenant}'");
        sqlx::query(sqlx::AssertSqlSafe(set)).execute(&mut *tx).await.unwrap();
        let (seq, sessions, counted, messages, costs, summed): (i64, i64, i64, i64, i64, i64) = sqlx::query_as(
            "select (select seq from projection_checkpoints), (select count(*) from sessions),
                    (select coalesce(sum(message_count), 0)::bigint from sessions), (select count(*) from messages),
                    (select count(*) from cost_events), (select coalesce(sum(recorded), 0)::bigint from cost_summaries)",
        )
        .fetch_one(&mut *tx)
        .await
        .unwrap();
        tx.commit().await.unwrap();
        // Tables agree with each other, whatever is replaced in between.
        assert_eq!((counted, summed), (messages, costs));
        assert!(seq.cast_unsigned() >= seen.seq && messages >= seen.messages && costs >= seen.costs, "{seen:?}");
        assert!(usize::try_from(sessions).unwrap() >= seen.sessions);
        seen = Seen { seq: seq.cast_unsigned(), sessions: usize::try_from(sessions).unwrap(), messages, costs, ..seen };
        reads.fetch_add(1, Ordering::Relaxed);
    }
}

/// Rebuilds all tenants again and again while readers read and a writer writes.
async fn nobody_notices(sizes: Sizes) {
    let world = World::start().await;
    let users = tenants_with_a_past(&world, &[60, 60]).await;
    let (done, reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut tasks = Vec::new();
    for user in &users {
        let (flag, count) = (done.clone(), reads.clone());
        tasks.push(store::spawn("reader", read_over_http(user.clone(), flag, count)));
        let connection = world.database.login("convolog_api").await;
        tasks.push(store::spawn("reader", read_by_sql(connection, user.tenant, done.clone(), reads.clone())));
        let (user, flag) = (user.clone(), done.clone());
        tasks.push(store::spawn("writer", async move {
            let session = user.start_session().await;
            while !flag.load(Ordering::Relaxed) {
                let seq = user.say(session, "live").await.seq();
                // Read-your-writes holds too; behind replays without a pause, on a busy machine, it may take its time.
                let path = format!("/v1/sessions/{session}?min_seq={seq}");
                eventually("what was written is read", async || user.get(&path).await.status == 200).await;
            }
        }));
    }
    let replay: Replay = replay(&world, sizes).await;
    for round in 0..6 {
        // Some rounds find rows to replace, of old sessions, in a column that no reader looks at.
        if round % 2 == 1 {
            sqlx::query("update sessions set mode = 'meeting' where mode = 'text'")
                .execute(&world.database.admin)
                .await
                .unwrap();
        }
        let counters = Arc::new(Counters::default());
        replay.all(2, true, &counters, &CancellationToken::new()).await.unwrap();
        assert_eq!(counters.failed.load(Ordering::Relaxed), 0, "{:?}", counters.take_failures());
        assert_eq!(counters.tenants.load(Ordering::Relaxed), 2);
    }
    assert!(reads.load(Ordering::Relaxed) > 20);
    done.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    assert_rows_are_those_of_the_log(&world).await;
    assert_eq!(differences_of(&replay).await, vec![]);
    assert_eq!(staged(&world).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_notices_that_short_logs_are_rebuilt() {
    nobody_notices(Sizes::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_notices_that_long_logs_are_rebuilt_in_many_transactions() {
    nobody_notices(LITTLE).await;
}
