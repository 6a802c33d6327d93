//! The main job: real conversations go in over HTTP and are read back, paged, and seen on NATS.

use std::collections::HashMap;

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tests::{World, conversations};

#[tokio::test(flavor = "multi_thread")]
async fn thirty_real_conversations_go_in_and_come_back() {
    let world = World::start().await;
    let password = world.nats_access.passwords[&bus::User::Viewer].clone();
    let client = async_nats::ConnectOptions::with_user_and_password("viewer".into(), password)
        .connect(&world.nats_access.url)
        .await
        .unwrap();
    // Before there is a tenant: its first events are published in no time.
    let mut seen = client.subscribe("events.>").await.unwrap();
    client.flush().await.unwrap();
    let user = world.tenant().await;

    let mut sessions = Vec::new();
    let mut last = 0;
    for conversation in conversations() {
        let metadata = json!({"question_id": conversation.question_id, "category": conversation.category});
        let started = user.post("/v1/sessions", &json!({"mode": "text", "metadata": metadata})).await;
        assert_eq!(started.status, 201, "{}", started.body);
        for (role, content) in &conversation.messages {
            let mut body = json!({"role": role, "content": content});
            if *role == "assistant" {
                body["metadata"] = json!({"model": conversation.model});
            }
            let posted = user.post(&format!("/v1/sessions/{}/messages", started.id()), &body).await;
            assert_eq!(posted.status, 201, "{}", posted.body);
            last = posted.seq();
        }
        sessions.push((started.id(), conversation));
    }
    // Three events founded the tenant; each conversation has a start and four messages.
    assert_eq!(last, 3 + 30 * 5);

    for (id, conversation) in &sessions {
        let session = user.get(&format!("/v1/sessions/{id}?min_seq={last}")).await;
        assert_eq!(session.body["message_count"], 4);
        assert_eq!(session.body["metadata"]["question_id"], conversation.question_id);
        assert!(session.header("convolog-seq").parse::<u64>().unwrap() >= last);
        let messages = user.all_pages(&format!("/v1/sessions/{id}/messages?limit=3")).await;
        let said: Vec<(&str, &str)> =
            messages.iter().map(|m| (m["role"].as_str().unwrap(), m["content"].as_str().unwrap())).collect();
        let asked: Vec<(&str, &str)> = conversation.messages.iter().map(|(r, c)| (*r, c.as_str())).collect();
        assert_eq!(said, asked);
    }
    let listed = user.all_pages("/v1/sessions?limit=7").await;
    let newest_first: Vec<String> = sessions.iter().rev().map(|(id, _)| id.to_string()).collect();
    assert_eq!(listed.iter().map(|s| s["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>(), newest_first);

    // The feed and NATS carry the same bytes in the same order.
    let feed: HashMap<String, Value> =
        user.events().await.into_iter().map(|e| (e["sequence"].as_str().unwrap().to_owned(), e)).collect();
    assert_eq!(feed.len(), 153);
    let mut expected = 1;
    while expected <= 153 {
        let message = tokio::time::timeout(std::time::Duration::from_secs(10), seen.next()).await.unwrap().unwrap();
        let event: Value = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(event["sequence"], format!("{expected:020}"));
        assert_eq!(event, feed[event["sequence"].as_str().unwrap()]);
        assert_eq!(message.headers.unwrap().get("Content-Type").unwrap().as_str(), "application/cloudevents+json");
        expected += 1;
    }
}
