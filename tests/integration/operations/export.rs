//! Spans of requests reach a collector, and one that is away is nobody's trouble.

use std::sync::Arc;
use std::time::Duration;

use api::Operations;
use convolog::otlp::Export;
use serde_json::json;
use tests::{World, WorldSettings, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Mutex;

const TRACE: [u8; 16] =
    [0x0a, 0xf7, 0x65, 0x19, 0x16, 0xcd, 0x43, 0xdd, 0x84, 0x48, 0xeb, 0x21, 0x1c, 0x80, 0x31, 0x9c];
const UNRECORDED: [u8; 16] = [0x77; 16];
const CALLER: [u8; 8] = [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31];

/// A collector that keeps what it is sent.
async fn collector() -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let received = Arc::new(Mutex::new(Vec::new()));
    let sink = received.clone();
    store::spawn("collector", async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let sink = sink.clone();
            store::spawn("collected", async move {
                let mut buffer = [0; 8192];
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    sink.lock().await.extend_from_slice(&buffer[..read]);
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                }
            });
        }
    });
    (endpoint, received)
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

async fn exporting(export: &Export) -> World {
    let operations = Operations { on_answer: Some(export.on_answer()), ..Operations::default() };
    World::with(WorldSettings { operations, ..WorldSettings::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_a_span_of_every_request_in_the_callers_trace() {
    let (endpoint, received) = collector().await;
    let export = Export::to(&endpoint).unwrap();
    let world = exporting(&export).await;
    let user = world.tenant().await;
    let start = async |traceparent: &str| {
        let reply = user.post_with("/v1/sessions", &[("traceparent", traceparent)], &json!({"mode": "text"})).await;
        assert_eq!(reply.status, 201);
        reply.header("x-request-id").to_owned()
    };
    start("00-77777777777777777777777777777777-b7ad6b7169203331-00").await;
    let request = start("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").await;
    tokio::task::spawn_blocking(move || export.end()).await.unwrap();
    let all = [&TRACE[..], &CALLER, b"POST /v1/sessions", b"http.route", request.as_bytes()];
    eventually("the span arrives", || async {
        let bytes = received.lock().await;
        all.iter().all(|part| has(&bytes, part))
    })
    .await;
    let bytes = received.lock().await;
    assert!(has(&bytes, b"POST /v1/auth/register"), "requests without a trace of their caller's are told too");
    assert!(!has(&bytes, &UNRECORDED), "the caller does not record its trace");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_collector_requests_are_answered_and_the_end_is_not_kept_waiting() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let export = Export::to(&format!("http://{}", silent.local_addr().unwrap())).unwrap();
    let world = exporting(&export).await;
    let user = world.tenant().await;
    user.start_session().await;
    let end = tokio::task::spawn_blocking(move || export.end());
    tokio::time::timeout(Duration::from_secs(30), end).await.unwrap().unwrap();
}

#[test]
fn only_a_collector_nearby_is_taken() {
    for endpoint in ["https://collector.example", "localhost:4318", "http://", "http://a b"] {
        assert!(Export::to(endpoint).is_err(), "{endpoint}");
    }
}
