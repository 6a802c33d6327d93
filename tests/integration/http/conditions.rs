//! `ETag` names the last change of a thing's own fields, and `If-Match` insists on it.

use serde_json::json;
use tests::{Reply, User, World};

use super::{assert_problem, head, post_text, raw};

async fn end_if(user: &User, path: &str, tags: &[&str], key: &str) -> Reply {
    let mut request = post_text(user, path, "").header("idempotency-key", key);
    for tag in tags {
        request = request.header("if-match", *tag);
    }
    raw(request).await.reply()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_does_not_change_the_etag_of_its_session() {
    let world = World::start().await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    let path = format!("/v1/sessions/{session}");
    let mut seq = 0;
    for count in 1..=3 {
        seq = user.say(session, "Hello").await.seq();
        let read = user.get(&format!("{path}?min_seq={seq}")).await;
        assert_eq!((read.header("etag"), &read.body["message_count"]), ("\"1\"", &json!(count)));
    }
    let ended = end_if(&user, &format!("{path}/end"), &["\"1\""], "k").await;
    assert_eq!((ended.status, ended.seq(), ended.header("etag")), (200, seq + 1, "\"5\""));
    let read = user.get(&format!("{path}?min_seq={}", ended.seq())).await;
    assert_eq!((read.header("etag"), &read.body["version"]), ("\"5\"", &json!(5)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outdated_weak_or_foreign_tag_matches_nothing_and_a_list_is_refused() {
    let world = World::start().await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    user.say(session, "Hello").await;
    let end = format!("/v1/sessions/{session}/end");
    let before = head(&world, user.tenant).await;
    for tag in ["\"2\"", "\"0\"", "W/\"1\"", "\"abc\"", "\"01\"", "\"\"", "\"99999999999999999999\""] {
        let reply = end_if(&user, &end, &[tag], "k").await;
        assert_problem(&reply, 412, "version_mismatch");
        assert_eq!(reply.body["current_version"], 1, "{tag}");
    }
    for tags in [&["\"1\", \"2\""][..], &["\"1\",*"], &["1"], &[""], &["\"1\"", "\"1\""], &["w/\"1\""]] {
        assert_problem(&end_if(&user, &end, tags, "k").await, 400, "invalid_header");
    }
    assert_eq!(head(&world, user.tenant).await, before);
    assert_eq!(end_if(&user, &end, &["*"], "k").await.status, 200);
    let unknown = format!("/v1/sessions/{}/end", uuid::Uuid::now_v7());
    assert_problem(&end_if(&user, &unknown, &["*"], "other").await, 404, "not_found");
    assert_problem(&end_if(&user, &unknown, &["\"1\""], "other").await, 404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_end_with_key_and_condition_gets_its_200_though_the_condition_fails_by_now() {
    let world = World::start().await;
    let user = world.tenant().await;
    let end = format!("/v1/sessions/{}/end", user.start_session().await);
    let first = end_if(&user, &end, &["\"1\""], "k").await;
    assert_eq!(first.status, 200);
    let again = end_if(&user, &end, &["\"1\""], "k").await;
    assert_eq!((again.status, &again.body, again.header("idempotency-replayed")), (200, &first.body, "true"));
    let another = end_if(&user, &end, &["\"1\""], "another").await;
    assert_problem(&another, 412, "version_mismatch");
    assert_eq!(another.body["current_version"], 2);
    assert_problem(&end_if(&user, &end, &["\"2\""], "another").await, 409, "session_ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_created_has_no_version_to_insist_on() {
    let world = World::start().await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    let before = head(&world, user.tenant).await;
    let message = json!({"role": "user", "content": "Hello"});
    for (path, body) in
        [("/v1/sessions", json!({"mode": "text"})), (&format!("/v1/sessions/{session}/messages"), message)]
    {
        for tag in ["\"1\"", "*"] {
            assert_problem(&user.post_with(path, &[("if-match", tag)], &body).await, 400, "invalid_header");
        }
    }
    assert_eq!(head(&world, user.tenant).await, before);
}
