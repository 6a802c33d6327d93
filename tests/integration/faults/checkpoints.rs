//! Rows and checkpoint move in one transaction: a projector that loses its connections at any moment loses and doubles
//! nothing.

use std::time::Duration;

use tests::{World, eventually};

use super::load::{Load, assert_all_are_read};
use super::oracle::assert_rows_are_those_of_the_log;

#[tokio::test(flavor = "multi_thread")]
async fn a_projector_whose_connections_are_killed_all_the_time_loses_and_doubles_nothing() {
    let world = World::start().await;
    let users = [world.tenant().await, world.tenant().await, world.tenant().await];
    let load = Load::start(&users, 2).await;
    let (mut killed, mut round) = (0, 0_u64);
    while killed < 8 {
        // Every second time only while it works.
        let busy = if round.is_multiple_of(2) { "true" } else { "state <> 'idle'" };
        let sql = format!(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity
             where application_name = 'convolog-projector' and datname = current_database() and ({busy})"
        );
        let sql = sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(sql));
        killed += sql.fetch_one(&world.database.admin).await.unwrap();
        // Not to wait for anything, but to hit another moment each time.
        tokio::time::sleep(Duration::from_millis(7 + round * 13 % 37)).await;
        round += 1;
        assert!(round < 1000, "only {killed} connections were there to be killed");
    }
    let acks = load.stop().await;
    assert_rows_are_those_of_the_log(&world).await;
    assert_all_are_read(&world, &acks).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_fails_after_the_checkpoint_moved_leaves_it_where_it_was() {
    let world = World::start().await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    let seq = user.say(session, "before").await.seq();
    user.messages(session, seq).await;
    // From now on every message's row is refused for a reason that passes.
    let admin = &world.database.admin;
    for sql in [
        // Counts also what is rolled back.
        "create sequence refused",
        "grant usage on sequence refused to convolog_projector",
        "create function refuse() returns trigger language plpgsql as
         $$ begin perform nextval('refused'); raise exception 'the disk is full' using errcode = '53100'; end $$",
        "create trigger refuse before insert on messages for each row execute function refuse()",
    ] {
        sqlx::query(sql).execute(admin).await.unwrap();
    }
    let refused = user.say(session, "after").await.seq();
    eventually("it is tried again and again", async || {
        sqlx::query_scalar::<_, i64>("select last_value from refused").fetch_one(admin).await.unwrap() >= 4
    })
    .await;
    let reply = user.get(&format!("/v1/sessions/{session}")).await;
    assert_eq!(reply.header("convolog-seq"), seq.to_string());
    assert_eq!(reply.body["message_count"], 1);
    sqlx::query("drop trigger refuse on messages").execute(admin).await.unwrap();
    assert_eq!(user.messages(session, refused).await.len(), 2);
    assert_rows_are_those_of_the_log(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_fell_back_in_a_crash_of_postgresql_are_projected_again() {
    // Projecting does not wait for the disk: after a crash rows and checkpoint are older than the projector remembers.
    let world = World::start().await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    for round in 0..3 {
        for content in ["one", "two", "three"] {
            user.say(session, content).await;
        }
        assert_rows_are_those_of_the_log(&world).await;
        let sql = format!(
            "begin;
             update projection_checkpoints set seq = seq - 2 where tenant_id = '{0}';
             delete from messages where tenant_id = '{0}' and version > (select max(version) - 2 from messages where tenant_id = '{0}');
             update sessions set message_count = message_count - 2,
               last_message_at = (select max(posted_at) from messages where tenant_id = '{0}') where tenant_id = '{0}';
             commit",
            user.tenant
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&world.database.admin).await.unwrap();
        let seq = user.say(session, "after the crash").await.seq();
        assert_eq!(user.messages(session, seq).await.len(), 4 * (round + 1));
        assert_rows_are_those_of_the_log(&world).await;
    }
}
