//! `min_seq`: a read waits for the read tables without holding a connection, or says how far they are.

use std::time::Duration;

use convolog::node::Node;
use tests::{World, WorldSettings};

#[tokio::test(flavor = "multi_thread")]
async fn a_read_waits_until_it_sees_what_it_asked_for() {
    let mut world = World::with(WorldSettings { relay: false, projector: false, ..WorldSettings::default() }).await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    let seq = user.say(session, "hello").await.seq();
    let waiting = {
        let (user, path) = (user.clone(), format!("/v1/sessions/{session}/messages?min_seq={seq}"));
        store::spawn("reader", async move { user.get(&path).await })
    };
    // It waits: nobody projects yet.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!waiting.is_finished());
    let mut workers = world.node_settings(&WorldSettings::default(), true);
    workers.api = None;
    world.nodes.push(Node::start(workers).await.unwrap());
    let reply = waiting.await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(reply.body["data"][0]["content"], "hello");
    assert!(reply.header("convolog-seq").parse::<u64>().unwrap() >= seq);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_beyond_the_log_is_refused_at_once() {
    let world = World::start().await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    let seq = user.say(session, "hello").await.seq();
    for path in
        ["/v1/sessions".to_owned(), format!("/v1/sessions/{session}"), format!("/v1/sessions/{session}/messages")]
    {
        let reply = user.get(&format!("{path}?min_seq={}", seq + 1)).await;
        assert_eq!((reply.status, reply.code()), (422, "seq_not_in_log"), "{path}: {}", reply.body);
        assert_eq!(reply.body["current_seq"], seq);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_reads_hold_no_connection_and_end_with_how_far_the_rows_are() {
    let settings = WorldSettings { relay: false, projector: false, api_connections: 1, ..WorldSettings::default() };
    let world = World::with(settings).await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    let seq = user.say(session, "hello").await.seq();
    let reads: Vec<_> = (0..10)
        .map(|_| {
            let (user, path) = (user.clone(), format!("/v1/sessions/{session}/messages?min_seq={seq}"));
            store::spawn("reader", async move { user.get(&path).await })
        })
        .collect();
    // All of them wait: their transactions are over, the only connection is free for commands.
    tokio::time::sleep(Duration::from_millis(300)).await;
    for _ in 0..5 {
        let reply = user.say(session, "meanwhile").await;
        assert_eq!(reply.status, 201, "{}", reply.body);
    }
    assert!(reads.iter().all(|read| !read.is_finished()), "the reads still wait");
    for read in reads {
        let reply = read.await.unwrap();
        assert_eq!((reply.status, reply.code()), (503, "read_model_behind"), "{}", reply.body);
        assert_eq!(reply.body["current_seq"], 0);
        assert!(reply.header("retry-after").parse::<u32>().unwrap() > 0);
    }
}
