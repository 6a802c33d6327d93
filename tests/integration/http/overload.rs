//! More work than can be done: it is refused soon and whole, health is still known, and afterwards all goes on.

use std::time::Duration;

use api::ServerSettings;
use futures_util::future::join_all;
use serde_json::json;
use sqlx::postgres::Postgres;
use sqlx::{Executor as _, Transaction};
use store::LogSettings;
use tests::{Reply, User, World, WorldSettings, eventually};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::socket::{self, Socket};
use super::stalled::{hold_head, patient, waiting_for_locks};
use super::{anonymous, assert_problem, head, until_wait_for_locks};

/// Sessions are not read as long as this lives.
async fn hold_sessions(world: &World) -> Transaction<'static, Postgres> {
    let mut lock = world.database.admin.begin().await.unwrap();
    lock.execute("lock table sessions in access exclusive mode").await.unwrap();
    lock
}

async fn assert_healthy(world: &World) {
    for path in ["/health/live", "/health/ready"] {
        let reply = anonymous(world).get(path).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.body);
    }
}

fn say(user: &User, session: Uuid, content: &str, count: usize) -> Vec<JoinHandle<Reply>> {
    let one = |_| {
        let (user, content) = (user.clone(), content.to_owned());
        tokio::spawn(async move { user.say(session, &content).await })
    };
    (0..count).map(one).collect()
}

fn answered(requests: &[JoinHandle<Reply>]) -> usize {
    requests.iter().filter(|request| request.is_finished()).count()
}

