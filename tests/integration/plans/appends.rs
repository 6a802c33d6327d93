//! On a database that is new and was never analysed, an append looks its stream up and does not read a tenant's log.

use convolog::node::Node;
use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions as _, Executor as _};
use tests::{World, WorldSettings, eventually};
use uuid::Uuid;

const TENANT: Uuid = Uuid::from_u128(0xa);

/// The settings of the log's writers.
const WRITERS: &[(&str, &str)] =
    &[("plan_cache_mode", "force_generic_plan"), ("enable_seqscan", "off"), ("jit", "off")];

async fn append_one(connection: &mut PgConnection, stream: u128) {
    let status: String = sqlx::query_scalar(
        "select status from append_one(null, null, null, $1, $2, null, null, 'null', null, '{}', 'session', $3, gen_random_uuid(),
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
        "select status from append_batch(null, array[$1], array[$3::int], array[null::uuid], (select array_agg(1) from generate_series(1, $3)),
           (select array_agg(lpad(to_hex(n), 32, '0')::uuid order by n) from generate_series($2, $2 + $3 - 1) n),
           (select array_agg(null::bigint) from generate_series(1, $3)), (select array_agg(null::bigint) from generate_series(1, $3)),
           array[1], array[$1], array[null::text], array[null::bytea], array['null'], array[$3::int], array[1], array[1],
           array[]::int[], array[]::text[], array[]::int[],
           (select array_agg(1) from generate_series(1, $3)), (select array_agg(n::int order by n) from generate_series(1, $3) n),
           (select array_agg(n::int order by n) from generate_series(1, $3) n), (select array_agg(1) from generate_series(1, $3)),
           (select array_agg('session'::text) from generate_series(1, $3)),
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

/// What one event costs and what a batch of 20 costs, in a tenant with thousands of events, with plans that were made
/// when there was none: as [`reads`].
async fn costs(settings: &[(&str, &str)], prepare: &str) -> [(i64, i64, i64); 2] {
    let database = tests::database().await;
    // It stays as it is: nobody comes by to analyse it.
    database.admin.execute("alter table events set (autovacuum_enabled = false)").await.unwrap();
    database.admin.execute(sqlx::AssertSqlSafe(prepare)).await.unwrap();
    let options = database.login_options("convolog_api").await.options(settings.iter().copied());
    let mut connection = options.connect().await.unwrap();
    sqlx::query("select open_tenant($1)").bind(TENANT).execute(&mut connection).await.unwrap();
    for stream in 1..10 {
        append_one(&mut connection, stream).await;
        append_batch(&mut connection, i64::try_from(stream).unwrap(), 1).await;
    }
    for page in 0..4 {
        append_batch(&mut connection, 10 + page * 1000, 1000).await;
    }
    connection.execute("begin").await.unwrap();
    let before = reads(&mut connection).await;
    append_one(&mut connection, 1).await;
    let one = reads(&mut connection).await;
    append_batch(&mut connection, 10, 20).await;
    let twenty = reads(&mut connection).await;
    connection.execute("rollback").await.unwrap();
    [(one, before), (twenty, one)].map(|(after, before)| (after.0 - before.0, after.1 - before.1, after.2 - before.2))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_reads_one_entry_of_its_stream_with_plans_made_on_an_empty_log() {
    // An empty table that was analysed is believed to be empty for ever; one that never was, to have ten pages.
    for prepare in ["", "vacuum analyze"] {
        assert_eq!(costs(WRITERS, prepare).await, [(1, 1, 0), (20, 20, 0)], "{prepare:?}");
    }
}

/// One command with one event, as the commit `commit` of a caller who knows of the commit `last` and of the stream's version
/// `known`; its status and the version that was decided on or found.
async fn append_knowing(
    connection: &mut PgConnection,
    (commit, last): (Option<Uuid>, Option<Uuid>),
    stream: u128,
    known: i64,
) -> (String, Option<i64>) {
    sqlx::query_as(
        "select status, versions[1] from append_batch($1, array[$2], array[1], array[$3], array[1], array[$4], array[$5::bigint],
           array[$5::bigint], array[1], array[$2], array[null::text], array[null::bytea], array['null'], array[1], array[1],
           array[1], '{}', '{}', '{}', array[1], array[1], array[1], array[1], array['session'], array[gen_random_uuid()],
           array['session.message_posted'], array[1::smallint], array['{}'], array['{}'], array[now()])",
    )
    .bind(commit)
    .bind(TENANT)
    .bind(last)
    .bind(Uuid::from_u128(stream))
    .bind(known)
    .fetch_one(connection)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_looked_up_unless_nobody_can_have_moved_it() {
    let database = tests::database().await;
    let options = database.login_options("convolog_api").await.options(WRITERS.iter().copied());
    let mut connection = options.connect().await.unwrap();
    sqlx::query("select open_tenant($1)").bind(TENANT).execute(&mut connection).await.unwrap();
    let commits = [1, 2, 3, 4].map(|n| Some(Uuid::from_u128(n)));
    let stored = |version| ("stored".to_owned(), Some(version));
    connection.execute("begin").await.unwrap();
    let mut look_ups = Vec::new();
    let mut seen = 0;
    let mut counted = async |connection: &mut PgConnection| {
        let (now, _, _) = reads(connection).await;
        look_ups.push(now - std::mem::replace(&mut seen, now));
    };
    // Nobody has been here: there is nothing to know.
    assert_eq!(append_knowing(&mut connection, (commits[0], None), 7, 0).await, stored(0));
    counted(&mut connection).await;
    // The head is as this caller has left it.
    assert_eq!(append_knowing(&mut connection, (commits[1], commits[0]), 7, 1).await, stored(1));
    counted(&mut connection).await;
    // Somebody else moves it, by one event and by a batch, with and without a name.
    for move_by in [true, false] {
        let before = if move_by { commits[1] } else { commits[2] };
        match move_by {
            true => append_one(&mut connection, 7).await,
            false => append_batch(&mut connection, 7, 1).await,
        }
        counted(&mut connection).await;
        let version = if move_by { 2 } else { 4 };
        assert_eq!(append_knowing(&mut connection, (None, before), 7, version).await.0, "moved");
        counted(&mut connection).await;
        assert_eq!(append_knowing(&mut connection, (commits[2], before), 7, version + 1).await, stored(version + 1));
        counted(&mut connection).await;
    }
    assert_eq!(look_ups, [1, 0, 1, 1, 1, 1, 1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_writers_settings_such_plans_would_read_the_whole_log() {
    let [one, _] = costs(&[("plan_cache_mode", "force_generic_plan")], "vacuum analyze").await;
    assert!(one.2 > 0, "the writers' settings are not needed any more: {one:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_writers_of_a_new_node_do_not_scan_a_tenants_log() {
    let settings = WorldSettings { apis: 0, relay: false, projector: false, ..WorldSettings::default() };
    let mut world = World::with(settings.clone()).await;
    world.database.admin.execute("alter table events set (autovacuum_enabled = false)").await.unwrap();
    world.database.admin.execute("vacuum analyze").await.unwrap();
    world.nodes.push(Node::start(world.node_settings(&settings, false)).await.unwrap());
    let user = world.tenant().await;
    let scans = async || {
        let sql = "select i.idx_scan, t.seq_scan + k.idx_scan from pg_stat_user_tables t
                   join pg_stat_user_indexes i on i.relid = t.relid and i.indexrelname = 'events_stream_version_key'
                   join pg_stat_user_indexes k on k.relid = t.relid and k.indexrelname = 'events_pkey'";
        sqlx::query_as::<_, (i64, i64)>(sql).fetch_one(&world.database.admin).await.unwrap()
    };
    // Statistics arrive with a later statement of the same connection, so it says more until they are there.
    eventually("the writers have read the log", async || {
        // Of new streams: the versions of others need not be looked up.
        user.start_session().await;
        let (streams, others) = scans().await;
        streams + others > 40
    })
    .await;
    let (streams, others) = scans().await;
    // A cold stream is loaded by the API's pool, which plans for itself.
    assert!(others < 5, "{streams} look-ups of a stream, {others} scans of another kind");
}
