//! A sign-in as it begins: what it is known by, and what is answered to who has just proven who they are.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::user::Method;
use domain::{TenantId, UserId};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use store::{NewSignIn, SIGN_IN_LIFETIME, TokenHash};
use uuid::Uuid;

use super::Identity;
use super::refresh_token::RefreshToken;
use crate::{
    cookies::CookieToken,
    error::Error,
    openapi::{Answers, Header, Operation},
    origins::Keep,
    problem,
    rate_limits::Client,
    secret,
    state::Api,
    tokens::{Grant, LIFETIME},
};

/// Who somebody is, and the token that shows it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(example = json!({
    "tenant": {"id": "01a2046a-b01f-7338-8721-f968a8e95204", "name": "Acme", "plan": "starter"},
    "user": {"id": "01a2046a-b01f-7000-8000-000000000002", "email": "ada@example.com", "name": "Ada", "role": "owner"},
    "access_token": "eyJ0eXAiOiJhdCtqd3QiLCJhbGciOiJFZERTQSJ9.eyJpc3MiOiJodHRwOi8vMTI3LjAuMC4xIn0.c2lnbmF0dXJl",
    "token_type": "Bearer", "expires_in": LIFETIME.num_seconds(),
    "refresh_token": "cvr_AaIEarAfczhyIfloqOlSBAGiBGqwH3AAgAAAAAAAAAIJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCfQ8cT0vM2G5r3s0mWTqk1E",
}))]
pub(crate) struct SignedIn {
    #[serde(flatten)]
    identity: Identity,
    /// Not there for a browser that has got a cookie.
    #[serde(flatten)]
    tokens: Option<Tokens>,
}

/// What shows who somebody is.
#[derive(Debug, Serialize, JsonSchema)]
struct Tokens {
    /// For the header `Authorization: Bearer …`.
    access_token: String,
    #[schemars(extend("const" = "Bearer"))]
    token_type: &'static str,
    /// Seconds.
    #[schemars(range(min = 1))]
    expires_in: i64,
    /// For `POST /v1/auth/refresh`, once.
    refresh_token: String,
}

/// What somebody goes on with.
pub(super) enum Pass {
    Tokens(RefreshToken),
    Cookie(CookieToken),
}

/// A sign-in by password, and what it will be known by.
pub(super) fn begin(
    api: &Api,
    tenant: TenantId,
    user: UserId,
    client: Client,
    keep: Keep,
) -> Result<(NewSignIn, Pass), Error> {
    let id = Uuid::now_v7();
    let (token, pass) = match keep {
        Keep::Cookie => {
            let token = CookieToken::new(tenant, id)?;
            (TokenHash::Cookie(token.hash()), Pass::Cookie(token))
        }
        Keep::Tokens => {
            let token = RefreshToken::first(tenant, id, secret::random()?, &api.inner.refresh_key);
            (TokenHash::Refresh(token.hash()), Pass::Tokens(token))
        }
    };
    let (address, user_agent) = (Some(client.address()), client.user_agent);
    Ok((NewSignIn { id, user, method: Method::Password, user_agent, address, token }, pass))
}

/// The tokens of a sign-in.
pub(super) fn answer(api: &Api, identity: Identity, token: &RefreshToken) -> Result<SignedIn, Error> {
    problem::record_tenant(identity.tenant.id);
    let grant =
        Grant { user: identity.user.id, tenant: identity.tenant.id, sign_in: token.sign_in, role: identity.user.role };
    let access_token = api.inner.tokens.issue(grant, Uuid::now_v7(), api.inner.now())?;
    let (token_type, expires_in, refresh_token) = ("Bearer", LIFETIME.num_seconds(), token.text());
    Ok(SignedIn { identity, tokens: Some(Tokens { access_token, token_type, expires_in, refresh_token }) })
}

/// The answer to who is signed in now.
pub(super) fn welcome(api: &Api, identity: Identity, pass: &Pass) -> Result<Welcome, Error> {
    match pass {
        Pass::Tokens(token) => Ok(Welcome { signed_in: answer(api, identity, token)?, cookie: None }),
        Pass::Cookie(token) => {
            problem::record_tenant(identity.tenant.id);
            let cookie = Some(token.set(SIGN_IN_LIFETIME)?);
            Ok(Welcome { signed_in: SignedIn { identity, tokens: None }, cookie })
        }
    }
}

/// Who is signed in, with the cookie of a browser.
pub(crate) struct Welcome {
    signed_in: SignedIn,
    cookie: Option<HeaderValue>,
}

impl IntoResponse for Welcome {
    fn into_response(self) -> Response {
        let mut response = Json(self.signed_in).into_response();
        if let Some(cookie) = self.cookie {
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        response
    }
}

impl Answers for Welcome {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers::<SignedIn>(200, "Signed in.", &[Header::SetCookie]);
    }
}

/// The answer to a registration.
pub(crate) struct Registered(pub(super) Welcome);

impl IntoResponse for Registered {
    fn into_response(self) -> Response {
        (StatusCode::CREATED, self.0).into_response()
    }
}

impl Answers for Registered {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers::<SignedIn>(201, "The tenant is founded, and its owner signed in.", &[Header::SetCookie]);
    }
}
