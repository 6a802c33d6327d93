//! `/v1/api-keys`: the programs that a tenant lets in, and how they are known again.

pub(crate) mod create;
pub(crate) mod key;
pub(crate) mod known;
pub(crate) mod scopes;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use store::{ApiKeyRejection, MAX_API_KEYS, revoke_api_key};
use uuid::Uuid;

use crate::{
    body::{JsonBody, NoFields},
    caller::{Caller, Person},
    command::{self, refused, say_replayed},
    conditions::NoCondition,
    error::{Code, Error},
    idempotency::IdempotencyKey,
    openapi::{About, Answers, Header, Operation, Tag, domain_types},
    paging::Query,
    path::PathParams,
    reads::{Answer, Read},
    sessions::ReadOne,
    state::Api,
    trace_context::Origin,
    violation::Violation,
};

pub use key::{ApiKey, Malformed};
pub use scopes::Scopes;

/// An API key, without its secret.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ApiKey")]
struct ApiKeyView {
    id: Uuid,
    /// What it is for.
    name: String,
    #[schemars(with = "Vec<domain_types::KeyScope>")]
    scopes: Vec<String>,
    created_at: DateTime<Utc>,
    /// Which user has created it.
    created_by: Uuid,
    /// When it stops working.
    expires_at: Option<DateTime<Utc>>,
    /// When it was used last, to the minute.
    last_used_at: Option<DateTime<Utc>>,
}

/// The keys of a tenant.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(example = json!({"data": [{
    "id": "01a2046a-b446-7000-8000-00000000000b", "name": "Billing", "scopes": ["costs:read", "events:read"],
    "created_at": "2026-11-22T18:00:00Z", "created_by": "01a2046a-b01f-7000-8000-000000000002",
    "expires_at": "2027-11-22T00:00:00Z", "last_used_at": "2026-11-23T09:55:00Z",
}]}))]
pub(crate) struct ApiKeys {
    /// The newest first; expired ones too, until they are revoked.
    #[schemars(length(max = MAX_API_KEYS))]
    data: Vec<ApiKeyView>,
}

/// What the document says of [`list`].
pub(crate) const LIST: About = About {
    id: "listApiKeys",
    tag: Tag::ApiKeys,
    summary: "List API keys",
    text: "All of them, without their secrets.",
    codes: &[],
    links: &[],
};

pub(crate) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Query(query): Query<ReadOne>,
) -> Result<Answer<ApiKeys>, Error> {
    let mut read = Read::committed(&api, &caller, query.min_seq).await?;
    let rows = sqlx::query(
        "select id, name, scopes, created_at, created_by, expires_at, last_used_at from api_keys
         where tenant_id = $1 order by created_at desc, id",
    )
    .bind(read.tenant())
    .fetch_all(read.connection())
    .await?;
    let view = |row: &PgRow| {
        Ok(ApiKeyView {
            id: row.try_get("id")?,
            name: row.try_get("name")?,
            scopes: row.try_get("scopes")?,
            created_at: row.try_get("created_at")?,
            created_by: row.try_get("created_by")?,
            expires_at: row.try_get("expires_at")?,
            last_used_at: row.try_get("last_used_at")?,
        })
    };
    let data = rows.iter().map(view).collect::<Result<_, sqlx::Error>>()?;
    read.answer(&ApiKeys { data }).await
}

/// A key that works no more.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(example = json!({"id": "01a2046a-b446-7000-8000-00000000000b", "seq": 10}))]
pub(crate) struct RevokedKey {
    id: Uuid,
    /// Number of the event in the tenant's log.
    #[schemars(range(min = 1))]
    seq: u64,
}

/// 200.
pub(crate) struct Revoked(Response);

impl IntoResponse for Revoked {
    fn into_response(self) -> Response {
        self.0
    }
}

impl Answers for Revoked {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers::<RevokedKey>(200, "It is revoked, durably.", &[Header::Replayed]);
        operation.fails(&command::FAILURES);
    }
}

/// What the document says of [`revoke`].
pub(crate) const REVOKE: About = About {
    id: "revokeApiKey",
    tag: Tag::ApiKeys,
    summary: "Revoke an API key",
    text: "It is refused: here at once, on other nodes within five seconds.",
    codes: &[],
    links: &[],
};

pub(crate) async fn revoke(
    State(api): State<Api>,
    person: Person,
    PathParams(id): PathParams<Uuid>,
    origin: Origin,
    idempotency: IdempotencyKey,
    _: NoCondition,
    JsonBody { value: NoFields {}, received }: JsonBody<NoFields>,
) -> Result<Revoked, Error> {
    let tenant = person.caller.context.tenant();
    let context = command::context(&api, &person.caller, origin, idempotency, received);
    let outcome = revoke_api_key(&api.inner.database, api.inner.on_commit.clone(), context, id).await;
    // Also when it is not known what became of it.
    api.inner.api_keys.forget(|known| known.tenant == tenant && known.id == id);
    let outcome = outcome.map_err(|error| refused(error, rejected))?;
    let mut response = Json(RevokedKey { id: outcome.receipt, seq: outcome.seq }).into_response();
    say_replayed(response.headers_mut(), outcome.replayed);
    Ok(Revoked(response))
}

/// A rejection as the client is told.
fn rejected(rejection: ApiKeyRejection) -> Error {
    match rejection {
        ApiKeyRejection::NotAllowed => Error::new(Code::Forbidden, "This needs the role admin or a higher one."),
        ApiKeyRejection::NotFound => Error::not_found(),
        ApiKeyRejection::TooMany => {
            Error::new(Code::TooMany, format!("A tenant has at most {MAX_API_KEYS} API keys: revoke one first."))
        }
        ApiKeyRejection::ExpiresOutOfRange => {
            let detail = "must be in the future, at most five years from now";
            Error::invalid(Violation::in_body(["expires_at"], "out_of_range", detail))
        }
    }
}
