//! Adding, changing and removing members.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use domain::tenant::{Command, MAX_NAME, NewUser, Role, UserChange};
use domain::{Email, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::Row as _;
use store::{Beside, INVITATION_LIFETIME};
use uuid::Uuid;

use crate::{
    auth::{invitation::new_invitation, name},
    body::{JsonBody, NoFields, Word},
    caller::Person,
    command::{self, Changed, Done, changed},
    conditions::{IfMatch, NoCondition},
    error::Error,
    idempotency::IdempotencyKey,
    members::{MAX_URL, NO, change, https_url, nothing_to_change, nullable},
    openapi::{About, Answers, Header, Operation, Tag, domain_types},
    passwords::{MAX_LENGTH, MIN_LENGTH, Password, Personal},
    path::PathParams,
    reads::Read,
    secret::Secret,
    state::Api,
    trace_context::Origin,
};

/// Somebody who is to become a member.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({
    "email": "grace@example.com", "name": "Grace", "role": "member", "password": "correct horse battery",
}))]
pub(crate) struct AddUser {
    /// Chosen by the client, or else by the server; never given to anybody else.
    id: Option<Uuid>,
    /// No other member's.
    #[schemars(with = "String", extend("format" = "email"), length(max = Email::MAX_LENGTH))]
    email: Email,
    /// What they are called; not only white space.
    #[schemars(length(min = 1, max = MAX_NAME), regex(pattern = r"[^\s\x85]"))]
    name: String,
    /// What they may do: less than oneself, but owners make owners.
    #[schemars(with = "domain_types::MemberRole")]
    role: Word<Role>,
    /// Their first password. Without one they are invited: the answer has a token with which they choose one.
    #[schemars(with = "Option<String>", length(min = MIN_LENGTH, max = MAX_LENGTH), extend("format" = "password"))]
    password: Option<Secret>,
}

/// A member who was added.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NewMember", example = json!({
    "id": "01a2046a-b446-7000-8000-00000000000c", "seq": 8, "version": 3,
    "invitation": {
        "token": "cvi_AaIEarAfczhyIfloqOlSBAGiBGq0RnAAgAAAAAAAAAwJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQ",
        "expires_at": "2026-11-30T09:00:00Z",
    },
}))]
pub(crate) struct NewMember {
    #[serde(flatten)]
    done: Done,
    /// Of somebody without a password. Shown this once: it is not in the answer to a repeated request.
    #[serde(skip_serializing_if = "Option::is_none")]
    invitation: Option<InvitationView>,
}

/// With what somebody who is invited chooses a password: for `POST /v1/auth/password/set`, once.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Invitation")]
struct InvitationView {
    token: String,
    expires_at: DateTime<Utc>,
}

/// 201.
pub(crate) struct Added(Response);

impl IntoResponse for Added {
    fn into_response(self) -> Response {
        self.0
    }
}

impl Answers for Added {
    fn describe(operation: &mut Operation<'_>) {
        let headers = [Header::Etag, Header::Location, Header::Replayed];
        operation.answers::<NewMember>(201, "They are a member, durably.", &headers);
        operation.fails(&command::FAILURES);
    }
}

/// What the document says of [`add`].
pub(crate) const ADD: About = About {
    id: "addUser",
    tag: Tag::Tenant,
    summary: "Add a member",
    text: "With a first password, or with an invitation that the answer shows once: pass its token on, it is good for seven days.",
    codes: NO,
    links: &["readUser", "changeUser", "removeUser"],
};

pub(crate) async fn add(
    State(api): State<Api>,
    person: Person,
    origin: Origin,
    key: IdempotencyKey,
    _: NoCondition,
    JsonBody { value: body, received }: JsonBody<AddUser>,
) -> Result<Added, Error> {
    let AddUser { id, email, name: given, role: Word(role), password } = body;
    let name = name(&given, "name")?;
    let user_id = UserId(id.unwrap_or_else(Uuid::now_v7));
    let context = command::context(&api, &person.caller, origin, key, received);
    let (has_password, expires_at) = (password.is_some(), context.occurred_at + INVITATION_LIFETIME);
    let (beside, token) = match password {
        Some(password) => (Beside::Password(hashed(&api, &person, &email, &password).await?), None),
        None => {
            let (token, invitation) = new_invitation(person.caller.context.tenant(), user_id, &email)?;
            (Beside::Invitation(invitation), Some(token))
        }
    };
    let user = NewUser { user_id, email, name };
    let command = Command::AddUser { by: person.user, user, role, has_password };
    let outcome = change(&api, context, command, user_id.0, beside).await?;
    // Who was added before has another token than this one.
    let token = token.filter(|_| !outcome.replayed);
    let invitation = token.map(|token| InvitationView { token, expires_at });
    let (headers, done) = command::created_parts(&outcome, format!("/v1/users/{}", outcome.receipt));
    Ok(Added((StatusCode::CREATED, headers, Json(NewMember { done, invitation })).into_response()))
}

