//! Who is calling: the bearer token of a request, checked once, as the tenant context that everything else needs.

use axum::extract::FromRequestParts;
use axum::http::{header, request::Parts};
use chrono::{DateTime, Utc};
use domain::tenant::Role;
use domain::{Actor, ActorKind, UserId};
use store::TenantContext;

use crate::{
    error::{Code, Error},
    openapi::{Operation, Part},
    problem,
    state::Api,
};

/// An authenticated caller. A handler that takes one is closed to everybody else.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// Tenant and actor.
    pub context: TenantContext,
    /// The signed-in user.
    pub user: UserId,
    /// What they may do.
    pub role: Role,
    /// Until when their credentials are good: what lasts longer than a request ends then.
    pub good_until: DateTime<Utc>,
}

impl Caller {
    /// 403 unless the caller's role is at least this one.
    pub fn require(&self, least: Role) -> Result<(), Error> {
        if self.role >= least {
            return Ok(());
        }
        Err(Error::new(Code::Forbidden, format!("This needs the role {} or a higher one.", least.as_str())))
    }
}

impl Part for Caller {
    fn describe(operation: &mut Operation<'_>) {
        operation.needs_token();
    }
}

impl FromRequestParts<Api> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Error> {
        let mut values = parts.headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return Err(Error::unauthorized()) };
        let (scheme, token) =
            value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(Error::unauthorized)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Error::unauthorized());
        }
        // Sign-ins are not kept yet, so a token is good until it expires.
        let still_good = |_| async { Ok(()) };
        let token = api.inner.tokens.authenticate(token.trim(), api.inner.now(), still_good).await?;
        problem::record_tenant(token.grant.tenant);
        let actor = Actor { kind: ActorKind::User, id: token.grant.user.0 };
        #[expect(clippy::disallowed_methods, reason = "the token's signature and claims have just been checked")]
        let context = TenantContext::authenticated(token.grant.tenant, actor);
        Ok(Self { context, user: token.grant.user, role: token.grant.role, good_until: token.good_until() })
    }
}
