//! Rebuilding, looking back and a new version of the read tables agree with live projecting about what is left out.

use std::sync::atomic::{AtomicBool, Ordering};

use convolog::node::Node;
use domain::TenantId;
use projector::dead_letters::{Unparked, retry};
use projector::read_model_version;
use projector::replay::{AsOf, Counters};
use store::DiscardOutcome;
use tests::{User, World, WorldSettings, eventually};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{POISON, discarded, drift, execute, idle_api, letters, mend, parked, projector, refuse_poison, retried};
use crate::faults::group_version::{quick_node, quick_world};
use crate::faults::oracle::assert_rows_are_those_of_the_log;
use crate::replay::{LITTLE, rebuild_all, replay};

/// A session that is parked at its second event, and a log that goes on for long; the number of its last event.
async fn parked_long_ago(world: &World, user: &User) -> (Uuid, u64) {
    let session = user.start_session().await;
    refuse_poison(world).await;
    user.say(session, POISON).await;
    user.say(session, "behind").await;
    let other = user.start_session().await;
    let mut last = 0;
    for n in 0..90 {
        last = user.say(if n % 10 == 0 { session } else { other }, "more").await.seq();
    }
    world.drain().await;
    (session, last)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_was_interrupted_before_a_stream_went_on_begins_anew() {
    let world = quick_world().await;
    let user = world.tenant().await;
    let (session, last) = parked_long_ago(&world, &user).await;
    let replay = replay(&world, LITTLE).await;
    let state = replay.tenant(TenantId(user.tenant)).await.unwrap().unwrap();
    // It cannot replace rows, and waits with all but the last of its pages built.
    let mut lock = world.database.admin.begin().await.unwrap();
    sqlx::query("select from projection_checkpoints where tenant_id = $1 for update")
        .bind(user.tenant)
        .execute(&mut *lock)
        .await
        .unwrap();
    let interrupted = {
        let replay = replay.clone();
        store::spawn("replay", async move { replay.one(state, &Counters::default(), &CancellationToken::new()).await })
    };
    eventually("most of the rows are built", async || {
        let built: Option<i64> =
            sqlx::query_scalar("select max(seq) from staging.progress").fetch_one(&world.database.admin).await.unwrap();
        built.unwrap_or(0).cast_unsigned() + LITTLE.page >= last
    })
    .await;
    interrupted.abort();
    lock.rollback().await.unwrap();
    mend(&world).await;
    assert_eq!(retried(&world, &user, session).await, Unparked::Done(11));
    let counters = Counters::default();
    replay.one(state, &counters, &CancellationToken::new()).await.unwrap();
    assert_eq!(counters.tenants.load(Ordering::Relaxed), 1);
    assert_rows_are_those_of_the_log(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn comparing_begins_anew_when_a_stream_goes_on_meanwhile() {
    let world = quick_world().await;
    let user = world.tenant().await;
    let (session, _) = parked_long_ago(&world, &user).await;
    user.say(user.start_session().await, "stop here").await;
    world.drain().await;
    // Building rows waits at the last event, with all others done, until it is let go.
    execute(
        &world,
        "create function stop_here() returns trigger language plpgsql as
         $$ begin perform pg_advisory_xact_lock_shared(42); return new; end $$;
         create trigger stop_here before insert on staging.messages for each row when (new.content = 'stop here')
         execute function stop_here()",
    )
    .await;
    let mut lock = world.database.admin.begin().await.unwrap();
    sqlx::query("select pg_advisory_xact_lock(42)").execute(&mut *lock).await.unwrap();
    let replay = replay(&world, LITTLE).await;
    let state = replay.tenant(TenantId(user.tenant)).await.unwrap().unwrap();
    let comparing = store::spawn("verify", async move {
        let (mut differences, stop) = (Vec::new(), CancellationToken::new());
        let mut sink = |difference| differences.push(difference);
        replay.verify(&[state], &mut sink, &stop).await.unwrap();
        differences
    });
    eventually("it waits", async || {
        let waiting = "select exists (select from pg_locks where locktype = 'advisory' and not granted and database =
                                      (select oid from pg_database where datname = current_database()))";
        sqlx::query_scalar(waiting).fetch_one(&world.database.admin).await.unwrap()
    })
    .await;
    mend(&world).await;
    assert_eq!(retried(&world, &user, session).await, Unparked::Done(11));
    lock.rollback().await.unwrap();
    assert_eq!(comparing.await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_back_begins_anew_when_a_stream_goes_on_meanwhile() {
    let world = quick_world().await;
    let user = world.tenant().await;
    let (session, last) = parked_long_ago(&world, &user).await;
    mend(&world).await;
    let (projector, tenant) = (projector(&world).await, TenantId(user.tenant));
    let (begun, runtime) = (AtomicBool::new(false), tokio::runtime::Handle::current());
    let reached = |_| {
        if !begun.swap(true, Ordering::Relaxed) {
            let gone_on = || runtime.block_on(retry(&projector, tenant, session)).unwrap();
            assert_eq!(tokio::task::block_in_place(gone_on), Unparked::Done(11));
        }
    };
    let replay = replay(&world, LITTLE).await;
    let built = replay.as_of(tenant, last, &reached, &CancellationToken::new()).await.unwrap().unwrap();
    assert_eq!(messages(&built), 92);
}

fn messages(built: &AsOf) -> u64 {
    built.rows.iter().find(|(table, _)| *table == "messages").unwrap().1
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_back_before_a_discard_shows_the_stream_parked_and_after_it_without_the_event() {
    let world = quick_world().await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    refuse_poison(&world).await;
    user.say(session, "before").await;
    let poison = user.say(session, POISON).await.seq();
    let behind = user.say(session, "behind").await.seq();
    let letter = parked(&world, &user, 1).await.remove(0);
    let DiscardOutcome::Done { seq: discard } = discarded(&world, &user, &letter).await else {
        panic!("not discarded")
    };
    eventually("the stream goes on", async || letters(&world, &user).await.is_empty()).await;
    let replay = replay(&world, LITTLE).await;
    for (seq, expected) in [(poison - 1, 1), (poison, 1), (behind, 1), (discard, 2)] {
        let stop = CancellationToken::new();
        let built = replay.as_of(TenantId(user.tenant), seq, &|_| {}, &stop).await.unwrap().unwrap();
        assert_eq!(messages(&built), expected, "as of {seq}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_tries_what_was_parked_again_and_parks_what_still_fails() {
    let mut world = World::with(WorldSettings { apis: 0, ..WorldSettings::default() }).await;
    world.nodes.push(Node::start(idle_api(&world)).await.unwrap());
    let (mut mended, mut broken, mut users) = (Vec::new(), Vec::new(), Vec::new());
    for more in [1, 60] {
        let user = world.tenant().await;
        let (a, b, c) = (user.start_session().await, user.start_session().await, user.start_session().await);
        user.say(a, POISON).await;
        let seq = user.say(b, "broken").await.seq();
        sqlx::query("update events set data = '{\"role\": 7}' where tenant_id = $1 and seq = $2")
            .bind(user.tenant)
            .bind(seq.cast_signed())
            .execute(&world.database.admin)
            .await
            .unwrap();
        for _ in 0..more {
            for session in [a, b, c] {
                user.insist(|| {
                    let body = serde_json::json!({"role": "user", "content": "more"});
                    user.request(reqwest::Method::POST, &format!("/v1/sessions/{session}/messages")).json(&body)
                })
                .await;
            }
        }
        mended.push((a, 1 + more));
        broken.push((b, seq));
        users.push(user);
    }
    refuse_poison(&world).await;
    let mut workers = quick_node(&world);
    (workers.api, workers.projector.as_mut().unwrap().sizes) = (None, LITTLE);
    world.nodes.push(Node::start(workers).await.unwrap());
    for user in &users {
        parked(&world, user, 2).await;
    }
    world.drain().await;
    mend(&world).await;
    execute(&world, "update projection_checkpoints set version = 1").await;
    eventually("all rows are of this version", async || {
        let sql = "select bool_and(version = $1 and parked = 1) from projection_checkpoints";
        sqlx::query_scalar(sql).bind(read_model_version()).fetch_one(&world.database.admin).await.unwrap()
    })
    .await;
    for (user, (stream, seq)) in users.iter().zip(&broken) {
        let letter = parked(&world, user, 1).await.remove(0);
        assert_eq!((letter.stream, letter.seq, letter.attempts), (*stream, *seq, 1));
    }
    for (session, expected) in mended {
        let rows: i64 = sqlx::query_scalar("select count(*) from messages where session_id = $1")
            .bind(session)
            .fetch_one(&world.database.admin)
            .await
            .unwrap();
        assert_eq!(rows, expected);
    }
    assert_eq!(drift(&world).await, []);
    // Live projecting leaves the same out.
    for (user, (stream, _)) in users.iter().zip(&broken) {
        let seq = user.say(user.start_session().await, "after").await.seq();
        assert_eq!(user.get(&format!("/v1/sessions/{stream}?min_seq={seq}")).await.header("convolog-parked"), "1");
    }
    let counters = rebuild_all(&replay(&world, LITTLE).await).await;
    assert_eq!(counters.failed.load(Ordering::Relaxed), 0);
    assert_eq!(drift(&world).await, []);
}
