//! Staying signed in: refresh tokens are exchanged once, a stolen one ends its sign-in, and what is ended is refused everywhere.

use chrono::{TimeDelta, Utc};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tests::{User, World, WorldSettings, eventually};

use super::{assert_problem, head, logged_in, until_wait_for_locks};

struct Ada {
    user: User,
    email: String,
    refresh_token: String,
}

async fn ada(world: &World) -> Ada {
    let user = world.tenant().await;
    let me = user.get("/v1/auth/me").await.body;
    let email = me["user"]["email"].as_str().unwrap().to_owned();
    let body = logged_in(&user, &email).await;
    Ada { user: user.signed_in(&body), email, refresh_token: text(&body["refresh_token"]) }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

async fn refresh(there: &User, token: &str) -> tests::Reply {
    there.post("/v1/auth/refresh", &json!({"refresh_token": token})).await
}

/// As if the last exchange had been so long ago.
async fn exchanged_before(world: &World, ada: &Ada, seconds: i64) {
    let sql = "update auth_sessions set rotated_at = $2 where tenant_id = $1";
    let then = Utc::now() - TimeDelta::seconds(seconds);
    sqlx::query(sql).bind(ada.user.tenant).bind(then).execute(&world.database.admin).await.unwrap();
}

/// The names of the events of sign-ins, in order, and that nothing secret is among them.
async fn accounted(ada: &Ada) -> Vec<String> {
    let owner = ada.user.signed_in(&logged_in(&ada.user, &ada.email).await);
    let events = owner.events().await;
    let all = json!(events).to_string();
    assert!(!all.contains(&ada.refresh_token) && !all.contains("127.0.0.1"), "{all}");
    let of_users = events.iter().filter(|event| event["subject"].as_str().unwrap().starts_with("user/"));
    let names = of_users.map(|event| match event["data"]["reason"].as_str() {
        Some(reason) => format!("{} {reason}", text(&event["type"])),
        None => text(&event["type"]),
    });
    names.map(|name| name.trim_start_matches("convolog.user.").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_is_exchanged_for_the_next_one_and_what_it_opens() {
    let world = World::start().await;
    let ada = ada(&world).await;
    let before = head(&world, ada.user.tenant).await;
    let mut token = ada.refresh_token.clone();
    for _ in 0..3 {
        let reply = refresh(&ada.user, &token).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        let next = text(&reply.body["refresh_token"]);
        assert_ne!(next, token);
        let again = ada.user.signed_in(&reply.body);
        assert_eq!((again.tenant, again.id), (ada.user.tenant, ada.user.id));
        assert_eq!(again.get("/v1/auth/me").await.body["user"], reply.body["user"]);
        token = next;
    }
    // Staying signed in is no event.
    assert_eq!(head(&world, ada.user.tenant).await, before);
    assert_eq!(ada.user.get("/v1/auth/sessions").await.body["data"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_refreshes_at_once_leave_one_chain_that_works() {
    let world = World::with(WorldSettings { apis: 2, ..WorldSettings::default() }).await;
    let ada = ada(&world).await;
    let nodes = [ada.user.clone(), ada.user.at(world.url(1))];
    let replies = join_all((0..20).map(|n| refresh(&nodes[n % 2], &ada.refresh_token))).await;
    let next: Vec<&Value> = replies.iter().filter(|it| it.status == 200).map(|it| &it.body["refresh_token"]).collect();
    assert!(!next.is_empty() && next.iter().all(|token| *token == next[0]), "{next:?}");
    assert!(replies.iter().all(|reply| matches!(reply.status, 200 | 503)));
    assert_eq!(refresh(&ada.user, next[0].as_str().unwrap()).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_is_judged_by_what_the_one_before_it_has_left() {
    let world = World::start().await;
    let ada = ada(&world).await;
    let mut other = world.database.admin.begin().await.unwrap();
    let lock = "select from auth_sessions where tenant_id = $1 for update";
    sqlx::query(lock).bind(ada.user.tenant).execute(&mut *other).await.unwrap();
    let exchanged_twice = async {
        until_wait_for_locks(&world, 1).await;
        let tokens = "update auth_sessions set token_hash = '\\x03', parent_hash = '\\x02' where tenant_id = $1";
        sqlx::query(tokens).bind(ada.user.tenant).execute(&mut *other).await.unwrap();
        other.commit().await.unwrap();
    };
    let (late, ()) = tokio::join!(refresh(&ada.user, &ada.refresh_token), exchanged_twice);
    assert_problem(&late, 401, "unauthorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_used_again_ends_its_sign_in_and_no_other() {
    let world = World::start().await;
    let ada = ada(&world).await;
    let elsewhere = logged_in(&ada.user, &ada.email).await;
    let second = refresh(&ada.user, &ada.refresh_token).await.body;
    // The answer may have been lost on the way: for a moment it is given again.
    assert_eq!(refresh(&ada.user, &ada.refresh_token).await.body["refresh_token"], second["refresh_token"]);
    exchanged_before(&world, &ada, 11).await;
    assert_problem(&refresh(&ada.user, &ada.refresh_token).await, 401, "unauthorized");
    // Neither the thief nor the owner goes on with this one.
    assert_problem(&refresh(&ada.user, second["refresh_token"].as_str().unwrap()).await, 401, "unauthorized");
    assert_problem(&ada.user.signed_in(&second).get("/v1/auth/me").await, 401, "unauthorized");
    assert_problem(&ada.user.get("/v1/auth/me").await, 401, "unauthorized");
    assert_eq!(refresh(&ada.user, elsewhere["refresh_token"].as_str().unwrap()).await.status, 200);
    let expected = ["signed_in.v1", "signed_in.v1", "signed_in.v1", "session_revoked.v1 token_reused", "signed_in.v1"];
    assert_eq!(accounted(&ada).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_made_up_ends_nothing() {
    let world = World::start().await;
    let (ada, eve) = (ada(&world).await, ada(&world).await);
    // The last characters are the seal's and the secret's: somebody knows tenant and sign-in, and guesses.
    let (kept, guessed) = ada.refresh_token.split_at(60);
    let mixed = format!("{}{}", &ada.refresh_token[..46], &eve.refresh_token[46..]);
    for wrong in [format!("{kept}{}", "A".repeat(guessed.len())), mixed, "cvr_".into(), String::new(), "x".repeat(200)]
    {
        assert_problem(&refresh(&ada.user, &wrong).await, 401, "unauthorized");
    }
    assert_problem(&refresh(&ada.user, ada.user.token.as_ref().unwrap()).await, 401, "unauthorized");
    assert_eq!(refresh(&ada.user, &ada.refresh_token).await.status, 200);
    assert_eq!(refresh(&ada.user, &eve.refresh_token).await.body["tenant"]["id"], json!(eve.user.tenant));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_logs_out_is_out_at_once_here_and_soon_everywhere() {
    let world = World::with(WorldSettings { apis: 2, ..WorldSettings::default() }).await;
    let ada = ada(&world).await;
    let there = ada.user.at(world.url(1));
    assert_eq!(there.get("/v1/auth/me").await.status, 200);
    let out = ada.user.post("/v1/auth/logout", &json!({})).await;
    assert_eq!((out.status, &out.body["ended"]), (200, &json!(1)), "{}", out.body);
    assert_problem(&ada.user.get("/v1/auth/me").await, 401, "unauthorized");
    assert_problem(&refresh(&there, &ada.refresh_token).await, 401, "unauthorized");
    eventually("the other node refuses it, too", async || there.get("/v1/auth/me").await.status == 401).await;
    assert_problem(&ada.user.post("/v1/auth/logout", &json!({})).await, 401, "unauthorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_ins_are_listed_and_ended_one_by_one_and_all_together() {
    let world = World::start().await;
    let (ada, eve) = (ada(&world).await, ada(&world).await);
    let phone = ada.user.signed_in(&logged_in(&ada.user, &ada.email).await);
    let list = phone.get("/v1/auth/sessions").await.body["data"].as_array().unwrap().clone();
    assert_eq!(list.iter().map(|it| it["current"] == true).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!((&list[0]["method"], &list[0]["address"]), (&json!("password"), &json!("127.0.0.1")));
    let theirs = format!("/v1/auth/sessions/{}", text(&list[1]["id"]));
    assert_problem(&eve.user.send(eve.user.request(Method::DELETE, &theirs)).await, 404, "not_found");
    assert_eq!(phone.send(phone.request(Method::DELETE, &theirs)).await.status, 200);
    assert_problem(&phone.send(phone.request(Method::DELETE, &theirs)).await, 404, "not_found");
    assert_problem(&ada.user.get("/v1/auth/me").await, 401, "unauthorized");
    let all = phone.post("/v1/auth/logout-all", &json!({})).await;
    assert_eq!((all.status, &all.body["ended"]), (200, &json!(2)));
    assert_problem(&phone.get("/v1/auth/me").await, 401, "unauthorized");
    assert_eq!(eve.user.get("/v1/auth/me").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_fifty_sign_ins_and_the_oldest_makes_room() {
    let world = World::start().await;
    let ada = ada(&world).await;
    sqlx::query(
        "insert into auth_sessions
         select tenant_id, gen_random_uuid(), user_id, method, created_at + interval '1 hour', last_seen_at, expires_at,
                user_agent, address, token_hash, parent_hash, rotated_at
         from auth_sessions, generate_series(1, 24) where tenant_id = $1",
    )
    .bind(ada.user.tenant)
    .execute(&world.database.admin)
    .await
    .unwrap();
    let count = async |user: &User| user.get("/v1/auth/sessions").await.body["data"].as_array().unwrap().len();
    assert_eq!(count(&ada.user).await, 50);
    let newest = ada.user.signed_in(&logged_in(&ada.user, &ada.email).await);
    assert_eq!(count(&newest).await, 50);
}
