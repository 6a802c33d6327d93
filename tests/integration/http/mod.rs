//! The HTTP contract as clients and attackers meet it: one file per concern; here is what they share.

mod api_keys;
mod auth;
mod commands;
mod conditions;
mod connections;
mod cookies;
mod edges;
pub(crate) mod feed;
mod hostile;
mod idempotency;
pub(crate) mod invitations;
mod lists;
mod outage;
mod overload;
mod passwords;
mod policy;
mod problems;
mod rate_limits;
mod reads;
mod routes;
mod shutdown;
mod sign_ins;
mod signing_keys;
mod sizes;
mod socket;
pub(crate) mod stalled;
mod stolen;
mod tenant;
mod tokens;
mod users;
mod values;
mod wire;

use api::signing_keys::provide;
use api::tokens::{Grant, KeySet, Signer, Tokens};
use domain::{TenantId, UserId, tenant::Role};
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tests::{PASSWORD, Reply, User, World, WorldSettings, eventually};
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

/// The keys with which this world's nodes issue and verify.
pub(crate) async fn keys(world: &World) -> KeySet {
    let api = world.node_settings(&WorldSettings::default(), false).api.unwrap();
    let (database, ..) = world.nodes[0].write_side().unwrap();
    provide(database, &api.master_secret).await.unwrap()
}

/// What issues tokens that this world's nodes believe when issuer and key are theirs.
pub(crate) async fn issuer(world: &World, issuer: Option<&str>, seed: Option<[u8; 32]>) -> Tokens {
    let api = world.node_settings(&WorldSettings::default(), false).api.unwrap();
    let issuer = issuer.map_or(api.public_url.unwrap(), str::to_owned);
    let keys = match seed {
        Some(seed) => KeySet::new(Signer::from_seed(seed).unwrap(), []),
        None => keys(world).await,
    };
    Tokens::new(&issuer, keys)
}

/// What the user's token was issued for.
pub(crate) fn grant(user: &User) -> Grant {
    let claims = tokens::decoded(user.token.as_ref().unwrap().split('.').nth(1).unwrap());
    let id = |name: &str| claims[name].as_str().unwrap().parse().unwrap();
    let role = Role::parse(claims["role"].as_str().unwrap()).unwrap();
    Grant { user: UserId(id("sub")), tenant: TenantId(id("tid")), sign_in: id("sid"), role }
}

#[expect(clippy::disallowed_methods, reason = "tokens are good by the clock")]
pub(crate) fn now() -> chrono::DateTime<chrono::Utc> {
    chrono::Utc::now()
}

/// Another member of the user's tenant, signed in: two events.
pub(crate) async fn member(of: &User, role: Role) -> User {
    let email = format!("{}@example.com", Uuid::now_v7());
    let body = json!({"email": email, "name": "Grace", "role": role.as_str(), "password": PASSWORD});
    let added = of.insist(|| of.request(Method::POST, "/v1/users").json(&body)).await;
    assert_eq!(added.status, 201, "{}", added.body);
    log_in(of, &email).await
}

/// Until so many statements or more wait for what others have locked.
pub(crate) async fn until_wait_for_locks(world: &World, least: i64) {
    let waiting =
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    eventually("statements wait for locks", async || {
        sqlx::query_scalar::<_, i64>(waiting).fetch_one(&world.database.admin).await.unwrap() >= least
    })
    .await;
}

/// The user of this address, signed in once more.
pub(crate) async fn log_in(there: &User, email: &str) -> User {
    there.signed_in(&logged_in(there, email).await)
}

/// The answer to a log-in.
pub(crate) async fn logged_in(there: &User, email: &str) -> Value {
    let body = json!({"email": email, "password": PASSWORD});
    let reply = there.insist(|| there.request(Method::POST, "/v1/auth/login").json(&body)).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.body
}

/// Somebody with a good token and a sign-in for this tenant and user, whether they exist or not.
pub(crate) async fn signed_in(world: &World, like: &User, tenant: Uuid, id: Uuid, role: Role) -> User {
    let sign_in = Uuid::now_v7();
    sqlx::query(
        "insert into auth_sessions (tenant_id, id, user_id, method, created_at, last_seen_at, expires_at, token_hash, rotated_at)
         values ($1, $2, $3, 'password', now(), now(), now() + interval '1 day', '', now())",
    )
    .bind(tenant)
    .bind(sign_in)
    .bind(id)
    .execute(&world.database.admin)
    .await
    .unwrap();
    let grant = Grant { user: UserId(id), tenant: TenantId(tenant), sign_in, role };
    let token = issuer(world, None, None).await.issue(grant, Uuid::now_v7(), now()).unwrap();
    let mut user = like.clone();
    (user.tenant, user.id, user.token) = (tenant, id, Some(token));
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
