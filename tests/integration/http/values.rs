//! What a client sends along comes back as it was: numbers digit by digit, keys in their order.

use std::collections::HashMap;

use reqwest::Method;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tests::World;

use super::{post_text, raw};

/// Members of an object or the rows of a list, unread.
fn members(text: &str) -> HashMap<String, Box<RawValue>> {
    serde_json::from_str(text).unwrap()
}

const METADATA: [&str; 5] = [
    r#"{"z":1.0,"a":12345678901234567890123,"m":[1e400,-0.0,0.10]}"#,
    r#"{"b":1,"a":2,"b":3}"#,
    r#"{ "spaced" :
  true }"#,
    r#"{"\u00e4\/":"\u20ac😀","nested":{"y":{"x":null}}}"#,
    "{}",
];

#[tokio::test(flavor = "multi_thread")]
async fn metadata_comes_back_byte_for_byte() {
    let world = World::start().await;
    let user = world.tenant().await;
    for metadata in METADATA {
        let started =
            raw(post_text(&user, "/v1/sessions", format!(r#"{{"mode":"text","metadata":{metadata}}}"#))).await;
        let id = started.reply().id();
        let message = format!(r#"{{"metadata":{metadata},"role":"system","content":"x"}}"#);
        let messages = format!("/v1/sessions/{id}/messages");
        let posted = raw(post_text(&user, &messages, message)).await.reply();
        assert_eq!(posted.status, 201, "{}", posted.body);
        let read = |path: String| {
            let request = user.request(Method::GET, &format!("{path}?min_seq={}", posted.seq()));
            async move { raw(request).await.text }
        };
        assert_eq!(members(&read(format!("/v1/sessions/{id}")).await)["metadata"].get(), metadata);
        for list in ["/v1/sessions".to_owned(), messages] {
            let page = members(&read(list).await);
            let rows: Vec<Box<RawValue>> = serde_json::from_str(page["data"].get()).unwrap();
            assert_eq!(members(rows[0].get())["metadata"].get(), metadata);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attachments_and_ids_come_back_as_they_were_and_what_was_not_sent_is_not_made_up() {
    let world = World::start().await;
    let user = world.tenant().await;
    let ids: [uuid::Uuid; 3] = [(); 3].map(|()| uuid::Uuid::now_v7());
    let started = json!({"mode": "meeting", "widget_id": ids[0], "meeting_id": ids[1], "personality_id": ids[2]});
    let session = user.post("/v1/sessions", &started).await.id();
    let attachments = json!([
        {"kind": "image", "url": "https://example.com/a?b=c&d=%00#e", "name": "ä\u{202e}\"'\\/.png",
         "media_type": "image/png", "size": 9_223_372_036_854_775_808_u64},
        {"kind": "", "url": "javascript:alert(1)", "size": 0},
        {"url": "u", "kind": "k", "size": u64::MAX},
    ]);
    let path = format!("/v1/sessions/{session}/messages");
    user.post(&path, &json!({"role": "assistant", "content": "1", "attachments": attachments})).await;
    let bare = json!({"role": "user", "content": "2", "id": null, "attachments": [], "metadata": null});
    let seq = user.post(&path, &bare).await.seq();
    let messages = user.messages(session, seq).await;
    assert_eq!(messages[0]["attachments"], attachments);
    assert_eq!((&messages[1]["attachments"], &messages[1]["metadata"]), (&json!([]), &Value::Null));
    assert_eq!(messages[1]["session_id"], json!(session));

    let read = user.get(&format!("/v1/sessions/{session}")).await.body;
    for (member, id) in ["widget_id", "meeting_id", "personality_id"].iter().zip(ids) {
        assert_eq!(read[member], json!(id));
    }
    assert_eq!((&read["mode"], &read["metadata"], &read["ended_at"]), (&json!("meeting"), &Value::Null, &Value::Null));
    for time in [&read["started_at"], &read["last_message_at"], &messages[0]["posted_at"]] {
        let time = time.as_str().unwrap();
        assert!(time.ends_with('Z') && chrono::DateTime::parse_from_rfc3339(time).is_ok(), "{time}");
    }
}
