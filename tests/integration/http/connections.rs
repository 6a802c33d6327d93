//! What a connection may take: heads of bounded size that arrive in time, and a bounded number of connections.

use std::time::Duration;

use api::ServerSettings;
use tests::{World, WorldSettings, eventually};

use super::head as log_head;
use super::socket::{Socket, head};

fn with(server: ServerSettings) -> WorldSettings {
    WorldSettings { server, ..WorldSettings::default() }
}

/// Short times, so that a test sees them pass.
fn impatient() -> WorldSettings {
    let (head_timeout, idle_timeout) = (Duration::from_millis(400), Duration::from_millis(800));
    with(ServerSettings { head_timeout, idle_timeout, ..ServerSettings::default() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_arrive_is_answered_408_and_a_silent_connection_is_closed() {
    let world = World::with(impatient()).await;
    let user = world.tenant().await;
    // Slowly: each piece in time, the head as a whole not.
    let mut slow = Socket::open(&world).await;
    let drip = async {
        for piece in head(&user, "GET", "/v1/sessions", &"x-slow: 1\r\n".repeat(10)).as_bytes().chunks(10) {
            slow.send(piece).await;
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    };
    drip.await;
    let answer = slow.answer().await.unwrap();
    assert_eq!((answer.status, answer.code()), (408, "request_timeout".into()));
    assert!(answer.closes() && slow.is_closed().await);

    let mut silent = Socket::open(&world).await;
    assert!(silent.is_closed().await);

    let mut idle = Socket::open(&world).await;
    idle.send(head(&user, "GET", "/v1/sessions", "")).await;
    assert_eq!(idle.answer().await.unwrap().status, 200);
    assert!(idle.is_closed().await, "an idle connection is closed without a word");
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_are_limited_in_number_and_bytes_of_headers_and_in_the_length_of_the_target() {
    let world = World::start().await;
    let user = world.tenant().await;
    let header = |name: usize, bytes: usize| format!("x-{name}: {}\r\n", "v".repeat(bytes));
    let many = |count: usize| (0..count).map(|n| header(n, 1)).collect::<String>();
    let target = |bytes: usize| format!("/v1/sessions?cursor={}", "c".repeat(bytes));
    for (target, headers, status, code) in [
        ("/v1/sessions".into(), many(60), 200, ""),
        ("/v1/sessions".into(), many(65), 431, "headers_too_large"),
        ("/v1/sessions".into(), header(1, 15_000), 200, ""),
        ("/v1/sessions".into(), header(1, 16 * 1024), 431, "headers_too_large"),
        (target(8000), String::new(), 400, "cursor_mismatch"),
        (target(8 * 1024), String::new(), 414, "uri_too_long"),
    ] {
        let mut socket = Socket::open(&world).await;
        socket.send(head(&user, "GET", &target, &headers)).await;
        let answer = socket.answer().await.unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.body);
    }
    // Beyond what is read at all there is a bare status, and the connection ends.
    for (target, headers, status) in [
        ("/v1/sessions".into(), many(101), 431),
        ("/v1/sessions".into(), header(1, 1_000_000), 431),
        (target(1_000_000), String::new(), 431),
    ] {
        let mut socket = Socket::open(&world).await;
        socket.send(head(&user, "GET", &target, &headers)).await;
        let answer = socket.answer().await.unwrap();
        assert!(answer.status == status && answer.closes(), "{answer:?}");
        assert!(socket.is_closed().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_limit_connections_are_refused_but_health_answers() {
    let world = World::with(with(ServerSettings { max_connections: 3, ..ServerSettings::default() })).await;
    let user = world.tenant().await;
    let before = log_head(&world, user.tenant).await;
    let ask = head(&user, "POST", "/v1/sessions", "content-length: 15\r\n") + r#"{"mode":"text"}"#;
    let mut held = Vec::new();
    let mut refused = Socket::open(&world).await;
    // The tenant's own client may hold one of the three.
    loop {
        refused.send(&ask).await;
        let answer = refused.answer().await.unwrap();
        if answer.status == 201 {
            held.push(std::mem::replace(&mut refused, Socket::open(&world).await));
            assert!(held.len() <= 3, "there is no limit");
            continue;
        }
        assert_eq!((answer.status, answer.code().as_str(), answer.header("retry-after")), (503, "overloaded", "1"));
        assert!(answer.closes() && refused.is_closed().await);
        break;
    }
    assert!(held.len() >= 2, "{}", held.len());
    for path in ["/health/live", "/health/ready"] {
        let mut health = Socket::open(&world).await;
        health.send(head(&user, "GET", path, "")).await;
        let answer = health.answer().await.unwrap();
        assert!(answer.status == 200 && answer.closes() && health.is_closed().await, "{answer:?}");
    }
    // Who is connected goes on; who leaves makes room.
    let accepted = held.len();
    held[0].send(&ask).await;
    assert_eq!(held[0].answer().await.unwrap().status, 201);
    held.pop();
    eventually("there is room again", async || {
        let mut again = Socket::open(&world).await;
        again.send(&ask).await;
        again.answer().await.unwrap().status == 201
    })
    .await;
    assert_eq!(log_head(&world, user.tenant).await, before + u64::try_from(accepted).unwrap() + 2);
}
