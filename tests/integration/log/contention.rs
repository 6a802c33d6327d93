//! Contention: two processes, many clients, few streams; nobody is refused and nothing is lost or doubled.

use std::collections::BTreeSet;

use serde_json::json;
use tests::{User, World, WorldSettings};
use uuid::Uuid;

async fn two_processes() -> World {
    World::with(WorldSettings { apis: 2, ..WorldSettings::default() }).await
}

/// Posts `count` messages at both nodes in turn; every fifth twice at once with the same key.
async fn post_all(user: User, nodes: [String; 2], session: Uuid, client: usize, count: usize) -> Vec<String> {
    let mut contents = Vec::new();
    for n in 0..count {
        let content = format!("{client}-{n}");
        let body = json!({"role": "user", "content": content});
        let path = format!("/v1/sessions/{session}/messages");
        let here = user.at(nodes[(client + n) % 2].clone());
        let key = [("idempotency-key", content.as_str())];
        let first = here.post_with(&path, &key, &body);
        if n % 5 == 0 {
            let there = user.at(nodes[(client + n + 1) % 2].clone());
            let (first, second) = tokio::join!(first, there.post_with(&path, &key, &body));
            assert_eq!((first.status, second.status), (201, 201), "{} {}", first.body, second.body);
            assert_eq!(first.body, second.body);
            assert_ne!(first.header("idempotency-replayed"), second.header("idempotency-replayed"));
        } else {
            let first = first.await;
            assert_eq!(first.status, 201, "{}", first.body);
        }
        contents.push(content);
    }
    contents
}

/// The database refused nothing: no unique violation, no deadlock.
async fn assert_no_database_errors(world: &World) {
    let (deadlocks, rolled_back): (i64, i64) =
        sqlx::query_as("select deadlocks, xact_rollback from pg_stat_database where datname = current_database()")
            .fetch_one(&world.database.admin)
            .await
            .unwrap();
    assert_eq!(deadlocks, 0);
    // Pools roll back on release, but outside a transaction; only statements that failed show in the log.
    let errors = world.database.logged_errors();
    assert!(errors.is_empty(), "after {rolled_back} rollbacks: {errors:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_clients_on_one_session_of_two_processes() {
    let world = two_processes().await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    let nodes = [world.url(0), world.url(1)];
    let clients: Vec<_> =
        (0..64).map(|client| tokio::spawn(post_all(user.clone(), nodes.clone(), session, client, 10))).collect();
    let mut sent = BTreeSet::new();
    for client in clients {
        sent.extend(client.await.unwrap());
    }
    world.drain().await;
    let rows: Vec<String> =
        user.messages(session, 0).await.iter().map(|row| row["content"].as_str().unwrap().to_owned()).collect();
    assert_eq!(rows.len(), 640, "messages were lost or doubled");
    assert_eq!(rows.into_iter().collect::<BTreeSet<_>>(), sent);
    assert_no_database_errors(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_tenants_with_three_streams_each_from_two_processes() {
    let world = two_processes().await;
    let nodes = [world.url(0), world.url(1)];
    let mut clients = Vec::new();
    let mut sessions = Vec::new();
    for tenant in 0..20 {
        let user = world.tenant().await;
        for stream in 0..3 {
            let session = user.start_session().await;
            for client in 0..2 {
                let number = tenant * 6 + stream * 2 + client;
                clients.push(tokio::spawn(post_all(user.clone(), nodes.clone(), session, number, 5)));
            }
            sessions.push((user.clone(), session));
        }
    }
    for client in clients {
        client.await.unwrap();
    }
    world.drain().await;
    for (user, session) in sessions {
        assert_eq!(user.messages(session, 0).await.len(), 10);
    }
    assert_no_database_errors(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retried_command_gets_its_first_answer_also_after_later_changes() {
    let world = two_processes().await;
    let user = world.tenant().await;
    let other = user.at(world.url(1));
    let start = json!({"mode": "text", "id": Uuid::now_v7()});
    let first = user.post_with("/v1/sessions", &[("idempotency-key", "start")], &start).await;
    assert_eq!(first.status, 201, "{}", first.body);
    let session = first.id();
    let message = json!({"role": "user", "content": "hello"});
    let path = format!("/v1/sessions/{session}/messages");
    let posted = user.post_with(&path, &[("idempotency-key", "post")], &message).await;
    let end = format!("/v1/sessions/{session}/end");
    let ended = user.post_with(&end, &[("idempotency-key", "end"), ("if-match", "\"1\"")], &json!({})).await;
    assert_eq!(ended.status, 200, "{}", ended.body);
    for client in [&user, &other] {
        let again = client.post_with("/v1/sessions", &[("idempotency-key", "start")], &start).await;
        assert_eq!((again.status, &again.body), (201, &first.body));
        let again = client.post_with(&path, &[("idempotency-key", "post")], &message).await;
        assert_eq!((again.status, &again.body), (201, &posted.body));
        let again = client.post_with(&end, &[("idempotency-key", "end"), ("if-match", "\"1\"")], &json!({})).await;
        assert_eq!((again.status, &again.body), (200, &ended.body));
        assert_eq!(again.header("idempotency-replayed"), "true");
        let new = client.post(&end, &json!({})).await;
        assert_eq!((new.status, new.code()), (409, "session_ended"));
    }
}
