//! The HTTP contract as clients and attackers meet it: one file per concern; here is what they share.

mod auth;
mod commands;
mod conditions;
mod connections;
mod edges;
pub(crate) mod feed;
mod hostile;
mod idempotency;
mod lists;
mod outage;
mod overload;
mod problems;
mod reads;
mod routes;
mod shutdown;
mod sizes;
mod socket;
mod stalled;
mod tokens;
mod values;
mod wire;

use api::tokens::{Grant, Signer, Tokens};
use domain::{TenantId, UserId, tenant::Role};
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use tests::{Reply, User, World, WorldSettings};
use uuid::Uuid;

/// An answer with its bytes.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) status: u16,
    headers: HeaderMap,
    pub(crate) text: String,
}

impl Raw {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn reply(&self) -> Reply {
        let body = serde_json::from_str(&self.text).unwrap_or(Value::Null);
        Reply { status: self.status, headers: self.headers.clone(), body }
    }
}

pub(crate) async fn raw(request: RequestBuilder) -> Raw {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Raw { status, headers, text: response.text().await.unwrap() }
}

/// A POST of exactly these bytes as JSON.
pub(crate) fn post_text(user: &User, path: &str, text: impl Into<reqwest::Body>) -> RequestBuilder {
    user.request(Method::POST, path).header("content-type", "application/json").body(text)
}

/// A POST of exactly these bytes as JSON under an idempotency key.
async fn keyed(user: &User, path: &str, key: &str, text: &str) -> Raw {
    raw(post_text(user, path, text.to_owned()).header("idempotency-key", key)).await
}

/// Holds every error to the contract: one form, one place for its id, and whoever may try again is told when.
#[track_caller]
pub(crate) fn assert_problem(reply: &Reply, status: u16, code: &str) {
    let body = &reply.body;
    assert_eq!((reply.status, reply.code()), (status, code), "{body}");
    assert_eq!(reply.header("content-type"), "application/problem+json", "{body}");
    assert_eq!(body["type"], format!("/problems/{code}"));
    assert_eq!(body["status"], status);
    for member in ["title", "detail"] {
        assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "{member} of {body}");
    }
    let request: Uuid = body["request_id"].as_str().unwrap().parse().unwrap();
    assert_eq!(reply.header("x-request-id"), request.to_string());
    assert_eq!(reply.headers.contains_key("retry-after"), matches!(status, 429 | 503), "{body}");
    assert_eq!(reply.headers.contains_key("www-authenticate"), status == 401, "{body}");
}

/// The pointers of a 422.
fn pointers(reply: &Reply) -> Vec<String> {
    let errors = reply.body["errors"].as_array().cloned().unwrap_or_default();
    errors.iter().map(|error| error["pointer"].as_str().unwrap_or("none").to_owned()).collect()
}

/// The number of the last event in a tenant's log, as the database has it.
async fn head(world: &World, tenant: Uuid) -> u64 {
    let head: i64 = sqlx::query_scalar("select seq from tenant_heads where tenant_id = $1")
        .bind(tenant)
        .fetch_one(&world.database.admin)
        .await
        .unwrap();
    head.cast_unsigned()
}

/// What issues tokens that this world's nodes believe when issuer and seed are theirs.
pub(crate) fn tokens(world: &World, issuer: Option<&str>, seed: Option<[u8; 32]>) -> Tokens {
    let api = world.node_settings(&WorldSettings::default(), false).api.unwrap();
    let issuer = issuer.map_or(api.public_url.unwrap(), str::to_owned);
    Tokens::new(&issuer, Signer::from_seed(seed.unwrap_or(api.signing_seed)).unwrap(), [])
}

pub(crate) fn grant(user: &User, role: Role) -> Grant {
    Grant { user: UserId(user.id), tenant: TenantId(user.tenant), sign_in: Uuid::now_v7(), role }
}

#[expect(clippy::disallowed_methods, reason = "tokens are good by the clock")]
pub(crate) fn now() -> chrono::DateTime<chrono::Utc> {
    chrono::Utc::now()
}

/// Another member of the user's tenant, signed in. There is no endpoint for it yet, so the rows are written here.
pub(crate) async fn member(world: &World, of: &User, role: Role) -> User {
    let id = Uuid::now_v7();
    sqlx::query(
        "insert into users (tenant_id, id, email, name, role, created_at, version) values ($1, $2, $3, 'M', $4, now(), 9)",
    )
    .bind(of.tenant)
    .bind(id)
    .bind(format!("{id}@example.com"))
    .bind(role.as_str())
    .execute(&world.database.admin)
    .await
    .unwrap();
    signed_in(world, of, of.tenant, id, role)
}

/// Somebody with a good token for this tenant and user, whether they exist or not.
fn signed_in(world: &World, like: &User, tenant: Uuid, id: Uuid, role: Role) -> User {
    let mut user = like.clone();
    (user.tenant, user.id) = (tenant, id);
    user.token = Some(tokens(world, None, None).issue(grant(&user, role), Uuid::now_v7(), now()).unwrap());
    user
}

/// The same client without credentials.
fn nobody(user: &User) -> User {
    let mut nobody = user.clone();
    nobody.token = None;
    nobody
}

pub(crate) fn anonymous(world: &World) -> User {
    User::anonymous(world.http.clone(), world.url(0))
}

fn two_apis() -> WorldSettings {
    WorldSettings { apis: 2, ..WorldSettings::default() }
}
