//! `/v1/auth/sessions`: where am I signed in, and the end of one of these.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::user::RevokeReason;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use sqlx::Row as _;
use store::{MAX_SIGN_INS, Which};
use uuid::Uuid;

use super::kept::{Ended, end};
use crate::{
    caller::Person,
    error::{Code, Error},
    openapi::{About, Tag},
    paging::Query,
    path::PathParams,
    reads::{Answer, Read},
    sessions::ReadOne,
    state::Api,
    trace_context::Origin,
};

/// A sign-in of the user.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SignIn")]
struct SignInView {
    id: Uuid,
    /// Whether this request comes from it.
    current: bool,
    /// How they have proven who they are.
    #[schemars(extend("enum" = ["password"]))]
    method: String,
    created_at: DateTime<Utc>,
    /// When it was used last to stay signed in.
    last_seen_at: DateTime<Utc>,
    /// When it ends unless it is used.
    expires_at: DateTime<Utc>,
    /// What the client called itself.
    user_agent: Option<String>,
    /// From where.
    address: Option<String>,
}

/// Where the user is signed in.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SignIns", example = json!({"data": [{
    "id": "01a2046a-b01f-7000-8000-000000000009", "current": true, "method": "password",
    "created_at": "2026-11-23T09:00:00Z", "last_seen_at": "2026-11-23T09:55:00Z", "expires_at": "2026-12-23T09:00:00Z",
    "user_agent": "curl/8.7.1", "address": "127.0.0.1",
}]}))]
pub(crate) struct SignIns {
    /// The newest first.
    #[schemars(length(max = MAX_SIGN_INS))]
    data: Vec<SignInView>,
}

/// What the document says of [`list`].
pub(crate) const LIST: About = About {
    id: "listSignIns",
    tag: Tag::Auth,
    summary: "See where one is signed in",
    text: "All of them: a user has at most fifty, a further one ends the oldest.",
    codes: &[],
    links: &[],
};

pub(crate) async fn list(
    State(api): State<Api>,
    person: Person,
    Query(query): Query<ReadOne>,
) -> Result<Answer<SignIns>, Error> {
    let mut read = Read::committed(&api, &person.caller, query.min_seq).await?;
    let rows = sqlx::query(
        "select id, method, created_at, last_seen_at, expires_at, user_agent, address from auth_sessions
         where tenant_id = $1 and user_id = $2 and expires_at > $3 order by created_at desc, id",
    )
    .bind(read.tenant())
    .bind(person.user.0)
    .bind(api.inner.now())
    .fetch_all(read.connection())
    .await?;
    let view = |row: &sqlx::postgres::PgRow| {
        let id: Uuid = row.try_get("id")?;
        Ok(SignInView {
            id,
            current: id == person.sign_in,
            method: row.try_get("method")?,
            created_at: row.try_get("created_at")?,
            last_seen_at: row.try_get("last_seen_at")?,
            expires_at: row.try_get("expires_at")?,
            user_agent: row.try_get("user_agent")?,
            address: row.try_get("address")?,
        })
    };
    let data = rows.iter().map(view).collect::<Result<_, sqlx::Error>>()?;
    read.answer(&SignIns { data }).await
}

/// What the document says of [`revoke`].
pub(crate) const REVOKE: About = About {
    id: "endSignIn",
    tag: Tag::Auth,
    summary: "End a sign-in",
    text: "Of one's own. Its tokens are refused: here at once, on other nodes within five seconds.",
    codes: &[Code::OutcomeUnknown],
    links: &[],
};

pub(crate) async fn revoke(
    State(api): State<Api>,
    person: Person,
    PathParams(id): PathParams<Uuid>,
    origin: Origin,
) -> Result<Json<Ended>, Error> {
    end(&api, &person, origin, Which::One(id), RevokeReason::Revoked).await.map(Json)
}