async fn a_stalled_writer(log: LogSettings, content: &str, room: usize) {
    let (world, user, session) = patient(WorldSettings { log, ..WorldSettings::default() }).await;
    let other = world.tenant().await;
    let before = head(&world, user.tenant).await;
    let lock = hold_head(&world, &user).await;
    let requests = say(&user, session, content, room + 12);
    eventually("what there is no room for is refused", async || answered(&requests) == 12).await;
    // Who is refused is told so at once, who is taken on is not: nothing can be stored yet.
    assert_eq!(head(&world, user.tenant).await, before);
    assert_healthy(&world).await;
    assert_eq!(other.get("/v1/sessions").await.status, 200);
    lock.rollback().await.unwrap();
    let (mut stored, mut refused) = (0, 0);
    for reply in join_all(requests).await {
        let reply = reply.unwrap();
        if reply.status == 201 {
            stored += 1;
        } else {
            assert_problem(&reply, 503, "overloaded");
            refused += 1;
        }
    }
    // Some were taken on and waited too long for their turn, if the test was slow.
    assert!(refused >= 12 && stored >= 1, "{stored} stored, {refused} refused");
    assert_eq!(head(&world, user.tenant).await, before + stored);
    // All the room is there again.
    let replies = join_all(say(&user, session, content, room)).await;
    assert!(replies.into_iter().all(|reply| reply.unwrap().status == 201));
    world.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_writer_takes_on_so_many_commands_and_refuses_the_rest() {
    a_stalled_writer(LogSettings { queue: 8, ..LogSettings::default() }, "x", 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_writer_takes_on_so_many_bytes_and_refuses_the_rest() {
    let log = LogSettings { queue_bytes: 90_000, ..LogSettings::default() };
    a_stalled_writer(log, &"x".repeat(20_000), 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_tenant_does_not_stop_the_others() {
    // Of the tenant more is waiting than one commit takes.
    let log = LogSettings { max_batch: 8, ..LogSettings::default() };
    let (world, user, session) = patient(WorldSettings { log, ..WorldSettings::default() }).await;
    let other = world.tenant().await;
    let others = other.start_session().await;
    let (before, others_before) = (head(&world, user.tenant).await, head(&world, other.tenant).await);
    let lock = hold_head(&world, &user).await;
    let mut stuck = say(&user, session, "x", 1);
    until_wait_for_locks(&world, 1).await;
    stuck.extend(say(&user, session, "x", 19));
    for reply in join_all(say(&other, others, "x", 20)).await {
        assert_eq!(reply.unwrap().status, 201);
    }
    assert_eq!(head(&world, other.tenant).await, others_before + 20);
    assert_eq!((answered(&stuck), head(&world, user.tenant).await), (0, before));
    // Whoever waits with it is told to come again, if the test was slow.
    lock.rollback().await.unwrap();
    for reply in join_all(stuck).await {
        let reply = reply.unwrap();
        assert!(reply.status == 201 || reply.code() == "overloaded", "{}", reply.body);
    }
    world.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_tenant_is_tried_once_and_who_shared_its_commit_is_stored() {
    let log = LogSettings { connections: 1, ..LogSettings::default() };
    // Less than it would take to try all that are stuck, one after the other.
    let server = ServerSettings { request_timeout: Duration::from_secs(10), ..ServerSettings::default() };
    let settings = WorldSettings { log, server, ..WorldSettings::default() };
    let (world, user, _) = waiting_for_locks("700ms", settings).await;
    let other = world.tenant().await;
    let others = other.start_session().await;
    let before = head(&world, user.tenant).await;
    let lock = hold_head(&world, &user).await;
    // Nothing has to be read for these, so all of them are ready to go.
    let start = json!({"mode": "text"});
    let stuck = (0..40).map(|_| user.post("/v1/sessions", &start));
    let fine = say(&other, others, "x", 20);
    for reply in join_all(stuck).await {
        assert_problem(&reply, 503, "overloaded");
    }
    for reply in join_all(fine).await {
        assert_eq!(reply.unwrap().status, 201);
    }
    assert_eq!(head(&world, user.tenant).await, before);
    lock.rollback().await.unwrap();
    assert_eq!(user.post("/v1/sessions", &start).await.status, 201);
}

/// Holds the head of a tenant while one command on its session waits for it and five on the other session wait longer than a
/// command may. The lock, the one, and the five.
async fn wait_too_long(
    world: &World,
    (stalled, session): (&User, Uuid),
    (late, theirs): (&User, Uuid),
) -> (Transaction<'static, Postgres>, Vec<JoinHandle<Reply>>, Vec<JoinHandle<Reply>>) {
    let lock = hold_head(world, stalled).await;
    let first = say(stalled, session, "first", 1);
    until_wait_for_locks(world, 1).await;
    let late = say(late, theirs, "late", 5);
    let (_, log, _) = world.nodes[0].write_side().unwrap();
    eventually("the others wait", async || log.waiting().0 == 6).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    (lock, first, late)
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_have_waited_too_long_are_refused_instead_of_begun() {
    let (world, user, session) = patient(WorldSettings::default()).await;
    let before = head(&world, user.tenant).await;
    let (lock, first, late) = wait_too_long(&world, (&user, session), (&user, session)).await;
    lock.rollback().await.unwrap();
    for reply in join_all(first).await {
        assert_eq!(reply.unwrap().status, 201);
    }
    for reply in join_all(late).await {
        assert_problem(&reply.unwrap(), 503, "overloaded");
    }
    assert_eq!(head(&world, user.tenant).await, before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_gathered_for_too_long_is_refused_and_what_came_later_is_stored() {
    let log = LogSettings { connections: 1, ..LogSettings::default() };
    let (world, stalled, session) = patient(WorldSettings { log, ..WorldSettings::default() }).await;
    let other = world.tenant().await;
    let others = other.start_session().await;
    let before = head(&world, other.tenant).await;
    // They are decided already, and wait for the only connection.
    let (lock, first, late) = wait_too_long(&world, (&stalled, session), (&other, others)).await;
    // Decided on what they would have stored.
    let in_time = say(&other, others, "in time", 1);
    let (_, log, _) = world.nodes[0].write_side().unwrap();
    eventually("another waits", async || log.waiting().0 == 7).await;
    lock.rollback().await.unwrap();
    for reply in join_all(first.into_iter().chain(in_time)).await {
        assert_eq!(reply.unwrap().status, 201);
    }
    for reply in join_all(late).await {
        assert_problem(&reply.unwrap(), 503, "overloaded");
    }
    assert_eq!(head(&world, other.tenant).await, before + 1);
}

/// Whoever logs in keeps a connection of the API's pool as long as this lives.
async fn hold_logins(world: &World) -> Transaction<'static, Postgres> {
    let waiting = "create or replace function accounts_by_email(p_email text, p_tenant uuid, p_limit int)
        returns table (tenant_id uuid, tenant_name text, user_id uuid, name text, role text, password_hash text,
                       plan text)
        language plpgsql stable security definer set search_path = pg_catalog, pg_temp
        as 'begin perform pg_advisory_xact_lock_shared(1); end'";
    world.database.admin.execute(waiting).await.unwrap();
    let mut lock = world.database.admin.begin().await.unwrap();
    lock.execute("select pg_advisory_xact_lock(1)").await.unwrap();
    lock
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_connections_are_taken_reads_are_refused_soon_while_commands_and_health_go_on() {
    let (world, user, session) = patient(WorldSettings { api_connections: 2, ..WorldSettings::default() }).await;
    let lock = hold_logins(&world).await;
    let logging_in = (0..2).map(|_| {
        let nobody = anonymous(&world);
        let body = json!({"email": "nobody@example.com", "password": "nobody guesses this one"});
        tokio::spawn(async move { nobody.post("/v1/auth/login", &body).await })
    });
    let logging_in: Vec<JoinHandle<Reply>> = logging_in.collect();
    let waiting = "select count(*) from pg_locks l join pg_database d on d.oid = l.database
                   where d.datname = current_database() and l.locktype = 'advisory' and not l.granted";
    eventually("both connections are taken", async || {
        let waiting = sqlx::query_scalar::<_, i64>(waiting);
        waiting.fetch_one(&world.database.admin).await.unwrap() == 2
    })
    .await;
    for reply in join_all((0..8).map(|_| user.get("/v1/sessions"))).await {
        assert_problem(&reply, 503, "overloaded");
    }
    assert_healthy(&world).await;
    assert_eq!(user.say(session, "still").await.status, 201);
    assert_eq!(answered(&logging_in), 0, "the connections were not taken all the time");
    lock.rollback().await.unwrap();
    for reply in join_all(logging_in).await {
        assert_eq!(reply.unwrap().status, 401);
    }
    assert_eq!(user.get("/v1/sessions").await.status, 200);
    world.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_before_the_body_is_sent() {
    let log = LogSettings { queue: 0, ..LogSettings::default() };
    let world = World::with(WorldSettings { log, ..WorldSettings::default() }).await;
    let user = world.tenant().await;
    let mut socket = Socket::open(&world).await;
    socket.send(socket::head(&user, "POST", "/v1/sessions", "content-length: 1000\r\n")).await;
    let answer = socket.answer().await.unwrap();
    assert_eq!((answer.status, answer.code().as_str(), answer.header("retry-after")), (503, "overloaded", "1"));
    assert_eq!(user.get("/v1/sessions").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_takes_too_long_is_answered_and_a_command_may_have_happened() {
    let server = ServerSettings { request_timeout: Duration::from_millis(700), ..ServerSettings::default() };
    let (world, user, session) = patient(WorldSettings { server, ..WorldSettings::default() }).await;
    let before = head(&world, user.tenant).await;
    let lock = hold_sessions(&world).await;
    assert_problem(&user.get("/v1/sessions").await, 503, "overloaded");
    lock.rollback().await.unwrap();
    let lock = hold_head(&world, &user).await;
    let (path, body) = (format!("/v1/sessions/{session}/messages"), json!({"role": "user", "content": "x"}));
    let key = [("idempotency-key", "k")];
    assert_problem(&user.post_with(&path, &key, &body).await, 503, "outcome_unknown");
    lock.rollback().await.unwrap();
    eventually("what was taken on is stored", async || head(&world, user.tenant).await == before + 1).await;
    let again = user.post_with(&path, &key, &body).await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (201, "true"));
    assert_eq!(head(&world, user.tenant).await, before + 1);
}