async fn hashed(api: &Api, person: &Person, email: &Email, password: &Secret) -> Result<String, Error> {
    let tenant_name = tenant_name(api, person).await?;
    let personal = Personal { email, tenant_name: &tenant_name };
    let password = Password::chosen(password, personal).map_err(|weakness| weakness.in_member("password"))?;
    let _place = api.inner.passwords.place()?;
    api.inner.passwords.hash(password).await
}

/// A password is not the tenant's name.
async fn tenant_name(api: &Api, person: &Person) -> Result<String, Error> {
    let mut read = Read::committed(api, &person.caller, None).await?;
    let row = sqlx::query("select name from tenants where tenant_id = $1")
        .bind(read.tenant())
        .fetch_one(read.connection())
        .await?;
    Ok(row.try_get("name")?)
}

/// What is to change; the rest stays.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"role": "admin"}))]
#[schemars(extend("minProperties" = 1))]
pub(crate) struct ChangeUser {
    /// What they may do. Nobody grants their own role or a higher one, but owners do.
    #[schemars(with = "Option<domain_types::MemberRole>")]
    role: Option<Word<Role>>,
    /// What they are called; not only white space.
    #[schemars(length(min = 1, max = MAX_NAME), regex(pattern = r"[^\s\x85]"))]
    name: Option<String>,
    /// An https URL of their picture, or `null` for none.
    #[serde(default, deserialize_with = "nullable")]
    #[schemars(with = "Option<String>", length(max = MAX_URL), regex(pattern = "^https://"), extend("format" = "uri"))]
    avatar_url: Option<Option<String>>,
}

/// What the document says of [`change_user`].
pub(crate) const CHANGE: About = About {
    id: "changeUser",
    tag: Tag::Tenant,
    summary: "Change a member",
    text: "Everybody changes their own name and picture; admins also those of members, and owners everybody's.",
    codes: NO,
    links: &["readUser"],
};

pub(crate) async fn change_user(
    State(api): State<Api>,
    person: Person,
    PathParams(id): PathParams<Uuid>,
    origin: Origin,
    key: IdempotencyKey,
    if_match: IfMatch,
    JsonBody { value: body, received }: JsonBody<ChangeUser>,
) -> Result<Changed, Error> {
    let ChangeUser { role, name: given, avatar_url } = body;
    if role.is_none() && given.is_none() && avatar_url.is_none() {
        return Err(nothing_to_change());
    }
    let url = |url: Option<String>| url.map(|url| https_url(url, "avatar_url")).transpose();
    let asked = UserChange {
        role: role.map(|Word(role)| role),
        name: given.map(|given| name(&given, "name")).transpose()?,
        avatar_url: avatar_url.map(url).transpose()?,
    };
    let context = command::context(&api, &person.caller, origin, key, received);
    let user = UserId(id);
    let command = Command::ChangeUser { by: person.user, user, seen: if_match.version(), change: asked };
    let outcome = change(&api, context, command, id, Beside::Nothing).await?;
    forget(&api, user);
    Ok(changed(&outcome))
}

/// What the document says of [`remove`].
pub(crate) const REMOVE: About = About {
    id: "removeUser",
    tag: Tag::Tenant,
    summary: "Remove a member",
    text: "Their sign-ins end: here at once, on other nodes within five seconds. Everybody may leave, but the last owner.",
    codes: NO,
    links: &[],
};

pub(crate) async fn remove(
    State(api): State<Api>,
    person: Person,
    PathParams(id): PathParams<Uuid>,
    origin: Origin,
    key: IdempotencyKey,
    if_match: IfMatch,
    JsonBody { value: NoFields {}, received }: JsonBody<NoFields>,
) -> Result<Changed, Error> {
    let context = command::context(&api, &person.caller, origin, key, received);
    let user = UserId(id);
    let command = Command::RemoveUser { by: person.user, user, seen: if_match.version() };
    let outcome = change(&api, context, command, id, Beside::EndOfAccess).await?;
    forget(&api, user);
    Ok(changed(&outcome))
}

/// The next request of the user asks what they may do now.
fn forget(api: &Api, user: UserId) {
    api.inner.tokens.forget(|known| known.grant.user == user);
    api.inner.api_keys.forget(|known| known.created_by == user);
}
