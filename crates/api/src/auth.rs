//! `/v1/auth`: found a tenant, log in, see who one is.

mod entry;
pub(crate) mod invitation;
pub(crate) mod kept;
pub(crate) mod password;
pub(crate) mod refresh_token;
pub(crate) mod sign_ins;

use axum::extract::State;
use domain::tenant::{MAX_NAME, NewUser, Plan, Role};
use domain::{Actor, ActorKind, Email, TenantId, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::Row as _;
use store::{
    Account, CheckedPassword, CommandContext, Member, NewTenant, RegisterError, TenantContext, accounts_by_email,
    register_tenant, sign_in,
};
use uuid::Uuid;

use entry::{Registered, Welcome, begin, welcome};

use crate::{
    body::JsonBody,
    caller::Person,
    error::{Code, Error, TenantChoice},
    json::at_most,
    openapi::{About, Tag, domain_types},
    origins::WebPage,
    paging::Query,
    passwords::{MAX_LENGTH, MIN_LENGTH, Password, Personal, RoomToHash, Verdict},
    rate_limits::Client,
    reads::{Answer, Read},
    secret::Secret,
    sessions::ReadOne,
    state::Api,
    trace_context::Origin,
    violation::Violation,
};

/// How often a log-in is checked again whose password is changed, or hashed anew, while it is being checked.
const MAX_CHECKS: usize = 3;

/// A new tenant with its first user, who becomes its owner.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({
    "tenant_name": "Acme", "name": "Ada", "email": "ada@example.com", "password": "correct horse battery",
}))]
pub(crate) struct Register {
    /// What the tenant is called; not only white space.
    #[schemars(length(min = 1, max = MAX_NAME), regex(pattern = r"[^\s\x85]"))]
    tenant_name: String,
    #[schemars(with = "String", extend("format" = "email"), length(max = Email::MAX_LENGTH))]
    email: Email,
    /// Not one of the first guesses: no common password, pattern, e-mail address or name of the tenant.
    #[schemars(with = "String", length(min = MIN_LENGTH, max = MAX_LENGTH), extend("format" = "password"))]
    password: Secret,
    /// What the user is called; not only white space.
    #[schemars(length(min = 1, max = MAX_NAME), regex(pattern = r"[^\s\x85]"))]
    name: String,
    /// Whether a browser is to be signed in: the answer sets a cookie and has no tokens.
    cookie: Option<bool>,
}

/// Who wants to log in.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"email": "ada@example.com", "password": "correct horse battery"}))]
pub(crate) struct Login {
    #[schemars(with = "String", extend("format" = "email"), length(max = Email::MAX_LENGTH))]
    email: Email,
    #[schemars(with = "String", extend("format" = "password"))]
    password: Secret,
    /// Which tenant, when address and password fit several.
    tenant_id: Option<Uuid>,
    /// Whether a browser is to be signed in: the answer sets a cookie and has no tokens.
    cookie: Option<bool>,
}

/// A tenant.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Tenant")]
struct TenantView {
    #[schemars(with = "Uuid")]
    id: TenantId,
    name: String,
    #[schemars(with = "domain_types::TenantPlan")]
    plan: Plan,
}

/// A member of a tenant.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "User")]
struct UserView {
    #[schemars(with = "Uuid")]
    id: UserId,
    email: String,
    name: String,
    #[schemars(with = "domain_types::MemberRole")]
    role: Role,
}

/// Who somebody is.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(example = json!({
    "tenant": {"id": "01a2046a-b01f-7338-8721-f968a8e95204", "name": "Acme", "plan": "starter"},
    "user": {"id": "01a2046a-b01f-7000-8000-000000000002", "email": "ada@example.com", "name": "Ada", "role": "owner"},
}))]
pub(crate) struct Identity {
    tenant: TenantView,
    user: UserView,
}

