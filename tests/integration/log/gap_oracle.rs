//! The gap oracle: writers with pauses, rollbacks and killed backends; nobody who follows a log ever misses an event.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use tests::{User, World, WorldSettings, eventually};
use uuid::Uuid;

/// Whoever follows a log with a cursor: what it has seen, and where it goes on.
#[derive(Default)]
struct Follower {
    cursor: i64,
    seen: BTreeSet<i64>,
}

impl Follower {
    /// Reads on; `sql` takes the cursor as its last parameter and answers numbers in order.
    async fn poll(&mut self, pool: &PgPool, sql: &'static str, tenant: Option<Uuid>) {
        let query = sqlx::query_scalar(sql);
        let query = if let Some(tenant) = tenant { query.bind(tenant) } else { query };
        let numbers: Vec<i64> = query.bind(self.cursor).fetch_all(pool).await.unwrap();
        for number in numbers {
            self.seen.insert(number);
            self.cursor = number;
        }
    }

    /// What was committed and never seen.
    fn missed(&self, committed: &BTreeSet<i64>) -> Vec<i64> {
        committed.difference(&self.seen).copied().collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oracle_catches_a_naive_sequence_cursor() {
    let database = tests::database().await;
    let follow = "select position from naive where position > $1 order by position";
    database.admin.execute("create table naive (position bigint generated always as identity)").await.unwrap();
    let mut slow = PgConnection::connect(&database.admin_url).await.unwrap();
    let mut follower = Follower::default();
    // The slow writer takes its number first and commits last, with nothing unusual in between.
    slow.execute("begin; insert into naive default values").await.unwrap();
    database.admin.execute("insert into naive default values").await.unwrap();
    follower.poll(&database.admin, follow, None).await;
    slow.execute("commit").await.unwrap();
    follower.poll(&database.admin, follow, None).await;
    let committed: Vec<i64> =
        sqlx::query_scalar("select position from naive").fetch_all(&database.admin).await.unwrap();
    assert_eq!(follower.missed(&committed.into_iter().collect()), [1]);
}

const FOLLOW: &str = "select seq from events where tenant_id = $1 and seq > $2 order by seq";

#[tokio::test(flavor = "multi_thread")]
async fn no_event_is_ever_missed_doubled_or_out_of_order() {
    let world = Arc::new(World::with(WorldSettings { apis: 2, ..WorldSettings::default() }).await);
    let mut users = Vec::new();
    for _ in 0..4 {
        let user = world.tenant().await;
        let session = user.start_session().await;
        users.push((user, session));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for n in 0..16 {
        let (user, session) = users[n % users.len()].clone();
        writers.push(tokio::spawn(post(user.at(world.url(n % 2)), session, n, stop.clone())));
    }
    for n in 0..4 {
        let (user, session) = users[n % users.len()].clone();
        writers.push(tokio::spawn(append_slowly(world.database.admin_url.clone(), user, session, stop.clone())));
    }
    let killer = tokio::spawn(kill_backends(world.database.admin.clone(), stop.clone()));
    let watchers: Vec<_> = users
        .iter()
        .map(|(user, _)| tokio::spawn(watch(world.database.admin.clone(), user.tenant, stop.clone())))
        .collect();
    tokio::time::sleep(Duration::from_secs(5)).await;
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = BTreeSet::new();
    for writer in writers {
        acknowledged.extend(writer.await.unwrap());
    }
    killer.await.unwrap();

    for (watcher, (user, session)) in watchers.into_iter().zip(&users) {
        let mut follower = watcher.await.unwrap();
        follower.poll(&world.database.admin, FOLLOW, Some(user.tenant)).await;
        let committed: Vec<i64> = sqlx::query_scalar("select seq from events where tenant_id = $1")
            .bind(user.tenant)
            .fetch_all(&world.database.admin)
            .await
            .unwrap();
        assert!(committed.len() > 20, "the writers hardly wrote: {}", committed.len());
        assert_eq!(follower.missed(&committed.into_iter().collect()), [] as [i64; 0]);
        rows_are_the_log(&world, user, *session, &acknowledged).await;
    }
}

/// What was acknowledged is in the log once; the read table has the log's messages in the log's order.
async fn rows_are_the_log(world: &World, user: &User, session: Uuid, acknowledged: &BTreeSet<(Uuid, String)>) {
    let logged: Vec<String> = sqlx::query_scalar(
        "select data ->> 'content' from events where tenant_id = $1 and name = 'message_posted' order by seq",
    )
    .bind(user.tenant)
    .fetch_all(&world.database.admin)
    .await
    .unwrap();
    let unique: BTreeSet<&String> = logged.iter().collect();
    assert_eq!(unique.len(), logged.len(), "a message was doubled");
    for (_, content) in acknowledged.iter().filter(|(tenant, _)| *tenant == user.tenant) {
        assert!(unique.contains(content), "acknowledged and lost: {content}");
    }
    world.drain().await;
    let mut rows: Vec<String> = Vec::new();
    eventually("reads answer again", async || user.get("/health/ready").await.status == 200).await;
    for row in user.messages(session, 0).await {
        rows.push(row["content"].as_str().unwrap().to_owned());
    }
    assert_eq!(rows, logged);
}

/// Posts until told to stop, each message with its key until it is acknowledged.
async fn post(user: User, session: Uuid, writer: usize, stop: Arc<AtomicBool>) -> Vec<(Uuid, String)> {
    let mut acknowledged = Vec::new();
    let path = format!("/v1/sessions/{session}/messages");
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let content = format!("{writer}-{n}");
        let body = json!({"role": "user", "content": content});
        let begun = Instant::now();
        loop {
            let reply = user.post_with(&path, &[("idempotency-key", &content)], &body).await;
            match reply.status {
                201 => break acknowledged.push((user.tenant, content)),
                // The backend was killed; the key makes the retry safe.
                503 => assert!(begun.elapsed() < Duration::from_secs(20), "never recovered: {}", reply.body),
                other => panic!("{other}: {}", reply.body),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    acknowledged
}

/// Appends in long transactions of its own, some of them rolled back, with the rights of the API.
async fn append_slowly(admin_url: String, user: User, session: Uuid, stop: Arc<AtomicBool>) -> Vec<(Uuid, String)> {
    let mut acknowledged = Vec::new();
    let mut connection = PgConnection::connect(&admin_url).await.unwrap();
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let content = format!("slow-{}-{n}", Uuid::now_v7());
        let data = json!({"message_id": Uuid::now_v7(), "role": "user", "content": content});
        let meta = json!({"actor": {"kind": "system", "id": Uuid::nil()}, "correlation_id": Uuid::nil(),
                          "causation_id": Uuid::nil()});
        let end = if n % 3 == 0 { "rollback" } else { "commit" };
        let sql = format!(
            "set role convolog_api; begin;
             select * from append_one(null, null, null, '{}', '{}', null, null, 'null', null, '{{}}', 'session', '{session}', '{}',
               'message_posted', 1::smallint, '{data}', '{meta}', now());
             select pg_sleep(0.00{}); {end}",
            user.tenant,
            user.id,
            Uuid::now_v7(),
            n % 9
        );
        if connection.execute(AssertSqlSafe(sql)).await.is_ok() && end == "commit" {
            acknowledged.push((user.tenant, content));
        }
    }
    acknowledged
}

/// Kills a backend of Convolog every now and then.
async fn kill_backends(admin: PgPool, stop: Arc<AtomicBool>) {
    let mut killed = 0;
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(400)).await;
        let done: Vec<bool> = sqlx::query_scalar(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and application_name like 'convolog-%' order by random() limit 3",
        )
        .fetch_all(&admin)
        .await
        .unwrap();
        killed += done.len();
    }
    assert!(killed > 5, "hardly anything was killed");
}

/// Follows a log, and looks at it whole in one snapshot after another: always 1, 2, 3, … up to the head.
async fn watch(admin: PgPool, tenant: Uuid, stop: Arc<AtomicBool>) -> Follower {
    let mut follower = Follower::default();
    while !stop.load(Ordering::Relaxed) {
        follower.poll(&admin, FOLLOW, Some(tenant)).await;
        let (count, last, head): (i64, i64, i64) = sqlx::query_as(
            "select count(*), coalesce(max(e.seq), 0), (select seq from tenant_heads where tenant_id = $1)
             from events e where e.tenant_id = $1",
        )
        .bind(tenant)
        .fetch_one(&admin)
        .await
        .unwrap();
        assert_eq!((count, last), (head, head), "the log has a gap");
        let holes: i64 = sqlx::query_scalar(
            "select count(*) from (select version - row_number() over (partition by stream_id order by seq) as gap
             from events where tenant_id = $1) v where gap <> 0",
        )
        .bind(tenant)
        .fetch_one(&admin)
        .await
        .unwrap();
        assert_eq!(holes, 0, "a stream's versions are not 1, 2, 3, … in log order");
    }
    follower
}
