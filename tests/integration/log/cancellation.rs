//! Clients that go away: a request dropped at any of its polls leaves no half-done work and no spoilt connection.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use tests::{User, World, WorldSettings};
use tower::ServiceExt as _;
use uuid::Uuid;

/// Polls a future so many times and drops it; `None` when it was not ready by then.
async fn poll_times<F: Future>(future: F, times: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut polls = 0;
    poll_fn(|context| {
        polls += 1;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if polls >= times => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

fn request(user: &User, method: &str, path: &str, key: Option<&str>, body: &Value) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    if let Some(token) = &user.token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    let body = if method == "GET" { Body::empty() } else { Body::from(body.to_string()) };
    request.body(body).unwrap()
}

/// Sends the request again and again, dropped at its first, second, … poll, until it is answered before that.
async fn drop_at_every_poll(world: &World, make: impl Fn(usize) -> Request<Body>, check: impl AsyncFn(usize)) -> usize {
    let app = world.nodes[0].app().unwrap().clone();
    for times in 1.. {
        let answered = poll_times(api::router(app.clone()).oneshot(make(times)), times).await;
        check(times).await;
        if let Some(answer) = answered {
            let status = answer.unwrap().status();
            assert!(status.is_success(), "{status}");
            return times;
        }
    }
    unreachable!()
}

/// A command is durable when it is acknowledged, whatever connection it used.
async fn assert_next_command_is_durable(world: &World, user: &User, session: Uuid) {
    let said = user.say(session, "after").await;
    assert_eq!(said.status, 201, "{}", said.body);
    let head: i64 = sqlx::query_scalar("select seq from tenant_heads where tenant_id = $1")
        .bind(user.tenant)
        .fetch_one(&world.database.admin)
        .await
        .unwrap();
    assert!(head.cast_unsigned() >= said.seq());
}

async fn one_connection() -> World {
    World::with(WorldSettings { api_connections: 1, ..WorldSettings::default() }).await
}

#[tokio::test]
async fn a_dropped_command_happens_once_or_not_at_all() {
    let world = one_connection().await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    let path = format!("/v1/sessions/{session}/messages");
    let body = |n: usize| json!({"role": "user", "content": format!("dropped {n}")});
    let make = |n: usize| request(&user, "POST", &path, Some(&format!("key {n}")), &body(n));
    let polls = drop_at_every_poll(&world, make, async |n| {
        // The retry is the proof that it was not done halfway.
        let key = format!("key {n}");
        let retried = user.post_with(&path, &[("idempotency-key", &key)], &body(n)).await;
        assert_eq!(retried.status, 201, "{}", retried.body);
        assert_next_command_is_durable(&world, &user, session).await;
    })
    .await;
    assert!(polls > 1, "nothing was dropped");
    let contents: Vec<String> = sqlx::query_scalar(
        "select data ->> 'content' from events where tenant_id = $1 and data ->> 'content' like 'dropped%'",
    )
    .bind(user.tenant)
    .fetch_all(&world.database.admin)
    .await
    .unwrap();
    assert_eq!(contents.len(), polls, "{contents:?}");
}

#[tokio::test]
async fn a_dropped_registration_founds_a_whole_tenant_or_none() {
    let world = one_connection().await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    let anonymous = User::anonymous(world.http.clone(), world.url(0));
    let make = |n: usize| {
        let body = json!({"tenant_name": format!("Dropped {n}"), "email": format!("dropped{n}@example.com"),
                          "password": "nobody guesses this one", "name": "Somebody"});
        request(&anonymous, "POST", "/v1/auth/register", None, &body)
    };
    let polls = drop_at_every_poll(&world, make, async |_| {
        assert_next_command_is_durable(&world, &user, session).await;
        let counts: Vec<i64> = sqlx::query_scalar(
            "select count(*) from tenant_heads where seq >= 2 union all select count(*) from tenants
             union all select count(*) from users union all select count(*) from credentials",
        )
        .fetch_all(&world.database.admin)
        .await
        .unwrap();
        assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
    })
    .await;
    assert!(polls > 1, "nothing was dropped");
}

#[tokio::test]
async fn a_dropped_read_leaves_a_clean_connection() {
    let world = one_connection().await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    let said = user.say(session, "hello").await;
    let path = format!("/v1/sessions/{session}/messages?min_seq={}", said.seq());
    let make = |_| request(&user, "GET", &path, None, &Value::Null);
    let other = world.tenant().await;
    let polls = drop_at_every_poll(&world, make, async |_| {
        // First of all a write: in the dropped read's transaction, which may only read, it would be refused.
        let registered = world.tenant().await;
        assert_eq!(registered.get("/v1/auth/me").await.status, StatusCode::OK.as_u16());
        let foreign = path.replace(&format!("?min_seq={}", said.seq()), "");
        assert_eq!(other.get(&foreign).await.status, 404, "under the dropped read's tenant");
        assert_next_command_is_durable(&world, &user, session).await;
    })
    .await;
    assert!(polls > 1, "nothing was dropped");
}
