//! On a database that is new and was never analysed, an append looks its stream up and does not read a tenant's log.

use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions as _, Executor as _};
use tests::{TestDatabase, World, WorldSettings, eventually};
use uuid::Uuid;

const TENANT: Uuid = Uuid::from_u128(0xa);

/// A connection with the settings of the log's writers.
async fn writer(database: &TestDatabase) -> PgConnection {
    let settings = [("plan_cache_mode", "force_generic_plan"), ("enable_seqscan", "off"), ("jit", "off")];
    database.login_options("convolog_api").await.options(settings).connect().await.unwrap()
}

async fn append_one(connection: &mut PgConnection, stream: u128) {
    let status: String = sqlx::query_scalar(
        "select status from append_one($1, $2, null, null, 'null', null, '{}', 'session', $3, gen_random_uuid(),
                                       'session.message_posted', 1::smallint, '{}', '{}', now())",
    )
    .bind(TENANT)
    .bind(TENANT)
    .bind(Uuid::from_u128(stream))
    .fetch_one(connection)
    .await
    .unwrap();
    assert_eq!(status, "stored");
}

/// One command with `events` events of as many streams, counted from `first`.
async fn append_batch(connection: &mut PgConnection, first: i64, events: i64) {
    let status: String = sqlx::query_scalar(
        "select status from append_batch(array[$1], array[1], array[$1], array[$1], array[null::text], array[null::bytea],
           array['null'], (select array_agg(0) from generate_series(1, $3)),
           (select array_agg($1) from generate_series(1, $3)),
           (select array_agg(lpad(to_hex(n), 32, '0')::uuid order by n) from generate_series($2, $2 + $3 - 1) n),
           (select array_agg(null::bigint) from generate_series(1, $3)), array[]::int[], array[]::text[],
           (select array_agg(1) from generate_series(1, $3)), (select array_agg('session'::text) from generate_series(1, $3)),
           (select array_agg(lpad(to_hex(n), 32, '0')::uuid order by n) from generate_series($2, $2 + $3 - 1) n),
           (select array_agg(gen_random_uuid()) from generate_series(1, $3)),
           (select array_agg('session.message_posted'::text) from generate_series(1, $3)),
           (select array_agg(1::smallint) from generate_series(1, $3)),
           (select array_agg('{}'::text) from generate_series(1, $3)), (select array_agg('{}'::text) from generate_series(1, $3)),
           (select array_agg(now()) from generate_series(1, $3)))",
    )
    .bind(TENANT)
    .bind(first)
    .bind(events)
    .fetch_one(connection)
    .await
    .unwrap();
    assert_eq!(status, "stored");
}

/// What this connection has read of `events`: scans of its index of streams, rows they answered, other scans.
async fn reads(connection: &mut PgConnection) -> (i64, i64, i64) {
    sqlx::query_as(
        "select pg_stat_get_xact_numscans('events_stream_version_key'::regclass),
                pg_stat_get_xact_tuples_returned('events_stream_version_key'::regclass),
                pg_stat_get_xact_numscans('events_pkey'::regclass) + pg_stat_get_xact_numscans('events'::regclass)",
    )
    .fetch_one(connection)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_reads_one_entry_of_its_stream_with_plans_made_on_an_empty_log() {
    let database = tests::database().await;
    // It stays as it is while nobody has come by to analyse it.
    database.admin.execute("alter table events set (autovacuum_enabled = false)").await.unwrap();
    let mut connection = writer(&database).await;
    sqlx::query("select open_tenant($1)").bind(TENANT).execute(&mut connection).await.unwrap();
    // The plans of both forms are made now and kept.
    append_one(&mut connection, 1).await;
    append_batch(&mut connection, 2, 1).await;
    for page in 0..4 {
        append_batch(&mut connection, 10 + page * 1000, 1000).await;
    }
    let analysed: bool = sqlx::query_scalar("select reltuples >= 0 from pg_class where oid = 'events'::regclass")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert!(!analysed, "the plans would not be those of a new database");

    connection.execute("begin").await.unwrap();
    let before = reads(&mut connection).await;
    append_one(&mut connection, 1).await;
    let one = reads(&mut connection).await;
    append_batch(&mut connection, 10, 20).await;
    let twenty = reads(&mut connection).await;
    connection.execute("rollback").await.unwrap();
    assert_eq!((one.0 - before.0, one.1 - before.1, one.2 - before.2), (1, 1, 0), "append_one");
    assert_eq!((twenty.0 - one.0, twenty.1 - one.1, twenty.2 - one.2), (20, 20, 0), "append_batch");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_writers_of_a_new_node_never_scan_a_tenants_log() {
    let world = World::with(WorldSettings { relay: false, projector: false, ..WorldSettings::default() }).await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    // Statistics arrive with a later statement of the same connection, so it says more until they are there.
    eventually("the writers have looked streams up", async || {
        assert_eq!(user.say(session, "on and on").await.status, 201);
        let sql = "select idx_scan from pg_stat_user_indexes where indexrelname = 'events_stream_version_key'";
        sqlx::query_scalar::<_, i64>(sql).fetch_one(&world.database.admin).await.unwrap() > 20
    })
    .await;
    let others: i64 = sqlx::query_scalar(
        "select t.seq_scan + i.idx_scan from pg_stat_user_tables t join pg_stat_user_indexes i using (relid)
         where i.indexrelname = 'events_pkey'",
    )
    .fetch_one(&world.database.admin)
    .await
    .unwrap();
    assert_eq!(others, 0);
}
