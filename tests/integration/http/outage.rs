//! PostgreSQL's connections die again and again: what was acknowledged stays, what had a key happens once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::{Reply, User, World, eventually};
use uuid::Uuid;

use super::{anonymous, assert_problem, head};

const CLIENTS: usize = 8;
/// How often all connections die while the clients work.
const BLOWS: usize = 6;

/// What one client has to tell.
#[derive(Default)]
struct Told {
    keyed: Vec<String>,
    acknowledged: Vec<String>,
    refused: usize,
}

fn assert_may_try_again(reply: &Reply) {
    assert_problem(reply, 503, reply.code());
    assert!(["overloaded", "outcome_unknown"].contains(&reply.code()), "{}", reply.body);
}

async fn work(user: &User, session: Uuid, client: usize, (blows, refusals): (&AtomicUsize, &AtomicUsize)) -> Told {
    let path = format!("/v1/sessions/{session}/messages");
    let mut told = Told::default();
    for n in 0.. {
        if blows.load(Ordering::Relaxed) > BLOWS {
            break;
        }
        let content = format!("keyed {client}/{n}");
        let body = json!({"role": "user", "content": content});
        let key = format!("{client}-{n}");
        let mut first = None;
        loop {
            let reply = user.post_with(&path, &[("idempotency-key", &key)], &body).await;
            if reply.status == 201 {
                first.get_or_insert(reply.body.clone());
                // Asked once more, it says the same.
                let again = user.post_with(&path, &[("idempotency-key", &key)], &body).await;
                if again.status == 201 {
                    assert_eq!((Some(&again.body), again.header("idempotency-replayed")), (first.as_ref(), "true"));
                    break;
                }
                assert_may_try_again(&again);
                continue;
            }
            assert_may_try_again(&reply);
            told.refused += 1;
            refusals.fetch_add(1, Ordering::Relaxed);
        }
        told.keyed.push(content);

        let content = format!("plain {client}/{n}");
        let reply = user.say(session, &content).await;
        if reply.status == 201 {
            told.acknowledged.push(content);
        } else {
            assert_may_try_again(&reply);
            told.refused += 1;
            refusals.fetch_add(1, Ordering::Relaxed);
        }
    }
    told
}

/// Ends all connections of Convolog's processes to this test's database.
async fn kill(world: &World) -> i64 {
    sqlx::query_scalar(
        "select count(*) from (
           select pg_terminate_backend(pid, 5000) from pg_stat_activity
           where datname = current_database() and application_name like 'convolog-%') killed",
    )
    .fetch_one(&world.database.admin)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn while_connections_die_again_and_again_nothing_is_lost_and_nothing_happens_twice() {
    let world = World::start().await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    let (done, blows, refusals) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let killer = async {
        let mut killed = 0;
        while !done.load(Ordering::Relaxed) {
            killed += kill(&world).await;
            blows.fetch_add(1, Ordering::Relaxed);
            assert_eq!(anonymous(&world).get("/health/live").await.status, 200);
            let reply = anonymous(&world).get("/health/ready").await;
            assert!(reply.status == 200 || reply.code() == "overloaded", "{}", reply.body);
            let reply = user.get("/v1/sessions").await;
            assert!(reply.status == 200 || reply.code() == "overloaded", "{}", reply.body);
            // A pause between two blows, so that something gets done; nothing waits for it.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        killed
    };
    let working = async {
        let told = join_all((0..CLIENTS).map(|client| work(&user, session, client, (&blows, &refusals)))).await;
        done.store(true, Ordering::Relaxed);
        told
    };
    let (told, killed) = tokio::join!(working, killer);
    assert!(killed > 10, "only {killed} connections were killed");

    eventually("it is ready again", async || anonymous(&world).get("/health/ready").await.status == 200).await;
    world.drain().await;
    let mut said: HashMap<String, usize> = HashMap::new();
    let messages = user.messages(session, 0).await;
    for message in &messages {
        *said.entry(message["content"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    for told in &told {
        for content in told.keyed.iter().chain(&told.acknowledged) {
            assert_eq!(said.get(content), Some(&1), "{content}, {} refusals", told.refused);
        }
    }
    assert!(said.values().all(|times| *times == 1));
    let known: usize = told.iter().map(|told| told.keyed.len() + told.acknowledged.len()).sum();
    let refused = refusals.load(Ordering::Relaxed);
    assert!(
        (known..=known + refused).contains(&messages.len()),
        "{known} known, {refused} refused, {}",
        messages.len()
    );
    let read = user.get(&format!("/v1/sessions/{session}")).await;
    assert_eq!(read.body["message_count"], messages.len());
    let events = user.events().await;
    let numbers = events.iter().map(|event| event["sequence"].as_str().unwrap().parse::<u64>().unwrap());
    assert!(numbers.eq(1..=head(&world, user.tenant).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_registered_once_or_not_at_all_while_connections_die() {
    let world = World::start().await;
    let done = AtomicBool::new(false);
    let killer = async {
        while !done.load(Ordering::Relaxed) {
            kill(&world).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let registering = async {
        let mut registered: Vec<Value> = Vec::new();
        for n in 0..20 {
            let email = format!("user{n}@example.com");
            let body = json!({"tenant_name": "T", "email": email, "password": "nobody guesses this one", "name": "N"});
            let reply = anonymous(&world).post("/v1/auth/register", &body).await;
            match reply.status {
                201 => registered.push(reply.body),
                _ => assert_may_try_again(&reply),
            }
        }
        done.store(true, Ordering::Relaxed);
        registered
    };
    let (registered, ()) = tokio::join!(registering, killer);
    // Parts of a tenant that nobody can sign in to would be left over.
    let (heads, events, tenants, users, credentials): (i64, i64, i64, i64, i64) = sqlx::query_as(
        "select (select count(*) from tenant_heads where seq = 3), (select count(*) from events),
                (select count(*) from tenants), (select count(*) from users), (select count(*) from credentials)",
    )
    .fetch_one(&world.database.admin)
    .await
    .unwrap();
    assert_eq!((events, tenants, users, credentials), (3 * heads, heads, heads, heads));
    assert!(usize::try_from(heads).unwrap() >= registered.len());
    eventually("it is ready again", async || anonymous(&world).get("/health/ready").await.status == 200).await;
    for body in registered {
        let me = anonymous(&world).signed_in(&body).get("/v1/auth/me").await;
        assert_eq!((me.status, &me.body["user"]), (200, &body["user"]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_does_not_notice_that_the_connections_it_finds_have_died() {
    let world = World::start().await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    world.drain().await;
    let read = async || user.get(&format!("/v1/sessions/{session}")).await.status;
    for _ in 0..5 {
        // Several at once, so that there are several connections to lose.
        assert_eq!(join_all((0..8).map(|_| read())).await, [200; 8]);
        // Waits until they are gone: one that dies between two statements of a read is noticed.
        let killed: bool = sqlx::query_scalar(
            "select bool_and(pg_terminate_backend(pid, 20000)) from pg_stat_activity
             where datname = current_database() and application_name = 'convolog-api'",
        )
        .fetch_one(&world.database.admin)
        .await
        .unwrap();
        assert!(killed);
        assert_eq!(read().await, 200);
    }
}
