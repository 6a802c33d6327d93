//! What is refused before it is read: other media types, compressed bodies, bodies that are too large.

use axum::body::Body;
use axum::http::Request;
use futures_util::stream;
use reqwest::Method;
use serde_json::Value;
use tests::{User, World};
use tower::ServiceExt as _;
use uuid::Uuid;

use super::socket::Socket;
use super::{assert_problem, head, post_text, raw, routes};

const MIB: usize = 1024 * 1024;

/// A body of this many bytes that would be a fine command.
fn padded(bytes: usize) -> String {
    let command = r#"{"mode":"text"}"#;
    format!("{command}{}", " ".repeat(bytes - command.len()))
}

#[tokio::test(flavor = "multi_thread")]
async fn only_json_in_utf_8_is_read() {
    let world = World::start().await;
    let user = world.tenant().await;
    let before = head(&world, user.tenant).await;
    let post = |headers: &[(&'static str, &'static str)]| {
        let request = user.request(Method::POST, "/v1/sessions").body(r#"{"mode":"text"}"#);
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
    };
    for headers in [
        &[][..],
        &[("content-type", "text/plain")],
        &[("content-type", "application/x-www-form-urlencoded")],
        &[("content-type", "application/jsonp")],
        &[("content-type", "application/json; charset=latin1")],
        &[("content-type", "application/json"), ("content-type", "application/json")],
        &[("content-type", "application/json"), ("content-encoding", "gzip")],
        &[("content-type", "")],
    ] {
        assert_problem(&raw(post(headers)).await.reply(), 415, "unsupported_media_type");
    }
    assert_eq!(head(&world, user.tenant).await, before);
    for good in ["application/json", "Application/JSON;charset=UTF-8", "application/json; charset=\"utf-8\""] {
        assert_eq!(raw(post(&[("content-type", good)])).await.status, 201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_one_mebibyte_is_read_and_one_byte_more_is_not() {
    let world = World::start().await;
    let user = world.tenant().await;
    assert_eq!(raw(post_text(&user, "/v1/sessions", padded(MIB))).await.status, 201);
    let before = head(&world, user.tenant).await;
    // In chunks nobody knows how long it will be: it is refused as soon as it is too long.
    assert_eq!(in_chunks(&world, &user, "/v1/sessions", padded(MIB).into_bytes()).await, (201, Value::Null));
    for path in commands() {
        for body in [padded(MIB + 1).into_bytes(), vec![b' '; 20 * MIB]] {
            assert_eq!(in_chunks(&world, &user, &path, body).await, (413, "body_too_large".into()), "{path}");
        }
    }
    assert_eq!(head(&world, user.tenant).await, before + 1);
}

/// The paths of all commands.
fn commands() -> Vec<String> {
    let routes = routes::all().into_iter().filter(|route| route.methods.contains(&Method::POST));
    routes.map(|route| route.with(&Uuid::nil().to_string())).collect()
}

/// Past the socket, so that nothing but the service decides when to stop reading.
async fn in_chunks(world: &World, user: &User, path: &str, body: Vec<u8>) -> (u16, Value) {
    let chunks: Vec<Result<Vec<u8>, std::io::Error>> = body.chunks(64 * 1024).map(|chunk| Ok(chunk.to_vec())).collect();
    let request = Request::post(path)
        .header("authorization", format!("Bearer {}", user.token.as_ref().unwrap()))
        .header("content-type", "application/json")
        .body(Body::from_stream(stream::iter(chunks)))
        .unwrap();
    let response = api::router(world.nodes[0].app().unwrap().clone()).oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body: Value = serde_json::from_slice(&axum::body::to_bytes(response.into_body(), MIB).await.unwrap()).unwrap();
    (status, body["code"].clone())
}

/// Writes to the node's socket and reads one answer's head and, as far as it has come, body.
async fn over_a_socket(world: &World, user: &User, path: &str, headers: &str, body: &[u8]) -> String {
    let mut socket = Socket::open(world).await;
    let token = user.token.as_ref().unwrap();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nconnection: close\r\n{headers}\r\n\r\n"
    );
    socket.send(request).await;
    socket.send(body).await;
    String::from_utf8(socket.rest().await).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_announces_to_be_too_large_is_refused_before_it_is_sent() {
    let world = World::start().await;
    let user = world.tenant().await;
    let before = head(&world, user.tenant).await;
    let json = "content-type: application/json\r\n";
    for (path, length) in commands().iter().flat_map(|path| [(path, MIB + 1), (path, 1 << 40)]) {
        let answer = over_a_socket(&world, &user, path, &format!("{json}content-length: {length}"), b"").await;
        assert!(
            answer.starts_with("HTTP/1.1 413 ") && answer.contains(r#""code":"body_too_large""#),
            "{path} {answer}"
        );
    }
    let chunked = b"5\r\n{\"mod\r\na\r\ne\":\"text\"}\r\n0\r\n\r\n";
    let answer =
        over_a_socket(&world, &user, "/v1/sessions", &format!("{json}transfer-encoding: chunked"), chunked).await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    // What could be read in two ways is not read at all.
    for smuggled in
        ["content-length: 5\r\ncontent-length: 6", "content-length: -1", "content-length: 5\r\ntransfer-encoding: x"]
    {
        let answer = over_a_socket(&world, &user, "/v1/sessions", &format!("{json}{smuggled}"), b"").await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{smuggled}: {answer}");
    }
    assert_eq!(head(&world, user.tenant).await, before + 1);
}
