//! Contention: two processes, many clients, few streams; nobody is refused and nothing is lost or doubled.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Executor as _};
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
        let post = async |at: &User| {
            at.insist(|| at.request(Method::POST, &path).header("idempotency-key", &content).json(&body)).await
        };
        let first = post(&here);
        if n % 5 == 0 {
            // At the other process, or at the same one, where both may land in one batch.
            let there = user.at(nodes[(client + n + 1 + n / 5) % 2].clone());
            let (first, second) = tokio::join!(first, post(&there));
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
    let errors = world.database.logged_errors().await;
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

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_never_decide_on_a_state_that_has_moved_on() {
    let world = two_processes().await;
    let user = world.tenant().await;
    for _ in 0..15 {
        let session = user.start_session().await;
        let nodes = [user.at(world.url(0)), user.at(world.url(1))];
        // Both processes know the session as open.
        for node in &nodes {
            assert_eq!(node.say(session, "known").await.status, 201);
        }
        let (end, nothing) = (format!("/v1/sessions/{session}/end"), json!({}));
        let path = format!("/v1/sessions/{session}/messages");
        // Several commands at once, so that they come in batches. One that has lost too many races is told so; it may try
        // again.
        let at = async |node: &User| {
            let post =
                async |path: &str, body: Value| node.insist(|| node.request(Method::POST, path).json(&body)).await;
            let say = async |content: &str| post(&path, json!({"role": "user", "content": content})).await;
            let (a, ended, b, c) = tokio::join!(say("1"), post(&end, nothing.clone()), say("2"), say("3"));
            for said in [a, b, c] {
                assert!([201, 409].contains(&said.status), "{}", said.body);
            }
            ended.status
        };
        let mut ended: [u16; 2] = tokio::join!(at(&nodes[0]), at(&nodes[1])).into();
        ended.sort_unstable();
        assert_eq!(ended, [200, 409]);
        let names: Vec<String> =
            sqlx::query_scalar("select name from events where tenant_id = $1 and stream_id = $2 order by version")
                .bind(user.tenant)
                .bind(session)
                .fetch_all(&world.database.admin)
                .await
                .unwrap();
        assert_eq!(names.iter().position(|name| name == "session_ended"), Some(names.len() - 1), "{names:?}");
    }
}

/// Calls `append_batch` with one event for each of these tenants.
async fn append_to_all(connection: &mut PgConnection, tenants: &[Uuid]) -> Result<(), sqlx::Error> {
    let count = i32::try_from(tenants.len()).unwrap();
    let (nothing, one) = (vec!["{}"; tenants.len()], vec![1_i32; tenants.len()]);
    let ids = || tenants.iter().map(|_| Uuid::now_v7()).collect::<Vec<_>>();
    sqlx::query(
        "select * from append_batch(null, $1, $2, array_fill(null::uuid, array[$4]),
           $5, $3, array_fill(0::bigint, array[$4]), array_fill(null::bigint, array[$4]),
           $5, $3, array_fill(null::text, array[$4]), array_fill(null::bytea, array[$4]), $6, $2, $5, $2, '{}', '{}', '{}',
           $5, $2, $5, $2, $6, $7, $6, $2::smallint[], $6, $6, array_fill(now(), array[$4]))",
    )
    .bind(tenants)
    .bind(one)
    .bind(ids())
    .bind(count)
    .bind((1..=count).collect::<Vec<_>>())
    .bind(nothing)
    .bind(ids())
    .fetch_all(connection)
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_over_some_of_the_same_tenants_never_deadlock() {
    let settings = WorldSettings { relay: false, projector: false, ..WorldSettings::default() };
    let world = World::with(settings).await;
    let mut tenants = Vec::new();
    for _ in 0..8 {
        tenants.push(world.tenant().await.tenant);
    }
    tenants.sort_unstable();
    let connect = async || {
        let mut connection = PgConnection::connect(&world.database.admin_url).await.unwrap();
        connection.execute("set role convolog_api").await.unwrap();
        connection
    };
    let mut writers = Vec::new();
    for writer in 0..4 {
        let (mut connection, tenants) = (connect().await, tenants.clone());
        writers.push(tokio::spawn(async move {
            for round in 0..96 {
                let mut some = tenants.clone();
                some.remove((3 * writer + round) % 8);
                append_to_all(&mut connection, &some).await.unwrap();
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_no_database_errors(&world).await;
    let heads: Vec<i64> =
        sqlx::query_scalar("select seq from tenant_heads").fetch_all(&world.database.admin).await.unwrap();
    assert_eq!(heads, [3 + 4 * 84; 8]);

    // Two that name them in different orders might wait for each other: nobody does.
    tenants.reverse();
    let refused = append_to_all(&mut connect().await, &tenants).await.unwrap_err();
    assert!(refused.to_string().contains("once and in order"), "{refused}");
}
