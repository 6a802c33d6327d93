//! Another password: only for who knows the one of today, the end of all other sign-ins, and hashes that keep up with what hashes cost.

use api::RateLimitSettings;
use api::passwords::Cost;
use convolog::node::Node;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tests::{PASSWORD, Reply, User, World, WorldSettings, eventually};

use super::{anonymous, assert_problem, head, pointers, until_wait_for_locks};

const ANOTHER: &str = "nobody guesses that one either";

pub(super) async fn email(user: &User) -> String {
    user.get("/v1/auth/me").await.body["user"]["email"].as_str().unwrap().to_owned()
}

pub(super) async fn log_in(there: &User, email: &str, password: &str) -> Reply {
    let body = json!({"email": email, "password": password});
    there.insist(|| there.request(Method::POST, "/v1/auth/login").json(&body)).await
}

async fn change(user: &User, current: &str, new: &str) -> Reply {
    let body = json!({"current_password": current, "new_password": new});
    user.insist(|| user.request(Method::POST, "/v1/auth/password/change").json(&body)).await
}

/// The stored hash, as PostgreSQL has it.
async fn stored(world: &World, user: &User) -> String {
    let sql = "select password_hash from credentials where tenant_id = $1 and user_id = $2";
    sqlx::query_scalar(sql).bind(user.tenant).bind(user.id).fetch_one(&world.database.admin).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_password_ends_all_other_sign_ins_everywhere_and_not_this_one() {
    let world = World::with(super::two_apis()).await;
    let (ada, eve) = (world.tenant().await, world.tenant().await);
    let email = email(&ada).await;
    let phone = log_in(&ada, &email, PASSWORD).await.body;
    let here = ada.signed_in(&phone);
    let there = ada.at(world.url(1));
    assert_eq!(there.get("/v1/auth/me").await.status, 200);
    let changed = change(&here, PASSWORD, ANOTHER).await;
    assert_eq!((changed.status, &changed.body["ended"]), (200, &json!(1)), "{}", changed.body);
    assert_eq!(changed.seq(), head(&world, ada.tenant).await);
    assert_problem(&ada.get("/v1/auth/me").await, 401, "unauthorized");
    eventually("the other node refuses it, too", async || there.get("/v1/auth/me").await.status == 401).await;
    // This one goes on, also at its next token.
    assert_eq!(here.get("/v1/auth/me").await.status, 200);
    let next = here.post("/v1/auth/refresh", &json!({"refresh_token": phone["refresh_token"]})).await;
    assert_eq!(next.status, 200, "{}", next.body);
    assert_problem(&log_in(&ada, &email, PASSWORD).await, 401, "invalid_credentials");
    assert_eq!(log_in(&ada, &email, ANOTHER).await.status, 200);
    assert_eq!(eve.get("/v1/auth/me").await.status, 200);
    let events = here.events().await;
    let types: Vec<&str> = events.iter().rev().take(3).map(|event| event["type"].as_str().unwrap()).collect();
    let names = ["signed_in", "session_revoked", "password_changed"].map(|name| format!("convolog.user.{name}.v1"));
    assert_eq!(types, names);
    assert_eq!(events[events.len() - 2]["data"]["reason"], "password_changed");
    let all = Value::from(events).to_string();
    assert!(!all.contains("argon2") && !all.contains(PASSWORD) && !all.contains(ANOTHER), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_current_password_and_a_weak_new_one_change_nothing() {
    let world = World::start().await;
    let ada = world.tenant().await;
    let (email, before) = (email(&ada).await, (stored(&world, &ada).await, head(&world, ada.tenant).await));
    for wrong in ["", ANOTHER, &PASSWORD.to_uppercase(), &email] {
        assert_problem(&change(&ada, wrong, ANOTHER).await, 401, "invalid_credentials");
    }
    for (weak, code) in [
        ("shorty", "password_too_short"),
        (email.as_str(), "password_is_personal"),
        ("password1234", "password_too_common"),
    ] {
        let reply = change(&ada, PASSWORD, weak).await;
        assert_problem(&reply, 422, "validation_failed");
        assert_eq!((pointers(&reply), &reply.body["errors"][0]["code"]), (vec!["/new_password".into()], &json!(code)));
    }
    let body = json!({"current_password": PASSWORD, "new_password": ANOTHER});
    assert_problem(&anonymous(&world).post("/v1/auth/password/change", &body).await, 401, "unauthorized");
    assert_eq!((stored(&world, &ada).await, head(&world, ada.tenant).await), before);
    assert_eq!(log_in(&ada, &email, PASSWORD).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_current_passwords_are_guesses_and_counted_as_such() {
    let limits = RateLimitSettings::default();
    let world = World::with(WorldSettings { rate_limits: limits, ..WorldSettings::default() }).await;
    let ada = world.tenant().await;
    for _ in 0..api::rate_limits::WRONG_PASSWORDS.burst {
        assert_problem(&change(&ada, "wrong", ANOTHER).await, 401, "invalid_credentials");
    }
    assert_problem(&change(&ada, PASSWORD, ANOTHER).await, 429, "rate_limited");
    assert!(
        log_in(&ada, &email(&ada).await, PASSWORD).await.status == 200,
        "a log-in that names no tenant is counted apart"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_changes_at_once_that_know_the_same_password_one_wins() {
    let world = World::with(super::two_apis()).await;
    let ada = world.tenant().await;
    let nodes = [ada.clone(), ada.at(world.url(1))];
    let passwords: Vec<String> = (0..6).map(|n| format!("{ANOTHER} {n}")).collect();
    let replies = join_all(passwords.iter().enumerate().map(|(n, new)| change(&nodes[n % 2], PASSWORD, new))).await;
    let won: Vec<usize> = (0..6).filter(|n| replies[*n].status == 200).collect();
    assert_eq!(won.len(), 1, "{replies:?}");
    for reply in replies.iter().filter(|reply| reply.status != 200) {
        assert_problem(reply, 401, "invalid_credentials");
    }
    assert_eq!(log_in(&ada, &email(&ada).await, &passwords[won[0]]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_signed_out_meanwhile_changes_no_password() {
    let world = World::with(super::two_apis()).await;
    let ada = world.tenant().await;
    let email = email(&ada).await;
    let there = ada.at(world.url(1));
    assert_eq!(there.get("/v1/auth/me").await.status, 200);
    assert_eq!(ada.post("/v1/auth/logout", &json!({})).await.status, 200);
    // The other node may believe the token for a moment; what it does with it is decided by the rows.
    let reply = change(&there, PASSWORD, ANOTHER).await;
    assert_eq!(reply.status, 401, "{}", reply.body);
    assert_eq!(log_in(&ada, &email, PASSWORD).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hash_that_is_cheaper_than_today_s_is_made_anew_at_log_in() {
    let mut world = World::start().await;
    let ada = world.tenant().await;
    let email = email(&ada).await;
    assert!(stored(&world, &ada).await.starts_with("$argon2id$v=19$m=8,t=1,p=1$"));
    let mut settings = world.node_settings(&WorldSettings::default(), false);
    settings.api.as_mut().unwrap().password_cost = Cost { memory_kib: 64, passes: 2, lanes: 1 };
    world.nodes.push(Node::start(settings).await.unwrap());
    let dearer = ada.at(world.url(1));
    assert_problem(&log_in(&dearer, &email, ANOTHER).await, 401, "invalid_credentials");
    assert!(stored(&world, &ada).await.contains("m=8,t=1"), "a wrong password is no reason to store anything");
    // Whoever finds that another log-in has done so already checks again.
    let replies = join_all((0..4).map(|_| log_in(&dearer, &email, PASSWORD))).await;
    assert!(replies.iter().all(|reply| reply.status == 200), "{replies:?}");
    let renewed = stored(&world, &ada).await;
    assert!(renewed.starts_with("$argon2id$v=19$m=64,t=2,p=1$"), "{renewed}");
    // A dearer one stays as it is, and nothing of this is an event.
    assert_eq!(log_in(&ada, &email, PASSWORD).await.status, 200);
    assert_eq!(stored(&world, &ada).await, renewed);
    let events = ada.events().await;
    assert!(events.iter().all(|event| event["type"] != "convolog.user.password_changed.v1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_sign_in_by_the_old_password_outlives_the_change() {
    let world = World::start().await;
    let ada = world.tenant().await;
    let email = email(&ada).await;
    // The log-in has checked the password and waits for the user's row while the password is changed.
    let mut holder = world.database.admin.begin().await.unwrap();
    sqlx::query("select from users where tenant_id = $1 for update")
        .bind(ada.tenant)
        .execute(&mut *holder)
        .await
        .unwrap();
    let waiting = tokio::spawn({
        let (ada, email) = (ada.clone(), email.clone());
        async move { log_in(&ada, &email, PASSWORD).await }
    });
    until_wait_for_locks(&world, 1).await;
    assert_eq!(change(&ada, PASSWORD, ANOTHER).await.status, 200);
    holder.rollback().await.unwrap();
    assert_problem(&waiting.await.unwrap(), 401, "invalid_credentials");
    assert_eq!(ada.get("/v1/auth/sessions").await.body["data"].as_array().unwrap().len(), 1);
}
