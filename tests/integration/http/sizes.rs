//! Limits of a message: what is just allowed comes back whole, one more is refused and leaves no trace.

use serde_json::{Value, json};
use tests::{Reply, User, World};
use uuid::Uuid;

use super::{assert_problem, head, pointers, post_text, raw};

async fn post(user: &User, session: Uuid, content: &str, more: Value) -> Reply {
    let mut body = json!({"role": "user", "content": content});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    user.post(&format!("/v1/sessions/{session}/messages"), &body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn content_is_limited_in_bytes_of_utf_8() {
    let world = World::start().await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    let allowed = ["x".repeat(256 * 1024), "ä".repeat(128 * 1024), "😀".repeat(64 * 1024), String::new()];
    for content in &allowed {
        assert_eq!(post(&user, session, content, json!({})).await.status, 201);
    }
    let before = head(&world, user.tenant).await;
    for content in allowed.iter().filter(|content| !content.is_empty()) {
        let reply = post(&user, session, &format!("{content}x"), json!({})).await;
        assert_problem(&reply, 422, "validation_failed");
        assert_eq!((pointers(&reply), &reply.body["errors"][0]["code"]), (vec!["/content".into()], &json!("too_long")));
    }
    assert_eq!(head(&world, user.tenant).await, before);
    let messages = user.messages(session, before).await;
    assert!(messages.iter().map(|message| message["content"].as_str().unwrap()).eq(&allowed));
}

#[tokio::test(flavor = "multi_thread")]
async fn attachments_and_metadata_are_limited() {
    let world = World::start().await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    let attachments = |count: usize| json!({"attachments": vec![json!({"kind": "file", "url": "https://x/y"}); count]});
    // Braces, quotes, colon and name of the one member take eight bytes.
    let metadata = |bytes: usize| format!(r#"{{"a":"{}"}}"#, "m".repeat(bytes - 8));
    let with_metadata = async |path: &str, start: &str, bytes: usize| {
        raw(post_text(&user, path, format!(r#"{{{start},"metadata":{}}}"#, metadata(bytes)))).await.reply()
    };
    let messages = format!("/v1/sessions/{session}/messages");
    let commands = [("/v1/sessions", r#""mode":"text""#), (&messages, r#""role":"user","content":"""#)];

    assert_eq!(post(&user, session, "", attachments(20)).await.status, 201);
    for (path, start) in commands {
        assert_eq!(with_metadata(path, start, 16 * 1024).await.status, 201);
    }
    let before = head(&world, user.tenant).await;
    let reply = post(&user, session, "", attachments(21)).await;
    assert_problem(&reply, 422, "validation_failed");
    assert_eq!(pointers(&reply), ["/attachments"]);
    for (path, start) in commands {
        let reply = with_metadata(path, start, 16 * 1024 + 1).await;
        assert_problem(&reply, 422, "validation_failed");
        assert_eq!(pointers(&reply), ["/metadata"]);
    }
    assert_eq!(head(&world, user.tenant).await, before);
    let listed = user.messages(session, before).await;
    assert_eq!(listed[0]["attachments"].as_array().unwrap().len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_be_too_large_as_an_event_is_refused_and_what_is_just_not_goes_all_the_way() {
    let world = World::start().await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    let before = head(&world, user.tenant).await;
    // A control character is one byte of content and six of JSON.
    let control = |bytes: usize| "\u{1}".repeat(bytes);
    let url = "u".repeat(600 * 1024);
    for (content, more) in [
        (control(100 * 1024), json!({})),
        (control(88_000), json!({})),
        (String::new(), json!({"attachments": [{"kind": "file", "url": url}]})),
    ] {
        for key in [None, Some("k")] {
            let mut body = json!({"role": "user", "content": content, "id": Uuid::now_v7()});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let headers: Vec<(&str, &str)> = key.iter().map(|key| ("idempotency-key", *key)).collect();
            let reply = user.post_with(&format!("/v1/sessions/{session}/messages"), &headers, &body).await;
            assert_problem(&reply, 422, "event_too_large");
        }
    }
    assert_eq!(head(&world, user.tenant).await, before);
    let leftovers: i64 = sqlx::query_scalar(
        "select (select count(*) from idempotency_keys) + (select count(*) from claims where claim like 'message/%')",
    )
    .fetch_one(&world.database.admin)
    .await
    .unwrap();
    assert_eq!(leftovers, 0);

    let largest = control(86_900);
    let seq = post(&user, session, &largest, json!({})).await.seq();
    assert_eq!(user.messages(session, seq).await[0]["content"], largest);
    world.drain_relay().await;
}
