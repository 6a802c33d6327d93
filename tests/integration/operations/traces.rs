//! Which trace an event belongs to: the caller's, taken over when it is valid, and passed on with the event.

use futures_util::StreamExt as _;
use serde_json::json;
use tests::{Reply, User, World};

use crate::faults::outside::client;

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

async fn say(user: &User, session: uuid::Uuid, traceparent: &str) -> Reply {
    let path = format!("/v1/sessions/{session}/messages");
    user.post_with(&path, &[("traceparent", traceparent)], &json!({"role": "user", "content": "Hello"})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_trace_goes_with_the_events_and_a_malformed_one_does_not() {
    let world = World::start().await;
    let nats = client(&world, bus::User::Viewer).await;
    let mut published = nats.subscribe("events.>").await.unwrap();
    nats.flush().await.unwrap();
    let user = world.tenant().await;
    let session = user.start_session().await;
    assert_eq!(say(&user, session, TRACEPARENT).await.status, 201);
    let malformed = [
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "not a trace",
    ];
    for header in malformed {
        assert_eq!(say(&user, session, header).await.status, 201, "never an error: {header}");
    }

    let events = user.events().await;
    let traced: Vec<Option<&str>> = events.iter().map(|event| event["traceparent"].as_str()).collect();
    assert_eq!(traced, [None, None, None, None, Some(TRACEPARENT), None, None, None]);
    for event in &events {
        let message =
            tokio::time::timeout(std::time::Duration::from_secs(20), published.next()).await.unwrap().unwrap();
        let header = message.headers.as_ref().unwrap().get("traceparent").map(|value| value.as_str());
        assert_eq!(header, event["traceparent"].as_str(), "{event}");
    }
}
