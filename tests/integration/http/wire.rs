//! Bytes that no client would send: refused with a 4xx or a closed connection, never a fault of ours, never a trace.

use reqwest::Method;
use tests::World;
use uuid::Uuid;

use super::head as log_head;
use super::routes;
use super::socket::{Answer, Socket, head};

/// All answers of a connection, `expected` of them before the client ends it: who ends it sooner is taken for gone.
async fn all(world: &World, bytes: impl AsRef<[u8]>, expected: usize) -> Vec<Answer> {
    let mut socket = Socket::open(world).await;
    socket.send(bytes).await;
    let mut answers = Vec::new();
    for _ in 0..expected {
        answers.extend(socket.answer().await);
    }
    socket.end().await;
    while let Some(answer) = socket.answer().await {
        answers.push(answer);
    }
    answers
}

fn statuses(answers: &[Answer]) -> Vec<u16> {
    answers.iter().map(|answer| answer.status).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http_1_is_refused_at_every_endpoint() {
    let world = World::start().await;
    let user = world.tenant().await;
    let before = log_head(&world, user.tenant).await;
    let mut hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
    hello.extend([7; 500]);
    assert_eq!(statuses(&all(&world, hello, 1).await), [400], "TLS");
    assert!(all(&world, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 1).await.is_empty(), "HTTP/2");
    for route in routes::all() {
        let path = route.with(&Uuid::nil().to_string());
        for method in &route.methods {
            for (request, expected) in [
                (format!("{method} {path}\r\n\r\n"), 400),
                (format!("{method} {path} HTTP/3.0\r\nhost: x\r\n\r\n"), 400),
                (format!("{method} {path} HTTP/1.1\r\n\r\n"), 400),
                (format!("{method} {path} HTTP/1.1\r\nhost:\r\n\r\n"), 400),
                (format!("{method} {path} HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"), 400),
                (format!("{method} {path} HTTP/1.1\r\nhost: a\r\nx y: 1\r\n\r\n"), 400),
                (format!("{method} {path} HTTP/1.1\r\nhost: a\r\n folded\r\n\r\n"), 400),
                (format!("{method} {path} HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n"), 400),
                (format!("{method}  {path} HTTP/1.1\r\nhost: a\r\n\r\n"), 400),
                (format!("{method} {path} {path} HTTP/1.1\r\nhost: a\r\n\r\n"), 400),
                (format!("{method} {path}#\0 HTTP/1.1\r\nhost: a\r\n\r\n"), 400),
            ] {
                assert_eq!(statuses(&all(&world, &request, 1).await), [expected], "{request:?}");
            }
        }
    }
    assert_eq!(log_head(&world, user.tenant).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_has_one_length_and_nothing_behind_it_is_taken_for_a_request() {
    let world = World::start().await;
    let user = world.tenant().await;
    let before = log_head(&world, user.tenant).await;
    let hidden = head(&user, "POST", "/v1/sessions", "content-length: 15\r\n") + r#"{"mode":"text"}"#;
    for route in routes::all() {
        let path = route.with(&Uuid::nil().to_string());
        for method in route.methods.iter().filter(|method| **method != Method::GET) {
            for (framing, body) in [
                ("content-length: 1\r\ncontent-length: 2\r\n", "{}".to_owned()),
                ("content-length: 1, 2\r\n", "{}".into()),
                ("content-length: -1\r\n", "{}".into()),
                ("content-length: +2\r\n", "{}".into()),
                ("content-length: 18446744073709551616\r\n", "{}".into()),
                ("transfer-encoding: gzip\r\n", "{}".into()),
                ("transfer-encoding: chunked, identity\r\n", "0\r\n\r\n".into()),
                ("transfer-encoding: chunked\r\ncontent-length: 5\r\n", format!("0\r\n\r\n{hidden}")),
                ("content-length: 5\r\ntransfer-encoding: chunked\r\n", format!("0\r\n\r\n{hidden}")),
                ("transfer-encoding: chunked\r\n", "zz\r\n{}\r\n0\r\n\r\n".into()),
                ("transfer-encoding: chunked\r\n", "ffffffffffffffffff\r\n{}\r\n0\r\n\r\n".into()),
            ] {
                // Broken, so that none of them is a command, whoever reads it.
                let nobody = super::nobody(&user);
                let answers = all(&world, head(&nobody, method.as_str(), &path, framing) + &body, 1).await;
                let one = matches!(answers.as_slice(), [answer] if (400..500).contains(&answer.status));
                assert!(one || answers.is_empty(), "{method} {path} {framing}: {answers:?}");
            }
        }
    }
    assert_eq!(log_head(&world, user.tenant).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_is_no_command() {
    let world = World::start().await;
    let user = world.tenant().await;
    let before = log_head(&world, user.tenant).await;
    for (framing, body) in [
        ("content-length: 16\r\n", r#"{"mode":"text"}"#),
        ("transfer-encoding: chunked\r\n", "f\r\n{\"mode\":\"text\"}\r\n"),
        ("transfer-encoding: chunked\r\n", "10\r\n{\"mode\":\"text\"}"),
    ] {
        let answers = all(&world, head(&user, "POST", "/v1/sessions", framing) + body, 0).await;
        assert!(answers.iter().all(|answer| (400..500).contains(&answer.status)), "{framing}: {answers:?}");
    }
    assert_eq!(log_head(&world, user.tenant).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_a_row_are_answered_in_their_order() {
    let world = World::start().await;
    let user = world.tenant().await;
    let read = |path: &str| head(&user, "GET", path, "");
    let pipeline = read("/v1/sessions") + &read("/nowhere") + &read("/health/live") + &read("/v1/sessions?limit=0");
    assert_eq!(statuses(&all(&world, pipeline, 4).await), [200, 404, 200, 422]);
    // After what is not HTTP nothing is read any more.
    let broken = read("/v1/sessions") + "garbage\r\n\r\n" + &read("/v1/sessions");
    assert_eq!(statuses(&all(&world, broken, 2).await), [200, 400]);
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_but_lawful_requests_mean_what_they_say_and_no_more() {
    let world = World::start().await;
    let user = world.tenant().await;
    let before = log_head(&world, user.tenant).await;
    for (method, target, headers, status) in [
        ("GET", "http://elsewhere.example/v1/sessions", "", 200),
        ("GET", "/v1/sessions", "range: bytes=0-1\r\n", 200),
        ("GET", "/v1/sessions", "x-http-method-override: POST\r\nx-original-url: /v1/auth/me\r\n", 200),
        ("GET", "/v1/sessions", "authorization: Bearer x\r\n", 401),
        ("GET", "/v1/sessions", "cookie: token=x\r\nx-forwarded-host: y\r\n", 200),
        ("GET", "/v1/../v1/sessions", "", 404),
        ("GET", "/v1/%2e%2e/v1/sessions", "", 404),
        ("GET", "//v1/sessions", "", 404),
        ("GET", "/v1/sessions/%2e%2e/%2e%2e/etc/passwd", "", 404),
        ("GET", "/v1/sessions?%zz=%", "", 422),
        ("GET", "/v1/sessions?&&&=&=", "", 422),
        ("OPTIONS", "*", "", 404),
        ("CONNECT", "elsewhere.example:443", "", 404),
        ("TRACE", "/v1/sessions", "", 405),
        ("BREW", "/v1/sessions", "", 405),
        ("GET", "/v1/sessions", "upgrade: websocket\r\nconnection: upgrade\r\n", 200),
    ] {
        let mut socket = Socket::open(&world).await;
        socket.send(head(&user, method, target, headers)).await;
        let answer = socket.answer().await.unwrap();
        assert_eq!(answer.status, status, "{method} {target} {headers}: {answer:?}");
    }
    assert_eq!(log_head(&world, user.tenant).await, before);
    assert_eq!(world.database.logged_errors().await, [] as [String; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_with_any_one_byte_changed_is_no_token_at_any_endpoint() {
    let world = World::start().await;
    let user = world.tenant().await;
    let before = log_head(&world, user.tenant).await;
    let token = user.token.clone().unwrap();
    let mut socket = Socket::open(&world).await;
    let closed = routes::all().into_iter().filter(|route| !route.is_open());
    let closed: Vec<_> =
        closed.flat_map(|route| route.methods.clone().into_iter().map(move |it| (route.clone(), it))).collect();
    // Each byte at some endpoint, and each endpoint with bytes of every part.
    for (at, (route, method)) in (0..token.len()).zip(closed.iter().cycle()) {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let mut other = user.clone();
        other.token = Some(String::from_utf8(bytes).unwrap());
        socket.send(head(&other, method.as_str(), &route.with(&Uuid::nil().to_string()), "")).await;
        let answer = socket.answer().await.unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (401, "unauthorized"), "byte {at} at {}", route.path);
    }
    assert_eq!(log_head(&world, user.tenant).await, before);
    socket.send(head(&user, "GET", "/v1/auth/me", "")).await;
    assert_eq!(socket.answer().await.unwrap().status, 200);
}
