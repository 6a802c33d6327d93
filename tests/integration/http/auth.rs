//! Registering and logging in: one answer for all wrong credentials, one choice where several tenants fit.

use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tests::{Reply, World};
use uuid::Uuid;

use super::{Raw, anonymous, assert_problem, pointers, post_text, raw};

const PASSWORD: &str = "nobody guesses this one";
const ANOTHER: &str = "nobody guesses that one either";

async fn log_in(world: &World, body: &Value) -> Raw {
    raw(post_text(&anonymous(world), "/v1/auth/login", body.to_string())).await
}

fn register_body(tenant: &str, email: &str, password: &str) -> Value {
    json!({"tenant_name": tenant, "email": email, "password": password, "name": "Ada"})
}

async fn register(world: &World, tenant: &str, email: &str, password: &str) -> Reply {
    anonymous(world).post("/v1/auth/register", &register_body(tenant, email, password)).await
}

async fn tenants(world: &World) -> i64 {
    sqlx::query_scalar("select count(*) from tenant_heads").fetch_one(&world.database.admin).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_registers_is_signed_in_as_the_owner_and_can_log_in_in_any_spelling_of_the_address() {
    let world = World::start().await;
    let registered = register(&world, "  Engines  ", " Ada@Example.COM ", PASSWORD).await;
    assert_eq!(registered.status, 201, "{}", registered.body);
    let body = &registered.body;
    assert_eq!((&body["tenant"]["name"], &body["user"]["name"]), (&json!("Engines"), &json!("Ada")));
    assert_eq!((&body["user"]["email"], &body["user"]["role"]), (&json!("ada@example.com"), &json!("owner")));
    assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("Bearer"), &json!(300)));
    assert!(!body.to_string().contains(PASSWORD) && !body.to_string().contains("argon2"));
    for email in ["ada@example.com", "ADA@EXAMPLE.COM", " aDa@example.com\t"] {
        let answer = log_in(&world, &json!({"email": email, "password": PASSWORD})).await.reply();
        assert_eq!((answer.status, &answer.body["user"]), (200, &body["user"]), "{email}");
        assert_eq!(answer.body["tenant"], body["tenant"]);
        let me = anonymous(&world).signed_in(&answer.body).get("/v1/auth/me").await;
        assert_eq!(me.body, json!({"tenant": body["tenant"], "user": body["user"]}));
    }
    // What the log says of it holds no secret.
    let log: String = sqlx::query_scalar("select string_agg(data::text || meta::text, ' ') from events")
        .fetch_one(&world.database.admin)
        .await
        .unwrap();
    assert!(!log.contains("argon2") && !log.contains(PASSWORD), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_wrong_credentials_get_the_same_answer() {
    let world = World::start().await;
    let ada = register(&world, "Engines", "ada@example.com", PASSWORD).await.body;
    let eve = register(&world, "Looms", "eve@example.com", ANOTHER).await.body;
    let mut seen: Vec<(u16, HeaderMap, String)> = Vec::new();
    for body in [
        json!({"email": "ada@example.com", "password": ANOTHER}),
        json!({"email": "ada@example.com", "password": ""}),
        json!({"email": "ada@example.com", "password": "x".repeat(100_000)}),
        json!({"email": "ada@example.com", "password": PASSWORD.to_uppercase()}),
        json!({"email": "nobody@example.com", "password": PASSWORD}),
        json!({"email": "ada@example.com", "password": PASSWORD, "tenant_id": eve["tenant"]["id"]}),
        json!({"email": "ada@example.com", "password": PASSWORD, "tenant_id": Uuid::now_v7()}),
        json!({"email": "eve@example.com", "password": PASSWORD, "tenant_id": ada["tenant"]["id"]}),
        json!({"email": "ada@example.com' or '1'='1", "password": PASSWORD}),
    ] {
        let answer = log_in(&world, &body).await;
        if body["email"].as_str().unwrap().contains(' ') {
            assert_problem(&answer.reply(), 422, "validation_failed");
            continue;
        }
        assert_problem(&answer.reply(), 401, "invalid_credentials");
        let mut headers = answer.headers.clone();
        headers.remove("date");
        headers.remove("x-request-id");
        seen.push((answer.status, headers, answer.text.replace(answer.header("x-request-id"), "")));
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_an_account_in_several_tenants_chooses_one() {
    let world = World::start().await;
    let one = register(&world, "Engines", "ada@example.com", PASSWORD).await.body;
    let two = register(&world, "Looms", "Ada@example.com", PASSWORD).await.body;
    let other = register(&world, "Mills", "ada@example.com", ANOTHER).await.body;
    let (Some(first), Some(second)) = (one["tenant"]["id"].as_str(), two["tenant"]["id"].as_str()) else { panic!() };

    let answer = log_in(&world, &json!({"email": "ada@example.com", "password": PASSWORD})).await.reply();
    assert_problem(&answer, 409, "tenant_required");
    // Only those that the password opens.
    let choice = |signed_in: &Value| json!({"id": signed_in["tenant"]["id"], "name": signed_in["tenant"]["name"]});
    assert_eq!(answer.body["tenants"], json!([choice(&one), choice(&two)]));
    for (id, tenant) in [(first, &one), (second, &two)] {
        let body = json!({"email": "ada@example.com", "password": PASSWORD, "tenant_id": id});
        let answer = log_in(&world, &body).await.reply();
        assert_eq!(
            (answer.status, &answer.body["tenant"], &answer.body["user"]),
            (200, &tenant["tenant"], &tenant["user"])
        );
    }
    let answer = log_in(&world, &json!({"email": "ada@example.com", "password": ANOTHER})).await.reply();
    assert_eq!((answer.status, &answer.body["tenant"]), (200, &other["tenant"]));
    // The same person is another user in each tenant, who sees only that tenant.
    let (here, there) = (anonymous(&world).signed_in(&one), anonymous(&world).signed_in(&two));
    let session = here.start_session().await;
    world.drain().await;
    assert_problem(&there.get(&format!("/v1/sessions/{session}")).await, 404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn weak_passwords_and_malformed_registrations_are_refused_by_name_and_found_nothing() {
    let world = World::start().await;
    for (password, code) in [
        ("shorty", "password_too_short"),
        ("elevenchars", "password_too_short"),
        ("password1234", "password_too_common"),
        ("aaaaaaaaaaaaaaaa", "password_is_a_pattern"),
        ("ada.lovelace@example.com", "password_is_personal"),
        ("analytical engines", "password_is_personal"),
    ] {
        let reply = register(&world, "Analytical Engines", "ada.lovelace@example.com", password).await;
        assert_problem(&reply, 422, "validation_failed");
        let error = &reply.body["errors"][0];
        assert_eq!((&error["pointer"], &error["code"]), (&json!("/password"), &json!(code)), "{password}");
        assert!(!reply.body.to_string().contains(password));
    }
    let long = register(&world, "Engines", "ada@example.com", &format!("{PASSWORD} ").repeat(6)).await;
    assert_eq!(long.body["errors"][0]["code"], "password_too_long");

    let good = register_body("Engines", "ada@example.com", PASSWORD);
    for (member, value) in [
        ("tenant_name", json!("")),
        ("tenant_name", json!("   ")),
        ("tenant_name", json!("x".repeat(201))),
        ("name", json!(" ")),
        ("name", json!(null)),
        ("email", json!("ada")),
        ("email", json!("a@b@example.com")),
        ("email", json!("ada@example")),
        ("email", json!(format!("{}@example.com", "a".repeat(250)))),
        ("password", json!(123_456_789_012_u64)),
        ("role", json!("owner")),
    ] {
        let mut body = good.clone();
        body[member] = value;
        let reply = anonymous(&world).post("/v1/auth/register", &body).await;
        assert_problem(&reply, 422, "validation_failed");
        assert_eq!(pointers(&reply), [format!("/{member}")], "{}", reply.body);
        assert!(!reply.body.to_string().contains("123456789012"));
    }
    assert_eq!(tenants(&world).await, 0);
    assert_eq!(anonymous(&world).post("/v1/auth/register", &good).await.status, 201);
    assert_eq!(tenants(&world).await, 1);
}
