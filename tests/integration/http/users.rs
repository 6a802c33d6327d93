//! Members: added, changed and removed with the roles of that very moment, and always an owner left.

use domain::tenant::Role;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tests::{PASSWORD, Reply, User, World, WorldSettings, eventually};
use uuid::Uuid;

use super::{assert_problem, head, log_in, member, until_wait_for_locks};

pub(super) async fn change(by: &User, user: Uuid, change: Value) -> Reply {
    by.insist(|| by.request(Method::PATCH, &format!("/v1/users/{user}")).json(&change)).await
}

async fn remove(by: &User, user: Uuid) -> Reply {
    by.insist(|| by.request(Method::DELETE, &format!("/v1/users/{user}"))).await
}

fn new(email: &str) -> Value {
    json!({"email": email, "name": " Grace ", "role": "member", "password": PASSWORD})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_is_added_read_listed_changed_and_removed() {
    let world = World::start().await;
    let ada = world.tenant().await;
    let added = ada.post("/v1/users", &new("Grace@Example.com")).await;
    assert_eq!((added.status, added.header("etag")), (201, "\"3\""), "{}", added.body);
    let path = added.header("location").to_owned();
    let grace = ada.get(&path).await;
    assert_eq!(
        (&grace.body["email"], &grace.body["name"], &grace.body["role"], &grace.body["invited"]),
        (&json!("grace@example.com"), &json!("Grace"), &json!("member"), &json!(false))
    );
    let other = ada.post("/v1/users", &new("margaret@example.com")).await.id();
    let listed = ada.get("/v1/users?limit=2").await.body;
    assert_eq!(listed["data"][1], grace.body);
    let rest = ada.get(&format!("/v1/users?limit=2&cursor={}", listed["next_cursor"].as_str().unwrap())).await.body;
    assert_eq!((&rest["data"][0]["id"], &rest["next_cursor"]), (&json!(other), &Value::Null));

    let id = added.id();
    let body = json!({"role": "admin", "name": "Grace Hopper", "avatar_url": "https://example.com/g.png"});
    let changed = change(&ada, id, body).await;
    assert_eq!((changed.status, changed.header("etag")), (200, "\"6\""), "{}", changed.body);
    let read = ada.get(&path).await;
    assert_eq!(
        (&read.body["role"], &read.body["name"], &read.body["avatar_url"], read.header("etag")),
        (&json!("admin"), &json!("Grace Hopper"), &json!("https://example.com/g.png"), "\"6\"")
    );
    let stale = ada.request(Method::PATCH, &path).header("if-match", "\"3\"").json(&json!({"name": "G"}));
    let stale = ada.send(stale).await;
    assert_problem(&stale, 412, "version_mismatch");
    assert_eq!(stale.body["current_version"], 6);
    assert_eq!(change(&ada, id, json!({"avatar_url": null})).await.status, 200);
    assert_eq!(ada.get(&path).await.body["avatar_url"], Value::Null);
    assert_problem(&change(&ada, id, json!({})).await, 422, "validation_failed");
    for url in ["http://example.com/a.png", "javascript:alert(1)", "https://", "//x", "https://a b", "data:,x"] {
        assert_problem(&change(&ada, id, json!({"avatar_url": url})).await, 422, "validation_failed");
    }

    let elsewhere = "insert into accounts values ($1, 'https://accounts.example.com', '1815', $2, null, false, now())";
    sqlx::query(elsewhere).bind(ada.tenant).bind(id).execute(&world.database.admin).await.unwrap();
    assert_eq!(remove(&ada, id).await.status, 200);
    assert_problem(&ada.get(&path).await, 404, "not_found");
    for table in ["accounts", "credentials", "auth_sessions", "verification_tokens"] {
        let left = format!("select count(*) from {table} where user_id = $1");
        let left = sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(left)).bind(id);
        assert_eq!(left.fetch_one(&world.database.admin).await.unwrap(), 0, "{table}");
    }
    assert_problem(&remove(&ada, id).await, 404, "not_found");
    assert_eq!(ada.get("/v1/users").await.body["data"].as_array().unwrap().len(), 2);
    // The address is free again, the id is not.
    let mut again = new("grace@example.com");
    again["id"] = json!(id);
    assert_problem(&ada.post("/v1/users", &again).await, 409, "id_taken");
    assert_eq!(ada.post("/v1/users", &new("grace@example.com")).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_invited_chooses_a_password_and_is_in() {
    let world = World::start().await;
    let ada = world.tenant().await;
    let body = json!({"email": "grace@example.com", "name": "Grace", "role": "admin"});
    let invite = || ada.send(ada.request(Method::POST, "/v1/users").header("idempotency-key", "grace").json(&body));
    let (invited, again) = (invite().await, invite().await);
    assert_eq!((invited.status, again.status, again.header("idempotency-replayed")), (201, 201, "true"));
    assert_eq!((invited.id(), &again.body["invitation"]), (again.id(), &Value::Null));
    let path = format!("/v1/users/{}", invited.id());
    assert_eq!(ada.get(&path).await.body["invited"], true);
    let token = &invited.body["invitation"]["token"];
    let set = json!({"token": token, "password": PASSWORD});
    let grace = ada.insist(|| ada.request(Method::POST, "/v1/auth/password/set").json(&set)).await;
    assert_eq!((grace.status, &grace.body["user"]["role"]), (200, &json!("admin")), "{}", grace.body);
    assert_eq!(ada.get(&path).await.body["invited"], false);
    assert_eq!(log_in(&ada, "grace@example.com").await.get("/v1/auth/me").await.status, 200);
    // An invitation of somebody who was removed is good for nothing.
    let other = ada.post("/v1/users", &json!({"email": "m@example.com", "name": "M", "role": "member"})).await;
    assert_eq!(remove(&ada, other.id()).await.status, 200);
    let set = json!({"token": other.body["invitation"]["token"], "password": PASSWORD});
    assert_eq!(ada.insist(|| ada.request(Method::POST, "/v1/auth/password/set").json(&set)).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_belongs_to_one_member_however_many_ask_at_once() {
    let world = World::with(WorldSettings { apis: 2, ..WorldSettings::default() }).await;
    let ada = world.tenant().await;
    let there = [ada.clone(), ada.at(world.url(1))];
    let add = |n: usize| {
        let user = there[n % 2].clone();
        async move { user.insist(|| user.request(Method::POST, "/v1/users").json(&new("grace@example.com"))).await }
    };
    let replies = join_all((0..8).map(add)).await;
    let added: Vec<&Reply> = replies.iter().filter(|reply| reply.status == 201).collect();
    assert_eq!(added.len(), 1);
    for reply in replies.iter().filter(|reply| reply.status != 201) {
        assert_problem(reply, 409, "email_taken");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_loses_the_race_for_an_address_or_an_id_is_told_so() {
    let world = World::with(WorldSettings { apis: 2, ..WorldSettings::default() }).await;
    let ada = world.tenant().await;
    let there = ada.at(world.url(1));
    let (one, other) = (new("grace@example.com"), new("lin@example.com"));
    let with_id = |mut body: Value, id: Uuid| {
        body["id"] = json!(id);
        body
    };
    let (id, same) = (Uuid::now_v7(), Uuid::now_v7());
    for (first, second, code) in [
        (with_id(one.clone(), id), one, "email_taken"),
        (with_id(other, same), with_id(new("m@example.com"), same), "id_taken"),
    ] {
        // The first has written its row and waits for the log; the second waits for the first.
        let mut held = world.database.admin.begin().await.unwrap();
        let lock = "select from tenant_heads where tenant_id = $1 for update";
        sqlx::query(lock).bind(ada.tenant).execute(&mut *held).await.unwrap();
        let release = async {
            until_wait_for_locks(&world, 2).await;
            held.rollback().await.unwrap();
        };
        let (first, second) = (ada.post("/v1/users", &first), there.post("/v1/users", &second));
        let (first, second, ()) = tokio::join!(first, second, release);
        let (added, refused) = if first.status == 201 { (first, second) } else { (second, first) };
        assert_eq!(added.status, 201, "{}", added.body);
        assert_problem(&refused, 409, code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_with_a_key_is_done_once() {
    let world = World::start().await;
    let ada = world.tenant().await;
    let add = || {
        let request = ada.request(Method::POST, "/v1/users").header("idempotency-key", "grace");
        ada.send(request.json(&new("grace@example.com")))
    };
    let (first, second) = (add().await, add().await);
    assert_eq!((first.status, second.status, second.header("idempotency-replayed")), (201, 201, "true"));
    assert_eq!(first.body, second.body);
    // Also when it could not be done any more.
    let leave = || {
        let path = format!("/v1/users/{}", first.id());
        ada.send(ada.request(Method::DELETE, &path).header("idempotency-key", "leave"))
    };
    let (first, second) = (leave().await, leave().await);
    assert_eq!((first.status, second.status, &first.body), (200, 200, &second.body));
    let other = ada.request(Method::POST, "/v1/users").header("idempotency-key", "grace");
    let other = ada.send(other.json(&new("margaret@example.com"))).await;
    assert_problem(&other, 422, "idempotency_key_reused");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_owners_who_step_down_at_once_exactly_one_does() {
    let world = World::with(WorldSettings { apis: 2, ..WorldSettings::default() }).await;
    for round in 0..6 {
        let ada = world.tenant().await;
        let grace = member(&ada, Role::Owner).await;
        let (ada, grace) = (&ada, &grace.at(world.url(1)));
        // Themselves, each other, or by leaving.
        let replies = match round % 3 {
            0 => {
                let role = || json!({"role": "admin"});
                tokio::join!(change(ada, ada.id, role()), change(grace, grace.id, role()))
            }
            1 => tokio::join!(remove(ada, ada.id), remove(grace, grace.id)),
            _ => tokio::join!(remove(ada, grace.id), remove(grace, ada.id)),
        };
        let statuses = [replies.0.status, replies.1.status];
        assert!(statuses.contains(&200) && statuses != [200, 200], "{statuses:?}");
        let owners: i64 = sqlx::query_scalar("select count(*) from users where tenant_id = $1 and role = 'owner'")
            .bind(ada.tenant)
            .fetch_one(&world.database.admin)
            .await
            .unwrap();
        assert_eq!(owners, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_climbs_and_nobody_looks_after_those_above() {
    let world = World::start().await;
    let ada = world.tenant().await;
    let (admin, plain) = (member(&ada, Role::Admin).await, member(&ada, Role::Member).await);
    let before = head(&world, ada.tenant).await;
    for (by, user, body) in [
        (&admin, admin.id, json!({"role": "owner"})),
        (&admin, plain.id, json!({"role": "admin"})),
        (&admin, ada.id, json!({"role": "member"})),
        (&admin, ada.id, json!({"name": "Not Ada"})),
        (&plain, plain.id, json!({"role": "admin"})),
        (&plain, admin.id, json!({"name": "x"})),
    ] {
        assert_problem(&change(by, user, body).await, 403, "forbidden");
    }
    assert_problem(&remove(&admin, ada.id).await, 403, "forbidden");
    assert_problem(&remove(&plain, admin.id).await, 403, "forbidden");
    for role in ["admin", "owner"] {
        let mut body = new("x@example.com");
        body["role"] = json!(role);
        assert_problem(&admin.post("/v1/users", &body).await, 403, "forbidden");
    }
    assert_problem(&change(&ada, ada.id, json!({"role": "admin"})).await, 409, "last_owner");
    assert_problem(&remove(&ada, ada.id).await, 409, "last_owner");
    assert_eq!(head(&world, ada.tenant).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_removed_or_demoted_is_so_at_once_here_and_soon_everywhere() {
    let world = World::with(WorldSettings { apis: 2, ..WorldSettings::default() }).await;
    let ada = world.tenant().await;
    let grace = member(&ada, Role::Admin).await;
    let there = grace.at(world.url(1));
    assert_eq!((grace.get("/v1/events").await.status, there.get("/v1/events").await.status), (200, 200));
    assert_eq!(change(&ada, grace.id, json!({"role": "member"})).await.status, 200);
    assert_problem(&grace.get("/v1/events").await, 403, "forbidden");
    eventually("the other node knows the role", async || there.get("/v1/events").await.status == 403).await;
    assert_eq!(there.get("/v1/sessions").await.status, 200);
    assert_eq!(remove(&ada, grace.id).await.status, 200);
    assert_problem(&grace.get("/v1/sessions").await, 401, "unauthorized");
    eventually("the other node knows it", async || there.get("/v1/sessions").await.status == 401).await;
    // What matters is looked up in its own transaction, whatever a node believes.
    let eve = member(&ada, Role::Owner).await.at(world.url(1));
    assert_eq!(eve.get("/v1/users").await.status, 200);
    assert_eq!(remove(&ada, eve.id).await.status, 200);
    let late = eve.send(eve.request(Method::PATCH, &format!("/v1/users/{}", ada.id)).json(&json!({"role": "member"})));
    assert_problem(&late.await, 401, "unauthorized");
    let left: (i64, i64) = sqlx::query_as(
        "select (select count(*) from auth_sessions s where s.tenant_id = $1 and s.user_id <> $2),
                (select count(*) from credentials c where c.tenant_id = $1 and c.user_id <> $2)",
    )
    .bind(ada.tenant)
    .bind(ada.id)
    .fetch_one(&world.database.admin)
    .await
    .unwrap();
    assert_eq!(left, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_told_in_the_log_and_none_with_a_secret() {
    let world = World::start().await;
    let ada = world.tenant().await;
    let grace = ada.post("/v1/users", &new("grace@example.com")).await.id();
    log_in(&ada, "grace@example.com").await;
    change(&ada, grace, json!({"role": "admin", "name": "G"})).await;
    remove(&ada, grace).await;
    let events = ada.events().await;
    let types: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(
        types[3..],
        [
            "convolog.tenant.user_added.v1",
            "convolog.user.signed_in.v1",
            "convolog.tenant.user_role_changed.v1",
            "convolog.tenant.user_profile_changed.v1",
            "convolog.user.session_revoked.v1",
            "convolog.tenant.user_removed.v1",
        ]
    );
    let log = json!(events).to_string();
    assert!(!log.contains(PASSWORD) && !log.contains("argon2"), "{log}");
}
