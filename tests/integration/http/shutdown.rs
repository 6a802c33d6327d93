//! The end of a node: what is under way is finished, nobody holds it up, and what was taken on is stored.

use std::time::Duration;

use api::ServerSettings;
use tests::{User, World, WorldSettings, eventually};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::head as log_head;
use super::socket::{Socket, head};
use super::stalled::{hold_head, patient};
use super::until_wait_for_locks;

const BODY: &str = r#"{"role":"user","content":"x"}"#;

/// A node whose only limit is the grace of its shutdown.
async fn start(shutdown_grace: Duration) -> (World, User, Uuid) {
    let long = Duration::from_secs(600);
    let server = ServerSettings {
        head_timeout: long,
        idle_timeout: long,
        stall_timeout: long,
        request_timeout: long,
        shutdown_grace,
        ..ServerSettings::default()
    };
    patient(WorldSettings { server, ..WorldSettings::default() }).await
}

/// A command that is under way because the tenant's head is held.
async fn post(world: &World, user: &User, session: Uuid) -> Socket {
    let mut socket = Socket::open(world).await;
    let length = format!("content-length: {}\r\n", BODY.len());
    socket.send(head(user, "POST", &format!("/v1/sessions/{session}/messages"), &length) + BODY).await;
    until_wait_for_locks(world, 1).await;
    socket
}

/// Begins to stop the node; comes back when it takes no more connections.
async fn stop(world: &mut World) -> JoinHandle<anyhow::Result<()>> {
    let node = world.nodes.pop().unwrap();
    let address = node.address().unwrap();
    let stopping = tokio::spawn(node.stop());
    eventually("nobody is let in", async || TcpStream::connect(address).await.is_err()).await;
    stopping
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_under_way_is_finished_and_its_connection_told_to_close() {
    let (mut world, user, session) = start(Duration::from_secs(60)).await;
    let before = log_head(&world, user.tenant).await;
    let mut idle = Socket::open(&world).await;
    idle.send(head(&user, "GET", "/health/live", "")).await;
    assert_eq!(idle.answer().await.unwrap().status, 200);
    let lock = hold_head(&world, &user).await;
    let mut busy = post(&world, &user, session).await;
    let stopping = stop(&mut world).await;
    assert!(idle.is_closed().await);
    assert!(!stopping.is_finished());
    lock.rollback().await.unwrap();
    let answer = busy.answer().await.unwrap();
    assert!(answer.status == 201 && answer.closes() && busy.is_closed().await, "{answer:?}");
    stopping.await.unwrap().unwrap();
    assert_eq!(log_head(&world, user.tenant).await, before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_holds_up_the_end_by_being_slow() {
    let (mut world, user, session) = start(Duration::from_millis(300)).await;
    let silent = Socket::open(&world).await;
    let (mut half_a_head, mut half_a_body) = (Socket::open(&world).await, Socket::open(&world).await);
    half_a_head.send("GET /v1/sessions HTTP/1.1\r\nhost").await;
    let path = format!("/v1/sessions/{session}/messages");
    half_a_body.send(head(&user, "POST", &path, "content-length: 1000\r\nexpect: 100-continue\r\n") + "{").await;
    assert_eq!(half_a_body.answer().await.unwrap().status, 100, "the body is being waited for");
    let stopping = stop(&mut world).await;
    tokio::time::timeout(Duration::from_secs(30), stopping).await.expect("held up").unwrap().unwrap();
    drop((silent, half_a_head, half_a_body));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_on_is_stored_before_the_end_though_its_client_was_cut_off() {
    let (mut world, user, session) = start(Duration::from_millis(100)).await;
    let before = log_head(&world, user.tenant).await;
    let lock = hold_head(&world, &user).await;
    let mut cut = post(&world, &user, session).await;
    let mut stopping = stop(&mut world).await;
    assert!(cut.is_closed().await);
    // It would be over by now, if it did not wait for the command.
    assert!(tokio::time::timeout(Duration::from_secs(1), &mut stopping).await.is_err());
    lock.rollback().await.unwrap();
    stopping.await.unwrap().unwrap();
    assert_eq!(log_head(&world, user.tenant).await, before + 1);
}
