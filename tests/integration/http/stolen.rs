//! A copy of the database opens nothing: no secret that anybody was ever given is in it, in any form.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use domain::tenant::Role;
use reqwest::Method;
use serde_json::json;
use tests::{PASSWORD, World};

use super::{logged_in, member};

/// All rows of all tables, as text.
async fn dump(world: &World) -> String {
    let tables: Vec<String> = sqlx::query_scalar(
        "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname not in ('pg_catalog', 'information_schema')",
    )
    .fetch_all(&world.database.admin)
    .await
    .unwrap();
    assert!(tables.len() > 25, "{tables:?}");
    let mut dump = String::new();
    for table in tables {
        let sql = format!("select coalesce(string_agg(t::text, E'\\n'), '') from {table} t");
        dump +=
            &sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(sql)).fetch_one(&world.database.admin).await.unwrap();
    }
    dump
}

/// The 32 secret bytes of a token of ours, after its ids of 32 bytes: an API key has them in a text of its own.
fn secret_of(token: &str) -> Option<Vec<u8>> {
    let (_, text) = token.split_at_checked(4).filter(|(prefix, _)| prefix.starts_with("cv"))?;
    let key = text.get(44..87).filter(|_| text.as_bytes()[43] == b'_' && text.len() == 93);
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(key.unwrap_or(text)).unwrap();
    Some(if key.is_some() { bytes } else { bytes[32..64].to_vec() })
}

/// The forms in which it could be kept.
fn forms(secret: &str) -> Vec<String> {
    let bytes = secret_of(secret).into_iter();
    let hex = bytes.map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect());
    [secret.to_owned()].into_iter().chain(hex).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_copy_of_the_database_has_nothing_that_signs_in() {
    let world = World::start().await;
    let ada = world.tenant().await;
    member(&ada, Role::Admin).await;
    let email = ada.get("/v1/auth/me").await.body["user"]["email"].as_str().unwrap().to_owned();
    let tokens = logged_in(&ada, &email).await;
    let refreshed = ada.post("/v1/auth/refresh", &json!({"refresh_token": tokens["refresh_token"]})).await.body;
    let cookie = json!({"email": email, "password": PASSWORD, "cookie": true});
    let cookie = ada.insist(|| ada.request(Method::POST, "/v1/auth/login").json(&cookie)).await;
    let cookie = cookie.header("set-cookie").split(['=', ';']).nth(1).unwrap().to_owned();
    let key = ada.post("/v1/api-keys", &json!({"name": "Import", "scopes": ["write"]})).await.body;
    let invited = ada.post("/v1/users", &json!({"email": "m@example.com", "name": "M", "role": "member"})).await.body;
    let secret = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let secrets = [
        secret(&tokens["access_token"]),
        secret(&tokens["refresh_token"]),
        secret(&refreshed["refresh_token"]),
        cookie,
        secret(&key["key"]),
        secret(&invited["invitation"]["token"]),
        PASSWORD.to_owned(),
    ];
    let dump = dump(&world).await;
    // It is the whole of it: what is no secret is there.
    assert!(dump.contains(&email) && dump.contains("$argon2id$") && dump.contains("Import"));
    assert_eq!(secrets.iter().filter_map(|secret| secret_of(secret)).count(), 5);
    for secret in secrets {
        for form in forms(&secret) {
            assert!(!dump.contains(&form), "{form} of {secret}");
        }
    }
}
