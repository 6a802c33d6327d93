//! Streams hold little: places are counted, and a client that does not read makes nobody else wait.

use std::time::Duration;

use api::ServerSettings;
use api::stream::{MAX_STREAMS_OF_TENANT, READ_AHEAD, StreamFigures};
use domain::MAX_ENCODED_EVENT;
use tests::{User, World, WorldSettings, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use uuid::Uuid;

use super::listener::{PATIENCE, ask, listen, log_of};
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
        assert!(listener.events(4).await[3].1.contains(&seq.to_string()));
    }
    drop(listeners);
    eventually("all places are free", async || figures(&world) == StreamFigures { open: 0, waiting_bytes: 0 }).await;
}

/// Says so many things of half a megabyte each.
async fn say_much(user: &User, number: usize) -> Uuid {
    let session = user.start_session().await;
    // Escaped in JSON each character has six bytes.
    let content = "\u{1}".repeat(80_000);
    for _ in 0..number {
        assert_eq!(user.say(session, &content).await.status, 201);
    }
    session
}

/// Reads on until this has come.
async fn read_to(connection: &mut TcpStream, last: &str) {
    let mut text = Vec::new();
    while !text.windows(last.len()).any(|part| part == last.as_bytes()) {
        let from = text.len().saturating_sub(last.len());
        text.drain(..from);
        let read = tokio::time::timeout(PATIENCE, connection.read_buf(&mut text)).await.expect("nothing comes");
        assert!(read.unwrap() > 0, "the stream has ended");
    }
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
    let session = say_much(&user, 20).await;
    let mut silent = Vec::new();
    for _ in 0..5 {
        silent.push(ask_and_do_not_read(&world, &user).await);
    }
    eventually("five streams are open", async || figures(&world).open == 5).await;
    // Of 10 MB each has read one page; the only connection is free for others.
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
    read_to(&mut late, &format!("\"sequence\":\"{:020}\"", log.len())).await;
    drop((late, silent));
    eventually("all places are free", async || figures(&world) == StreamFigures { open: 0, waiting_bytes: 0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_for_too_long_is_cut_and_one_that_has_nothing_to_read_is_not() {
    let server = ServerSettings { stall_timeout: Duration::from_millis(500), ..ServerSettings::default() };
    let settings = WorldSettings { relay: false, projector: false, server, ..Default::default() };
    let world = World::with(settings).await;
    let user = world.tenant().await;
    let session = say_much(&user, 14).await;
    let head = 4 + 14;
    let mut calm = listen(&user, "", head).await;
    let mut silent = ask_and_do_not_read(&world, &user).await;
    read_to(&mut silent, "\r\n\r\n").await;
    eventually("its place is free", async || figures(&world).open == 1).await;
    assert_eq!(figures(&world).waiting_bytes, 0);
    // What the kernel still had, and no more.
    let mut rest = 0;
    let reading = async {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = silent.read(&mut bytes).await {
            rest += read;
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("its connection is open");
    assert!(rest < 14 * 480_000, "it was told everything");
    let seq = user.say(session, "to whoever is still here").await.seq();
    assert_eq!((seq, calm.event().await.unwrap().0), (head + 1, head + 1));
}
