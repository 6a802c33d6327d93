//! Who is calling: the bearer token or the cookie of a request, checked once, as the tenant context that everything else needs.

use axum::extract::FromRequestParts;
use axum::http::{HeaderMap, header, request::Parts};
use chrono::{DateTime, Utc};
use domain::tenant::Role;
use domain::{Actor, ActorKind, UserId};
use store::{TenantContext, role_of_sign_in};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    api_keys::{key, known, scopes::Scopes},
    cookies,
    error::{Code, Error},
    openapi::{Operation, Part},
    policy::Access,
    problem,
    state::Api,
    tokens::{AccessToken, Grant, TRUST},
};

/// An authenticated caller who may do what the operation does. A handler that takes one is closed to everybody else.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// Tenant and actor.
    pub context: TenantContext,
    /// By what they are known.
    pub credential: Credential,
    /// Until when it is good: what lasts longer than a request ends then.
    pub good_until: DateTime<Utc>,
    /// For what they were let in.
    access: Access,
}

impl Caller {
    /// Whether they may still do what they were let in for, as the database says; answers until when that need not be asked
    /// again.
    pub(crate) async fn still(&self, api: &Api) -> Result<Instant, Error> {
        let (credential, until) = match self.credential {
            Credential::SignIn { id, user, role } => {
                let grant = Grant { user, tenant: self.context.tenant(), sign_in: id, role };
                let (role, until) = api.inner.tokens.still(grant, || role_now(api, grant)).await?;
                (Credential::SignIn { id, user, role }, until)
            }
            Credential::Key { id, .. } => {
                let until = Instant::now() + TRUST;
                (known::still(api, &self.context, id).await?, until)
            }
        };
        self.access.admit(&credential)?;
        Ok(until)
    }
}

/// What the user of a sign-in may do now; 401 when it is over.
async fn role_now(api: &Api, grant: Grant) -> Result<Role, Error> {
    let sign_in = (grant.sign_in, grant.user);
    let role = role_of_sign_in(&api.inner.database, &context(grant), sign_in, api.inner.now()).await?;
    role.ok_or_else(Error::unauthorized)
}

/// By what a caller is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// The sign-in of a person.
    SignIn {
        /// Its id.
        id: Uuid,
        /// Whose.
        user: UserId,
        /// What they may do now.
        role: Role,
    },
    /// The API key of a program.
    Key {
        /// Its id.
        id: Uuid,
        /// What it may do.
        scopes: Scopes,
    },
}

/// A caller who is a person, for what only people do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Person {
    pub(crate) caller: Caller,
    pub(crate) user: UserId,
    pub(crate) sign_in: Uuid,
}

impl Part for Person {
    fn describe(operation: &mut Operation<'_>) {
        Caller::describe(operation);
    }
}

impl FromRequestParts<Api> for Person {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Error> {
        let caller = Caller::from_request_parts(parts, api).await?;
        let Credential::SignIn { id, user, .. } = caller.credential else {
            return Err(Error::new(Code::Forbidden, "Only people may do this: log in."));
        };
        Ok(Self { caller, user, sign_in: id })
    }
}

impl Part for Caller {
    fn describe(operation: &mut Operation<'_>) {
        operation.needs_tenant();
    }
}

impl FromRequestParts<Api> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Error> {
        let now = api.inner.now();
        let known = if parts.headers.contains_key(header::AUTHORIZATION) {
            by_bearer(bearer(&parts.headers)?, api, now).await?
        } else {
            Known::by_token(cookies::authenticate(parts, api, now).await?)
        };
        let Known { context, credential, good_until } = known;
        problem::record_tenant(context.tenant());
        api.inner.rate_limits.request(context.tenant(), parts)?;
        let access =
            *parts.extensions.get::<Access>().ok_or_else(|| Error::internal("an operation without a policy"))?;
        access.admit(&credential)?;
        Ok(Self { context, credential, good_until, access })
    }
}

/// Somebody whose credential is good, whatever it is good for.
pub(crate) struct Known {
    pub(crate) context: TenantContext,
    pub(crate) credential: Credential,
    pub(crate) good_until: DateTime<Utc>,
}

impl Known {
    fn by_token(token: AccessToken) -> Self {
        let Grant { user, sign_in, role, .. } = token.grant;
        let credential = Credential::SignIn { id: sign_in, user, role };
        Self { context: context(token.grant), credential, good_until: token.good_until() }
    }
}

/// What asks the database is boxed, here, for a cookie and for a key: it is large, seldom needed, and would otherwise be a part of
/// every handler's future, which is copied for each request.
async fn by_bearer(token: &str, api: &Api, now: DateTime<Utc>) -> Result<Known, Error> {
    if token.starts_with(key::PREFIX) {
        return known::authenticate(api, token, now).await;
    }
    let role_now = |token: AccessToken| Box::pin(role_now(api, token.grant));
    api.inner.tokens.authenticate(token, now, role_now).await.map(Known::by_token)
}

/// The one bearer token.
fn bearer(headers: &HeaderMap) -> Result<&str, Error> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(Error::unauthorized()) };
    let (scheme, token) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(Error::unauthorized)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token.trim()) } else { Err(Error::unauthorized()) }
}

/// Whose sign-in it is, when that has been checked.
fn context(grant: Grant) -> TenantContext {
    let actor = Actor { kind: ActorKind::User, id: grant.user.0 };
    #[expect(clippy::disallowed_methods, reason = "this is where credentials are checked")]
    TenantContext::authenticated(grant.tenant, actor)
}
