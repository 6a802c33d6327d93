//! `/v1/auth`: found a tenant, log in, see who one is.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::tenant::{MAX_NAME, NewUser, Role};
use domain::{Actor, ActorKind, Email, TenantId, UserId};
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use store::{Account, CommandContext, NewTenant, RegisterError, TenantContext, accounts_by_email, register_tenant};
use uuid::Uuid;

use crate::{
    body::JsonBody,
    caller::Caller,
    error::{Code, Error, TenantChoice},
    json::at_most,
    paging::Query,
    passwords::{Password, Personal, RoomToHash, Verdict},
    problem,
    reads::Read,
    secret::Secret,
    sessions::ReadOne,
    state::Api,
    tokens::{Grant, LIFETIME},
    trace_context::Origin,
    violation::Violation,
};

/// `POST /v1/auth/register`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Register {
    tenant_name: String,
    email: Email,
    password: Secret,
    name: String,
}

/// `POST /v1/auth/login`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    email: Email,
    password: Secret,
    tenant_id: Option<Uuid>,
}

#[derive(Debug, Serialize)]
struct TenantView {
    id: TenantId,
    name: String,
}

#[derive(Debug, Serialize)]
struct UserView {
    id: UserId,
    email: String,
    name: String,
    role: Role,
}

/// Who somebody is.
#[derive(Debug, Serialize)]
struct Identity {
    tenant: TenantView,
    user: UserView,
}

/// What signing in answers.
#[derive(Debug, Serialize)]
struct SignedIn {
    #[serde(flatten)]
    identity: Identity,
    access_token: String,
    token_type: &'static str,
    /// Seconds.
    expires_in: i64,
}

/// A name without white space around it: not empty, at most [`MAX_NAME`] characters.
fn name(text: &str, member: &str) -> Result<String, Error> {
    let text = text.trim();
    at_most(member, text.chars().count(), MAX_NAME, "characters")?;
    if text.is_empty() {
        return Err(Error::invalid(Violation::in_body([member], "too_short", "must not be empty")));
    }
    Ok(text.to_owned())
}

impl Register {
    /// The tenant's and the user's name as they are kept, and the password as it is hashed.
    pub(crate) fn checked(&self) -> Result<(String, String, Password), Error> {
        let (tenant_name, user_name) = (name(&self.tenant_name, "tenant_name")?, name(&self.name, "name")?);
        let personal = Personal { email: &self.email, tenant_name: &tenant_name };
        let password = Password::chosen(&self.password, personal).map_err(|weakness| weakness.in_member("password"))?;
        Ok((tenant_name, user_name, password))
    }
}

pub(crate) async fn register(
    State(api): State<Api>,
    _: RoomToHash,
    origin: Origin,
    JsonBody { value: body, .. }: JsonBody<Register>,
) -> Result<Response, Error> {
    let (tenant_name, user_name, password) = body.checked()?;
    let password_hash = api.inner.passwords.hash(password).await?;

    let (tenant, user) = (TenantId(Uuid::now_v7()), UserId(Uuid::now_v7()));
    #[expect(clippy::disallowed_methods, reason = "the tenant is made by this request, nobody else knows its id")]
    let caller = TenantContext::authenticated(tenant, Actor { kind: ActorKind::User, id: user.0 });
    let traceparent = origin.traceparent.map(|parent| parent.to_string());
    let context = CommandContext { traceparent, ..CommandContext::new(caller, origin.request.0, api.inner.now()) };
    let owner = NewUser { user_id: user, email: body.email.clone(), name: user_name.clone() };
    let new = NewTenant { context, name: tenant_name.clone(), owner, password_hash };
    register_tenant(&api.inner.database, api.inner.on_commit.clone(), new).await.map_err(|error| match error {
        RegisterError::Store(error) => error.into(),
        RegisterError::Rejected(rejection) => Error::internal(format!("a new tenant was refused: {rejection:?}")),
    })?;
    let identity = Identity {
        tenant: TenantView { id: tenant, name: tenant_name },
        user: UserView { id: user, email: body.email.to_string(), name: user_name, role: Role::Owner },
    };
    Ok((StatusCode::CREATED, Json(sign_in(&api, identity)?)).into_response())
}

fn sign_in(api: &Api, identity: Identity) -> Result<SignedIn, Error> {
    problem::record_tenant(identity.tenant.id);
    let grant =
        Grant { user: identity.user.id, tenant: identity.tenant.id, sign_in: Uuid::now_v7(), role: identity.user.role };
    let access_token = api.inner.tokens.issue(grant, Uuid::now_v7(), api.inner.now())?;
    Ok(SignedIn { identity, access_token, token_type: "Bearer", expires_in: LIFETIME.num_seconds() })
}

pub(crate) async fn login(
    State(api): State<Api>,
    _: RoomToHash,
    JsonBody { value: body, .. }: JsonBody<Login>,
) -> Result<Response, Error> {
    let accounts = accounts_by_email(&api.inner.database, &body.email, body.tenant_id.map(TenantId)).await?;
    let mut fitting: Vec<Account> = Vec::new();
    if accounts.is_empty() {
        // As slow as a wrong password of an account that exists.
        api.inner.passwords.verify(Password::presented(&body.password), None).await?;
    }
    for account in accounts {
        let presented = Password::presented(&body.password);
        match api.inner.passwords.verify(presented, Some(account.password_hash.clone())).await? {
            Verdict::Right { .. } => fitting.push(account),
            Verdict::Wrong => {}
        }
    }
    if fitting.len() > 1 {
        let choice = |account: Account| TenantChoice { id: account.tenant.0, name: account.tenant_name };
        let detail = "Log in again with the tenant_id of one of the tenants listed.";
        return Err(Error::new(Code::TenantRequired, detail).with_tenants(fitting.into_iter().map(choice).collect()));
    }
    let Some(account) = fitting.pop() else {
        return Err(Error::new(Code::InvalidCredentials, "E-mail address and password do not fit."));
    };
    let identity = Identity {
        tenant: TenantView { id: account.tenant, name: account.tenant_name },
        user: UserView { id: account.user, email: body.email.to_string(), name: account.name, role: account.role },
    };
    Ok(Json(sign_in(&api, identity)?).into_response())
}

pub(crate) async fn me(
    State(api): State<Api>,
    caller: Caller,
    Query(query): Query<ReadOne>,
) -> Result<Response, Error> {
    let mut read = Read::committed(&api, &caller, query.min_seq).await?;
    let tenant = read.tenant();
    let row = sqlx::query(
        "select t.name as tenant_name, u.email, u.name, u.role
         from users u join tenants t on t.tenant_id = u.tenant_id where u.tenant_id = $1 and u.id = $2",
    )
    .bind(tenant)
    .bind(caller.user.0)
    .fetch_optional(read.connection())
    .await?
    .ok_or_else(Error::unauthorized)?;
    let role = Role::parse(row.try_get("role")?).ok_or_else(|| Error::internal("users.role holds an unknown role"))?;
    let identity = Identity {
        tenant: TenantView { id: TenantId(tenant), name: row.try_get("tenant_name")? },
        user: UserView { id: caller.user, email: row.try_get("email")?, name: row.try_get("name")?, role },
    };
    read.answer(HeaderMap::new(), &identity).await
}
