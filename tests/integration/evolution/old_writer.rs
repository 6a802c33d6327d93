//! Old writers, newer data: nobody decides on what they do not understand, and nobody's snapshot makes them.

use domain::Category;
use serde_json::json;
use tests::{Reply, User, World, WorldSettings};
use uuid::Uuid;

use super::{Foreign, write, written};
use crate::http::assert_problem;

fn paused(session: Uuid) -> Foreign {
    Foreign { category: Category::Session, stream: session, name: "session_paused", schema: 1, data: "{}" }
}

async fn say(user: &User, session: Uuid, key: &str) -> Reply {
    let path = format!("/v1/sessions/{session}/messages");
    let body = json!({"role": "user", "content": "Hello"});
    user.insist(|| user.request(reqwest::Method::POST, &path).header("idempotency-key", key).json(&body)).await
}

/// What the newer event would be to code that knows it: here, a message.
async fn upgrade(world: &World, user: &User) {
    let sql =
        "update events set name = 'message_posted', data = $2::json where tenant_id = $1 and name = 'session_paused'";
    let data = json!({"message_id": Uuid::now_v7(), "role": "user", "content": "understood"}).to_string();
    sqlx::query(sql).bind(user.tenant).bind(data).execute(&world.database.admin).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_on_a_stream_with_a_newer_event_writes_nothing_and_may_be_repeated_after_the_upgrade() {
    let world = World::with(WorldSettings { apis: 3, ..WorldSettings::default() }).await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    // A process that knows the stream's state from before, and one that has to load it.
    let (warm, cold) = (user.clone(), user.at(world.url(1)));
    assert_eq!(say(&warm, session, "before").await.status, 201);
    write(&world, 2, user.tenant, paused(session)).await;
    let before = written(&world, &user).await;
    for old in [&warm, &cold] {
        assert_problem(&say(old, session, "again").await, 503, "newer_event");
        assert_problem(&old.post(&format!("/v1/sessions/{session}/end"), &json!({})).await, 503, "newer_event");
        // All that wait for the same stream hear the same.
        let replies = futures_util::future::join_all((0..8).map(|_| old.say(session, "at once"))).await;
        replies.iter().for_each(|reply| assert_problem(reply, 503, "newer_event"));
    }
    let taken = warm.post("/v1/sessions", &json!({"id": session, "mode": "text"})).await;
    assert_problem(&taken, 503, "newer_event");
    assert_eq!(written(&world, &user).await, before);
    // What was answered before is answered again, and other streams of the tenant go on.
    for old in [&warm, &cold] {
        assert_eq!(say(old, session, "before").await.header("idempotency-replayed"), "true");
    }
    assert_eq!(say(&cold, warm.start_session().await, "elsewhere").await.status, 201);

    upgrade(&world, &user).await;
    let after = say(&warm, session, "again").await;
    assert_eq!((after.status, &after.body["version"]), (201, &json!(4)), "{}", after.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_other_code_neither_hides_a_newer_event_nor_decides_anything() {
    let world = World::with(WorldSettings { apis: 3, ..WorldSettings::default() }).await;
    let user = world.tenant().await;
    let snapshot = async |session: Uuid, shape: &str, version: i64, state: &str| {
        sqlx::query(
            "insert into snapshots (tenant_id, stream_id, version, shape, state) values ($1, $2, $3, $4, $5::json)",
        )
        .bind(user.tenant)
        .bind(session)
        .bind(version)
        .bind(shape)
        .bind(state)
        .execute(&world.database.admin)
        .await
        .unwrap();
    };
    let old = user.at(world.url(1));

    let session = user.start_session().await;
    write(&world, 2, user.tenant, paused(session)).await;
    snapshot(session, "session.2", 2, r#"{"phase":"open","own_version":1}"#).await;
    assert_problem(&say(&old, session, "hidden").await, 503, "newer_event");

    let session = user.start_session().await;
    snapshot(session, "session.0", 1, r#"{"phase":"ended","own_version":1}"#).await;
    assert_eq!(say(&old, session, "not ended").await.status, 201);
}
