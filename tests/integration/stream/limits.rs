//! Streams hold little: places are counted, and a client that does not read makes nobody else wait.

use api::stream::{MAX_STREAMS_OF_TENANT, READ_AHEAD, StreamFigures};
use domain::MAX_ENCODED_EVENT;
use tests::{User, World, WorldSettings, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::listener::{ask, listen, log_of};
use crate::http::assert_problem;

fn figures(world: &World) -> StreamFigures {
    world.nodes[0].app().unwrap().streams()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_so_many_streams_and_no_more() {
    let world = World::start().await;
    let (ada, eve) = (world.tenant().await, world.tenant().await);
    let mut listeners = Vec::new();
    for _ in 0..MAX_STREAMS_OF_TENANT {
        listeners.push(listen(&ada, "", 0).await);
    }
    let refused = ask(&ada, "", None).await.err().unwrap();
    assert_problem(&refused, 429, "rate_limited");
    assert_eq!(refused.header("retry-after"), "5");
    assert_eq!(listen(&eve, "", 0).await.events(2).await.len(), 2);
    listeners.pop();
    eventually("a place is free again", async || ask(&ada, "", None).await.is_ok()).await;
    let seq = ada.start_session().await;
    for listener in &mut listeners {
        assert!(listener.events(3).await[2].1.contains(&seq.to_string()));
    }
    drop(listeners);
    eventually("all places are free", async || figures(&world) == StreamFigures { open: 0, waiting_bytes: 0 }).await;
}

/// A connection that asks for a stream and has room for little.
async fn ask_and_do_not_read(world: &World, user: &User) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut connection = socket.connect(world.nodes[0].address().unwrap()).await.unwrap();
    let token = user.token.as_ref().unwrap();
    let request = format!("GET /v1/events/stream HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    connection
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_holds_little_memory_and_no_connection() {
    let settings = WorldSettings { relay: false, projector: false, api_connections: 1, ..Default::default() };
    let world = World::with(settings).await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    // Escaped in JSON each character has six bytes.
    let content = "\u{1}".repeat(80_000);
    for _ in 0..40 {
        assert_eq!(user.say(session, &content).await.status, 201);
    }
    let mut silent = Vec::new();
    for _ in 0..5 {
        silent.push(ask_and_do_not_read(&world, &user).await);
    }
    eventually("five streams are open", async || figures(&world).open == 5).await;
    // Of 20 MB each has read one page; the only connection is free for others.
    let most = 5 * (READ_AHEAD + MAX_ENCODED_EVENT);
    for _ in 0..20 {
        let waiting = figures(&world).waiting_bytes;
        assert!(waiting <= most, "{waiting} bytes wait");
        assert_eq!(user.say(session, "still here").await.status, 201);
    }
    // Meanwhile somebody who reads gets everything.
    let log = log_of(&user, "").await;
    assert!(listen(&user, "", 0).await.events(log.len()).await == log);
    // And so does who begins to read late.
    let mut late = silent.pop().unwrap();
    let mut text = Vec::new();
    let last = format!("\"sequence\":\"{:020}\"", log.len());
    while !text.windows(last.len()).any(|part| part == last.as_bytes()) {
        let from = text.len().saturating_sub(last.len());
        text.drain(..from);
        assert!(late.read_buf(&mut text).await.unwrap() > 0, "the stream has ended");
    }
    drop((late, silent));
    eventually("all places are free", async || figures(&world) == StreamFigures { open: 0, waiting_bytes: 0 }).await;
}
