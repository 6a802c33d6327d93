//! A key makes a command happen once: the same request gets the first answer for ever, another one is refused.

use domain::tenant::Role;
use futures_util::future::join_all;
use reqwest::header::HeaderValue;
use serde_json::json;
use tests::{User, World};
use uuid::Uuid;

use super::{Raw, assert_problem, head, keyed, member, nobody, post_text, raw, two_apis};

const START: &str = r#"{"mode": "text"}"#;
const SAY: &str = r#"{"role":"user","content":"Hello"}"#;

/// The same answer as the first, marked as such.
#[track_caller]
fn assert_replays(first: &Raw, again: &Raw) {
    assert_eq!((first.status, &first.text), (again.status, &again.text));
    for header in ["etag", "location", "content-type"] {
        assert_eq!(first.header(header), again.header(header), "{header}");
    }
    assert_eq!(again.header("idempotency-replayed"), "true");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_gets_its_first_answer_whatever_has_happened_since() {
    let world = World::with(two_apis()).await;
    let user = world.tenant().await;
    let nodes = [user.clone(), user.at(world.url(1))];
    let chosen = json!({"mode": "text", "id": Uuid::now_v7()}).to_string();

    let start = keyed(&user, "/v1/sessions", "start", START).await;
    let start_chosen = keyed(&user, "/v1/sessions", "chosen", &chosen).await;
    let session = start.reply().id();
    let (messages, end) = (format!("/v1/sessions/{session}/messages"), format!("/v1/sessions/{session}/end"));
    let said = keyed(&user, &messages, "say", SAY).await;
    for message in 0..5 {
        assert_eq!(user.say(session, &format!("message {message}")).await.status, 201);
    }
    let ended = keyed(&user, &end, "end", "").await;
    for (answer, status) in [(&start, 201), (&start_chosen, 201), (&said, 201), (&ended, 200)] {
        assert_eq!((answer.status, answer.header("idempotency-replayed")), (status, ""), "{}", answer.text);
    }
    user.start_session().await;

    let before = head(&world, user.tenant).await;
    for user in nodes.iter().cycle().take(4) {
        // The session has ended: without the key these would be 409.
        assert_replays(&ended, &keyed(user, &end, "end", "").await);
        assert_replays(&said, &keyed(user, &messages, "say", SAY).await);
        assert_replays(&start, &keyed(user, "/v1/sessions", "start", START).await);
        assert_replays(&start_chosen, &keyed(user, "/v1/sessions", "chosen", &chosen).await);
        assert_problem(&user.post(&end, &json!({})).await, 409, "session_ended");
        assert_problem(&user.say(session, "too late").await, 409, "session_ended");
    }
    assert_eq!(head(&world, user.tenant).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_identical_requests_at_once_happen_once_also_through_two_nodes() {
    let world = World::with(two_apis()).await;
    let user = world.tenant().await;
    let clients: Vec<User> = (0..20).map(|n| user.at(world.url(n % 2))).collect();
    let at_once = async |path: &str, key: &str, text: &str| {
        let before = head(&world, user.tenant).await;
        let answers = join_all(clients.iter().map(|client| keyed(client, path, key, text))).await;
        assert_eq!(head(&world, user.tenant).await, before + 1, "{path}");
        let (replayed, first): (Vec<_>, Vec<_>) =
            answers.iter().partition(|answer| answer.header("idempotency-replayed") == "true");
        assert_eq!((first.len(), replayed.len()), (1, 19), "{path}");
        for again in replayed {
            assert_replays(first[0], again);
        }
        first[0].reply().id()
    };
    let session = at_once("/v1/sessions", "start", START).await;
    at_once("/v1/sessions", "chosen", &json!({"id": Uuid::now_v7(), "mode": "text"}).to_string()).await;
    at_once(&format!("/v1/sessions/{session}/messages"), "say", SAY).await;
    let chosen = json!({"id": Uuid::now_v7(), "role": "user", "content": "Hello"});
    at_once(&format!("/v1/sessions/{session}/messages"), "say chosen", &chosen.to_string()).await;
    at_once(&format!("/v1/sessions/{session}/end"), "end", "{}").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_good_for_one_request_only() {
    let world = World::with(two_apis()).await;
    let user = world.tenant().await;
    let first = keyed(&user, "/v1/sessions", "k", START).await;
    let session = first.reply().id();
    let (messages, end) = (format!("/v1/sessions/{session}/messages"), format!("/v1/sessions/{session}/end"));
    assert_eq!(keyed(&user, &end, "end", "{}").await.status, 200);
    let before = head(&world, user.tenant).await;
    let elsewhere = user.at(world.url(1));
    for user in [&user, &elsewhere] {
        for (path, text) in [
            ("/v1/sessions", r#"{"mode":"meeting"}"#),
            ("/v1/sessions", r#"{"mode":"text"}"#),
            ("/v1/sessions?x=1", START),
            // Both would be refused without the key: that it was used is said first.
            (&messages, SAY),
            (&end, "{}"),
        ] {
            let reply = keyed(user, path, "k", text).await.reply();
            assert_problem(&reply, 422, "idempotency_key_reused");
        }
        assert_replays(&first, &keyed(user, "/v1/sessions", "k", START).await);
    }
    assert_eq!(head(&world, user.tenant).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_does_not_use_up_its_key() {
    let world = World::start().await;
    let user = world.tenant().await;
    let session = Uuid::now_v7();
    let (messages, end) = (format!("/v1/sessions/{session}/messages"), format!("/v1/sessions/{session}/end"));

    assert_problem(&keyed(&user, &messages, "404", SAY).await.reply(), 404, "not_found");
    let start = json!({"id": session, "mode": "text"});
    assert_eq!(user.post("/v1/sessions", &start).await.status, 201);
    assert_eq!(keyed(&user, &messages, "404", SAY).await.status, 201);

    assert_problem(&keyed(&user, "/v1/sessions", "409", &start.to_string()).await.reply(), 409, "id_taken");
    assert_eq!(keyed(&user, "/v1/sessions", "409", START).await.status, 201);

    let bad = r#"{"mode": "dance"}"#;
    assert_problem(&keyed(&user, "/v1/sessions", "422", bad).await.reply(), 422, "validation_failed");
    assert_problem(&keyed(&user, "/v1/sessions", "422", "{").await.reply(), 400, "invalid_json");
    assert_eq!(keyed(&user, "/v1/sessions", "422", START).await.status, 201);

    let end_if = async |tag: &'static str| {
        raw(post_text(&user, &end, "").header("if-match", tag).header("idempotency-key", "412")).await
    };
    assert_problem(&end_if("\"7\"").await.reply(), 412, "version_mismatch");
    let ended = end_if("\"1\"").await;
    assert_eq!((ended.status, ended.header("idempotency-replayed")), (200, ""));

    assert_problem(&keyed(&nobody(&user), "/v1/sessions", "401", START).await.reply(), 401, "unauthorized");
    let first = keyed(&user, "/v1/sessions", "401", START).await;
    assert_eq!((first.status, first.header("idempotency-replayed")), (201, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_of_one_user_of_one_tenant() {
    let world = World::start().await;
    let ada = world.tenant().await;
    let others = [member(&ada, Role::Member).await, world.tenant().await];
    let first = keyed(&ada, "/v1/sessions", "k", START).await;
    for (other, text) in others.iter().zip([START, r#"{"mode":"meeting"}"#]) {
        let theirs = keyed(other, "/v1/sessions", "k", text).await;
        assert_eq!((theirs.status, theirs.header("idempotency-replayed")), (201, ""), "{}", theirs.text);
        assert_ne!(theirs.reply().id(), first.reply().id());
        assert_replays(&theirs, &keyed(other, "/v1/sessions", "k", text).await);
    }
    assert_replays(&first, &keyed(&ada, "/v1/sessions", "k", START).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_key_is_refused_before_anything_happens() {
    let world = World::start().await;
    let user = world.tenant().await;
    let before = head(&world, user.tenant).await;
    let request = || post_text(&user, "/v1/sessions", START);
    let value = |bytes: &[u8]| HeaderValue::from_bytes(bytes).unwrap();
    for bad in [&[b'k'; 201][..], "schlüssel".as_bytes(), b"", b"a\tb", b"\xff"] {
        let reply = raw(request().header("idempotency-key", value(bad))).await.reply();
        assert_problem(&reply, 400, "invalid_header");
    }
    let twice = request().header("idempotency-key", "a").header("idempotency-key", "b");
    assert_problem(&raw(twice).await.reply(), 400, "invalid_header");
    assert_eq!(head(&world, user.tenant).await, before);
    for good in ["k".repeat(200), " !~\"\\'{}; drop".to_owned()] {
        assert_eq!(keyed(&user, "/v1/sessions", &good, START).await.status, 201);
        assert_eq!(keyed(&user, "/v1/sessions", &good, START).await.header("idempotency-replayed"), "true");
    }
}