impl Identity {
    fn of(tenant: TenantId, member: Member) -> Self {
        let Member { user, email, name, role, tenant_name, plan } = member;
        let tenant = TenantView { id: tenant, name: tenant_name, plan };
        Self { tenant, user: UserView { id: user, email, name, role } }
    }
}

/// A name without white space around it: not empty, at most [`MAX_NAME`] characters.
pub(crate) fn name(text: &str, member: &str) -> Result<String, Error> {
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

/// What the document says of [`register`].
pub(crate) const REGISTER: About = About {
    id: "register",
    tag: Tag::Auth,
    summary: "Found a tenant",
    text: "An e-mail address may belong to several tenants. Takes no `Idempotency-Key`.",
    codes: &[Code::OutcomeUnknown],
    links: &[],
};

pub(crate) async fn register(
    State(api): State<Api>,
    _: RoomToHash,
    client: Client,
    page: WebPage,
    origin: Origin,
    JsonBody { value: body, .. }: JsonBody<Register>,
) -> Result<Registered, Error> {
    let keep = page.keeps(body.cookie.unwrap_or_default())?;
    let (tenant_name, user_name, password) = body.checked()?;
    api.inner.rate_limits.registration(&client)?;
    let _place = api.inner.passwords.place()?;
    let password_hash = api.inner.passwords.hash(password).await?;

    let (tenant, user) = (TenantId(Uuid::now_v7()), UserId(Uuid::now_v7()));
    #[expect(clippy::disallowed_methods, reason = "the tenant is made by this request, nobody else knows its id")]
    let caller = TenantContext::authenticated(tenant, Actor { kind: ActorKind::User, id: user.0 });
    let context = command(&api, caller, origin);
    let owner = NewUser { user_id: user, email: body.email.clone(), name: user_name.clone() };
    let (sign_in, pass) = begin(&api, tenant, user, client, keep)?;
    let sign_in = Some(sign_in);
    let _turn = api.inner.passwords.turn_to_store().await?;
    let new = NewTenant { context, name: tenant_name.clone(), owner, password_hash, sign_in };
    register_tenant(&api.inner.database, api.inner.on_commit.clone(), new).await.map_err(|error| match error {
        RegisterError::Store(error) => error.into(),
        RegisterError::Rejected(rejection) => Error::internal(format!("a new tenant was refused: {rejection:?}")),
    })?;
    let identity = Identity {
        tenant: TenantView { id: tenant, name: tenant_name, plan: Plan::default() },
        user: UserView { id: user, email: body.email.to_string(), name: user_name, role: Role::Owner },
    };
    Ok(Registered(welcome(&api, identity, &pass)?))
}

/// What a caller does with this request.
fn command(api: &Api, caller: TenantContext, origin: Origin) -> CommandContext {
    let traceparent = origin.traceparent.map(|parent| parent.to_string());
    CommandContext { traceparent, ..CommandContext::new(caller, origin.request.0, api.inner.now()) }
}

/// What the document says of [`login`].
pub(crate) const LOGIN: About = About {
    id: "logIn",
    tag: Tag::Auth,
    summary: "Log in",
    text: "When address and password fit several tenants, the answer is 409 `tenant_required` with their ids.",
    codes: &[Code::InvalidCredentials, Code::TenantRequired, Code::OutcomeUnknown],
    links: &[],
};

pub(crate) async fn login(
    State(api): State<Api>,
    _: RoomToHash,
    origin: Origin,
    client: Client,
    page: WebPage,
    JsonBody { value: body, .. }: JsonBody<Login>,
) -> Result<Welcome, Error> {
    let keep = page.keeps(body.cookie.unwrap_or_default())?;
    api.inner.rate_limits.log_in(&client)?;
    let _place = api.inner.passwords.place()?;
    let guess = api.inner.rate_limits.guess(&body.email, body.tenant_id)?;
    for _ in 0..MAX_CHECKS {
        let Some((account, password)) = opened(&api, &body).await? else {
            guess.was_wrong();
            return Err(Error::new(Code::InvalidCredentials, "E-mail address and password do not fit."));
        };
        let actor = Actor { kind: ActorKind::User, id: account.user.0 };
        #[expect(clippy::disallowed_methods, reason = "the account's password has just been checked")]
        let caller = TenantContext::authenticated(account.tenant, actor);
        let context = command(&api, caller, origin);
        let (new, pass) = begin(&api, account.tenant, account.user, client.clone(), keep)?;
        let _turn = api.inner.passwords.turn_to_store().await?;
        let signed_in = sign_in(&api.inner.database, api.inner.on_commit.clone(), context, new, password).await?;
        if signed_in.is_none() {
            continue;
        }
        let identity = Identity {
            tenant: TenantView { id: account.tenant, name: account.tenant_name, plan: account.plan },
            user: UserView { id: account.user, email: body.email.to_string(), name: account.name, role: account.role },
        };
        return welcome(&api, identity, &pass);
    }
    Err(Error::overloaded())
}

/// The one account that address and password open, and what was checked of it; 409 when there are several.
async fn opened(api: &Api, body: &Login) -> Result<Option<(Account, CheckedPassword)>, Error> {
    let accounts = accounts_by_email(&api.inner.database, &body.email, body.tenant_id.map(TenantId)).await?;
    let passwords = &api.inner.passwords;
    let presented = Password::presented(&body.password);
    if accounts.is_empty() {
        // As slow as a wrong password of an account that exists.
        passwords.verify(presented.clone(), None).await?;
    }
    let mut fitting: Vec<(Account, bool)> = Vec::new();
    for account in accounts {
        match passwords.verify(presented.clone(), Some(account.password_hash.clone())).await? {
            Verdict::Right { needs_rehash } => fitting.push((account, needs_rehash)),
            Verdict::Wrong => {}
        }
    }
    if fitting.len() > 1 {
        let choice = |(account, _): (Account, _)| TenantChoice { id: account.tenant.0, name: account.tenant_name };
        let detail = "Log in again with the tenant_id of one of the tenants listed.";
        return Err(Error::new(Code::TenantRequired, detail).with_tenants(fitting.into_iter().map(choice).collect()));
    }
    let Some((account, needs_rehash)) = fitting.pop() else { return Ok(None) };
    // Where there is no room for one more hash now, there will be at another log-in.
    let renewed = if needs_rehash { passwords.hash(presented).await.ok() } else { None };
    let hash = account.password_hash.clone();
    Ok(Some((account, CheckedPassword { hash, renewed })))
}

/// What the document says of [`me`].
pub(crate) const ME: About =
    About { id: "whoAmI", tag: Tag::Auth, summary: "See who one is", text: "", codes: &[], links: &[] };

pub(crate) async fn me(
    State(api): State<Api>,
    person: Person,
    Query(query): Query<ReadOne>,
) -> Result<Answer<Identity>, Error> {
    let mut read = Read::committed(&api, &person.caller, query.min_seq).await?;
    let tenant = read.tenant();
    let row = sqlx::query(
        "select t.name as tenant_name, t.plan, u.email, u.name, u.role
         from users u join tenants t on t.tenant_id = u.tenant_id where u.tenant_id = $1 and u.id = $2",
    )
    .bind(tenant)
    .bind(person.user.0)
    .fetch_optional(read.connection())
    .await?
    .ok_or_else(Error::unauthorized)?;
    let role = Role::parse(row.try_get("role")?).ok_or_else(|| Error::internal("users.role holds an unknown role"))?;
    let plan =
        Plan::parse(row.try_get("plan")?).ok_or_else(|| Error::internal("tenants.plan holds an unknown plan"))?;
    let identity = Identity {
        tenant: TenantView { id: TenantId(tenant), name: row.try_get("tenant_name")?, plan },
        user: UserView { id: person.user, email: row.try_get("email")?, name: row.try_get("name")?, role },
    };
    read.answer(&identity).await
}
