//! `POST /v1/api-keys`: let a program in. The secret is answered once and kept nowhere.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SubsecRound as _, Utc};
use domain::tenant::MAX_NAME;
use domain::user::Scope;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{NewApiKey, create_api_key};
use uuid::Uuid;

use super::{key::ApiKey, rejected, scopes::Scopes};
use crate::{
    auth,
    body::{JsonBody, Word},
    caller::Person,
    command::{self, refused, say_replayed},
    conditions::NoCondition,
    error::{Code, Error},
    idempotency::IdempotencyKey,
    openapi::{About, Answers, Header, Operation, Tag, domain_types},
    secret,
    state::Api,
    trace_context::Origin,
    violation::Violation,
};

/// What a new key is for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"name": "Billing", "scopes": ["costs:read", "events:read"], "expires_at": "2027-11-22T00:00:00Z"}))]
pub(crate) struct CreateApiKey {
    /// Chosen here, or made by us.
    id: Option<Uuid>,
    /// For whoever looks at the list later; not only white space.
    #[schemars(length(min = 1, max = MAX_NAME), regex(pattern = r"[^\s\x85]"))]
    name: String,
    #[schemars(with = "Vec<domain_types::KeyScope>", length(min = 1, max = Scope::ALL.len()))]
    scopes: Vec<Word<Scope>>,
    /// When it stops working, at most five years from now; never, when left out.
    expires_at: Option<DateTime<Utc>>,
}

impl CreateApiKey {
    /// The id, the name as it is kept, and what the key may do.
    fn checked(&self) -> Result<(Uuid, String, Scopes), Error> {
        let invalid =
            |member: &str, code, detail: &str| Err(Error::invalid(Violation::in_body([member], code, detail)));
        let id = self.id.unwrap_or_else(Uuid::now_v7);
        if id.is_nil() {
            return invalid("id", "invalid_value", "must not be the nil UUID");
        }
        let name = auth::name(&self.name, "name")?;
        let most = Scope::ALL.len();
        match self.scopes.len() {
            0 => return invalid("scopes", "too_short", "must have at least one scope"),
            found if found > most => {
                return invalid("scopes", "too_long", &format!("has {found} scopes, at most {most} are allowed"));
            }
            _ => {}
        }
        Ok((id, name, self.scopes.iter().map(|Word(scope)| *scope).collect()))
    }
}

/// A key that was created.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NewApiKey", example = json!({
    "id": "01a2046a-b446-7000-8000-00000000000b", "seq": 9,
    "key": "cvl_AAAAAAAAAAAAAAAAAAAAAQAAAAAAAAAAAAAAAAAAAAI_CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk6lpm-g",
}))]
pub(crate) struct NewKey {
    id: Uuid,
    /// Number of the event in the tenant's log.
    #[schemars(range(min = 1))]
    seq: u64,
    /// For the header `Authorization: Bearer …`. Shown this once: it is not in the answer to a repeated request.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

/// 201.
pub(crate) struct CreatedKey(Response);

impl IntoResponse for CreatedKey {
    fn into_response(self) -> Response {
        self.0
    }
}

impl Answers for CreatedKey {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers::<NewKey>(201, "It is created, durably, and works from now on.", &[Header::Replayed]);
        operation.fails(&command::FAILURES);
    }
}

/// What the document says of [`create`].
pub(crate) const CREATE: About = About {
    id: "createApiKey",
    tag: Tag::ApiKeys,
    summary: "Create an API key",
    text: "The answer shows the key this once: only a hash of its secret is kept, so that a lost key is replaced, not found. \
           A request that is repeated under its `Idempotency-Key` is answered without `key`. A tenant has at most a hundred keys, \
           and whoever leaves it takes theirs along.",
    codes: &[Code::IdTaken, Code::TooMany],
    links: &["revokeApiKey"],
};

pub(crate) async fn create(
    State(api): State<Api>,
    person: Person,
    origin: Origin,
    idempotency: IdempotencyKey,
    _: NoCondition,
    JsonBody { value: body, received }: JsonBody<CreateApiKey>,
) -> Result<CreatedKey, Error> {
    let (id, name, scopes) = body.checked()?;
    let key = ApiKey::new(person.caller.context.tenant(), id, secret::random()?);
    let expires_at = body.expires_at.map(|end| end.trunc_subsecs(6));
    let new = NewApiKey { id, name, scopes: scopes.iter().collect(), expires_at, secret_hash: key.hash() };
    let context = command::context(&api, &person.caller, origin, idempotency, received);
    let outcome = create_api_key(&api.inner.database, api.inner.on_commit.clone(), context, new).await;
    let outcome = outcome.map_err(|error| refused(error, rejected))?;
    // What was created before has another secret than this one.
    let key = (!outcome.replayed).then(|| key.text());
    let mut response =
        (StatusCode::CREATED, Json(NewKey { id: outcome.receipt, seq: outcome.seq, key })).into_response();
    say_replayed(response.headers_mut(), outcome.replayed);
    Ok(CreatedKey(response))
}
