//! Headers made to break something, at every command that is recorded.

use reqwest::Method;
use reqwest::header::HeaderValue;

use super::{Stage, assert_problem, raw, routes};

#[tokio::test]
async fn a_malformed_header_stops_every_command() {
    let stage = Stage::set().await;
    let before = stage.head().await;
    let long = "k".repeat(201);
    let values: [(&str, &[u8]); 11] = [
        ("if-match", b"7"),
        ("if-match", b""),
        ("if-match", b"\"7\", \"8\""),
        ("if-match", b"\"7\", *"),
        ("if-match", b"\"\xff"),
        ("idempotency-key", b""),
        ("idempotency-key", b"a\tb"),
        ("idempotency-key", b"\xff"),
        ("idempotency-key", "schlüssel".as_bytes()),
        ("idempotency-key", long.as_bytes()),
        ("idempotency-key", b"\xd9\xa3"),
    ];
    for route in routes::all().iter().filter(|route| route.takes_keys()) {
        for method in route.methods.iter().filter(|method| **method != Method::GET) {
            for (name, value) in values {
                let request = stage.user.request(method.clone(), &route.with(&stage.session.to_string()));
                let request = request.json(&route.body()).header(name, HeaderValue::from_bytes(value).unwrap());
                assert_problem(&raw(request).await.reply(), 400, "invalid_header");
            }
        }
    }
    stage.ends_at(before).await;
}
