//! What PostgreSQL says about a failed statement is for the log: names, SQL and hidden rows never reach a client.

use serde_json::json;
use sqlx::Executor as _;
use tests::{Reply, World, WorldSettings};

/// A fault of ours, told without a word of PostgreSQL's.
fn assert_silent(reply: &Reply) {
    assert_eq!((reply.status, reply.code()), (500, "internal"), "{}", reply.body);
    let told = reply.body.to_string().to_lowercase();
    for word in [
        "permission",
        "denied",
        "duplicate",
        "violates",
        "constraint",
        "pkey",
        "relation",
        "table",
        "select",
        "425",
        "235",
    ] {
        // The request id is the one part that is not ours to choose.
        let told = told.replace(&reply.body["request_id"].to_string().to_lowercase(), "");
        assert!(!told.contains(word), "{word:?} in {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_never_hears_what_postgresql_says() {
    let world = World::with(WorldSettings { relay: false, projector: false, ..WorldSettings::default() }).await;
    let (user, other) = (world.tenant().await, world.tenant().await);
    let session = user.start_session().await;

    // 42501.
    world.database.admin.execute("revoke select on sessions from convolog_api").await.unwrap();
    assert_silent(&user.get("/v1/sessions").await);
    assert_silent(&user.get(&format!("/v1/sessions/{session}")).await);
    world.database.admin.execute("grant select on sessions to convolog_api").await.unwrap();

    // 23505: somebody has written past the head of the log.
    sqlx::query(
        "insert into events select e.tenant_id, e.seq + 1, e.category, e.stream_id, e.version + 1, e.event_id, e.name,
           e.schema, e.data, e.meta, e.occurred_at, e.recorded_at
         from events e where e.tenant_id = $1 order by e.seq desc limit 1",
    )
    .bind(user.tenant)
    .execute(&world.database.admin)
    .await
    .unwrap();
    assert_silent(&user.post("/v1/sessions", &json!({"mode": "text"})).await);
    // It is nobody else's trouble.
    assert_eq!(other.post("/v1/sessions", &json!({"mode": "text"})).await.status, 201);
}
