//! Who has an answer has it on disk.

use tests::{World, WorldSettings};

/// The end of what was written into the write-ahead log, and of what of it is on disk.
async fn ends(world: &World) -> (i64, i64) {
    let sql = "select (pg_current_wal_insert_lsn() - '0/0')::bigint, (pg_current_wal_flush_lsn() - '0/0')::bigint";
    sqlx::query_as(sql).fetch_one(&world.database.admin).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_answered_when_what_it_wrote_was_flushed() {
    let world = World::with(WorldSettings { relay: false, projector: false, ..WorldSettings::default() }).await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    // A commit that does not wait is flushed within three fifths of a second anyway: one of many shows it.
    for n in 0..40 {
        let (before, _) = ends(&world).await;
        assert_eq!(user.say(session, &format!("{n}")).await.status, 201);
        let (_, flushed) = ends(&world).await;
        assert!(flushed > before, "{n}: written from {before} on, flushed up to {flushed}");
    }
}
