//! New readers, old data: what an earlier version has written is brought up when it is read, and told as it was written.

use domain::Category;
use serde_json::json;
use tests::{User, World, eventually};
use uuid::Uuid;

use super::{Foreign, members, on_nats, watch, write};
use crate::stream::listener::{listen, log_of};

const PASSWORD: &str = "nobody guesses this one";

/// Founds a tenant as the version before plans did, in its own words; signs its owner in.
async fn founded_before_there_were_plans(world: &World) -> User {
    let (tenant, like) = (Uuid::now_v7(), world.tenant().await);
    let owner = "01900000-0000-7000-8000-000000000005";
    let admin = &world.database.admin;
    sqlx::query("select open_tenant($1)").bind(tenant).execute(admin).await.unwrap();
    let registered = Foreign {
        category: Category::Tenant,
        stream: tenant,
        name: "tenant_registered",
        schema: 1,
        data: r#"{"name":"Analytical Engines"}"#,
    };
    let added = Foreign {
        name: "user_added",
        data: r#"{"user_id":"01900000-0000-7000-8000-000000000005","email":"old@example.com","name":"Ada","role":"owner"}"#,
        ..registered.clone()
    };
    assert_eq!(write(world, 0, tenant, registered).await, 1);
    assert_eq!(write(world, 0, tenant, added).await, 2);
    for sql in [
        "insert into tenants (tenant_id, version, created_at, name) values ($1, 1, now(), 'Analytical Engines')",
        "insert into users (tenant_id, version, joined, created_at, name, id, email, role)
         values ($1, 2, 2, now(), 'Ada', $2::uuid, 'old@example.com', 'owner')",
        "insert into credentials (tenant_id, user_id, password_hash, changed_at)
         select $1, $2::uuid, password_hash, now() from credentials where tenant_id = $3",
    ] {
        let query = format!("with unused as (select $1::uuid, $2::text, $3::uuid) {sql}");
        let query = sqlx::query(sqlx::AssertSqlSafe(query)).bind(tenant).bind(owner).bind(like.tenant);
        query.execute(admin).await.unwrap();
    }
    let login = json!({"email": "old@example.com", "password": PASSWORD});
    let reply = like.insist(|| like.request(reqwest::Method::POST, "/v1/auth/login").json(&login)).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(reply.body["tenant"]["plan"], "starter");
    like.signed_in(&reply.body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_begins_with_an_older_version_is_served_projected_streamed_and_told_as_it_was_written() {
    let world = World::start().await;
    let mut seen = watch(&world).await;
    let user = founded_before_there_were_plans(&world).await;
    assert_eq!(user.get("/v1/auth/me").await.body["tenant"]["plan"], "starter");
    let session = user.start_session().await;
    let last = user.say(session, "after the upgrade").await.seq();
    assert_eq!(user.messages(session, last).await.len(), 1);

    let log = log_of(&user, "").await;
    let first = members(&log[0].1);
    assert_eq!(first["type"].get(), r#""convolog.tenant.tenant_registered.v1""#);
    assert_eq!(first["data"].get(), r#"{"name":"Analytical Engines"}"#);
    assert_eq!(log.len() as u64, last);
    assert_eq!(on_nats(&mut seen, user.tenant, last).await, log);
    assert_eq!(listen(&user, "", 0).await.events(log.len()).await, log);

    // A rebuild reads it all again, and changes nothing in the log.
    for sql in [
        "delete from messages where tenant_id = $1",
        "update projection_checkpoints set version = version - 1 where tenant_id = $1",
    ] {
        sqlx::query(sql).bind(user.tenant).execute(&world.database.admin).await.unwrap();
    }
    let again = user.say(session, "so that a worker looks at it").await.seq();
    eventually("the rows are rebuilt", async || {
        let page = user.get(&format!("/v1/sessions/{session}/messages?min_seq={again}")).await;
        page.body["data"].as_array().is_some_and(|messages| messages.len() == 2)
    })
    .await;
    assert_eq!(log_of(&user, "").await[..log.len()], log);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_tenant_has_a_plan_in_its_log_and_wherever_it_is_shown() {
    let world = World::start().await;
    let body = json!({"tenant_name": "T", "email": "new@example.com", "password": PASSWORD, "name": "N"});
    let anonymous = User::anonymous(world.http.clone(), world.url(0));
    let registered =
        anonymous.insist(|| anonymous.request(reqwest::Method::POST, "/v1/auth/register").json(&body)).await;
    assert_eq!(registered.body["tenant"]["plan"], "starter", "{}", registered.body);
    let user = anonymous.signed_in(&registered.body);
    assert_eq!(user.get("/v1/auth/me").await.body["tenant"], registered.body["tenant"]);
    let first = &log_of(&user, "").await[0].1;
    assert_eq!(members(first)["type"].get(), r#""convolog.tenant.tenant_registered.v2""#);
    assert_eq!(members(first)["data"].get(), r#"{"name":"T","plan":"starter"}"#);
    // What the row says is shown, not what new tenants have.
    let sql = "update tenants set plan = 'growth' where tenant_id = $1";
    sqlx::query(sql).bind(user.tenant).execute(&world.database.admin).await.unwrap();
    assert_eq!(user.get("/v1/auth/me").await.body["tenant"]["plan"], "growth");
    let login = json!({"email": "new@example.com", "password": PASSWORD});
    let reply = user.insist(|| user.request(reqwest::Method::POST, "/v1/auth/login").json(&login)).await;
    assert_eq!(reply.body["tenant"]["plan"], "growth", "{}", reply.body);
}
