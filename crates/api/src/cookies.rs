//! Browsers: a sign-in in a cookie that no script reads, believed only from web pages that are allowed to ask.
//!
//! A request with `Authorization` has no cookies as far as we are concerned: what a browser adds by itself never changes whose
//! request it is.

mod token;

use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{FromRequestParts, Request};
use axum::http::{HeaderMap, HeaderValue, Method, header, request::Parts};
use axum::response::Response;
use chrono::{DateTime, TimeDelta, Utc};
use domain::{Actor, ActorKind};
use store::{CookieSignIn, TenantContext, cookie_sign_in, extend_cookie_sign_in, renew_cookie};
use subtle::ConstantTimeEq as _;

pub(crate) use token::CookieToken;

use crate::{
    auth::refresh_token::GRACE,
    error::Error,
    openapi::{Operation, Part},
    state::Api,
    tokens::{AccessToken, Grant},
};

/// The prefix binds it to this host, to all of its paths, and to TLS.
pub const NAME: &str = "__Host-convolog";

/// The `Set-Cookie` that gives it to a browser for so long; gone at once when that is nothing.
fn set_cookie(text: &str, lasts: TimeDelta) -> Result<HeaderValue, Error> {
    let seconds = lasts.num_seconds().max(0);
    let cookie = format!("{NAME}={text}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={seconds}");
    let mut value = HeaderValue::try_from(cookie).map_err(Error::internal)?;
    value.set_sensitive(true);
    Ok(value)
}

impl CookieToken {
    /// The `Set-Cookie` that gives it to a browser.
    pub(crate) fn set(&self, lasts: TimeDelta) -> Result<HeaderValue, Error> {
        set_cookie(&self.text(), lasts)
    }
}

/// Our cookie; `None` when there is none, 401 when there are several: one of them was planted.
fn presented(headers: &HeaderMap) -> Result<Option<&str>, Error> {
    let pairs = headers.get_all(header::COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let mut values = pairs.filter_map(|pair| {
        let end = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let (name, value) = pair.split_at(end);
        let value = value.strip_prefix(b"=").unwrap_or(value).trim_ascii();
        (name.trim_ascii() == NAME.as_bytes()).then(|| std::str::from_utf8(value).unwrap_or_default())
    });
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(Error::unauthorized()),
    }
}

/// Whose sign-in the request's cookie is.
pub(crate) async fn authenticate(parts: &Parts, api: &Api, now: DateTime<Utc>) -> Result<AccessToken, Error> {
    let text = presented(&parts.headers)?.ok_or_else(Error::unauthorized)?;
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        api.inner.origins.check(&parts.headers)?;
    }
    let token = CookieToken::parse(text).ok_or_else(Error::unauthorized)?;
    let look_up = || Box::pin(look_up(api, parts.extensions.get(), token, now));
    api.inner.tokens.by_cookie(text, now, look_up).await
}

async fn look_up(api: &Api, jar: Option<&Jar>, token: CookieToken, now: DateTime<Utc>) -> Result<AccessToken, Error> {
    let database = &api.inner.database;
    let nobody = Actor { kind: ActorKind::System, id: uuid::Uuid::nil() };
    #[expect(
        clippy::disallowed_methods,
        reason = "the cookie says where to look, and is compared with what is found there"
    )]
    let place = TenantContext::authenticated(token.tenant, nobody);
    let found = cookie_sign_in(database, &place, token.sign_in, now).await?.ok_or_else(Error::unauthorized)?;
    let ends = match (standing(&found, &token, now), jar) {
        (Standing::Good, Some(jar)) => keep(api, &place, (token, &found), jar, now).await?,
        (Standing::Good, None) | (Standing::Renewed, _) => found.ends,
        (Standing::Nothing, _) => return Err(Error::unauthorized()),
    };
    let grant = Grant { user: found.user, tenant: token.tenant, sign_in: token.sign_in, role: found.role };
    Ok(AccessToken::of_sign_in(grant, ends))
}

/// What a cookie is good for.
enum Standing {
    Good,
    /// Another one took its place just now: requests that were under way with it are answered.
    Renewed,
    Nothing,
}

fn standing(found: &CookieSignIn, token: &CookieToken, now: DateTime<Utc>) -> Standing {
    let is = |hash: &[u8]| bool::from(hash.ct_eq(&token.hash()[..]));
    match &found.parent {
        _ if is(&found.cookie_hash) => Standing::Good,
        Some((parent, renewed_at)) if is(parent) && now - renewed_at <= GRACE => Standing::Renewed,
        Some(_) | None => Standing::Nothing,
    }
}

/// A sign-in that is used lasts longer, and whoever has another role than their cookie was given for gets another cookie. Answers
/// when the sign-in ends.
async fn keep(
    api: &Api,
    place: &TenantContext,
    (mut token, found): (CookieToken, &CookieSignIn),
    jar: &Jar,
    now: DateTime<Utc>,
) -> Result<DateTime<Utc>, Error> {
    let (database, sign_in) = (&api.inner.database, (token.sign_in, found));
    if found.cookie_role != Some(found.role) {
        let other = CookieToken::new(token.tenant, token.sign_in)?;
        if !renew_cookie(database, place, sign_in, other.hash(), now).await? {
            return Ok(found.ends);
        }
        token = other;
        jar.put(token.set(found.ends - now)?);
    }
    let moved = extend_cookie_sign_in(database, place, sign_in, now).await?;
    if let Some(ends) = moved {
        jar.put(token.set(ends - now)?);
    }
    Ok(moved.unwrap_or(found.ends))
}

/// What the answer to a request that came with our cookie sets; nobody sees what is put in otherwise.
#[derive(Clone, Default)]
pub(crate) struct Jar(Arc<Mutex<Option<HeaderValue>>>);

impl Jar {
    pub(crate) fn put(&self, cookie: HeaderValue) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(cookie);
    }

    /// The browser forgets its cookie.
    pub(crate) fn clear(&self) -> Result<(), Error> {
        self.put(set_cookie("", TimeDelta::zero())?);
        Ok(())
    }
}

impl Part for Jar {
    fn describe(_: &mut Operation<'_>) {}
}

impl<S: Send + Sync> FromRequestParts<S> for Jar {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

/// Requests that come with cookies and nothing better have a [`Jar`].
pub(crate) async fn answer(mut request: Request, next: impl AsyncFnOnce(Request) -> Response) -> Response {
    let headers = request.headers();
    if headers.contains_key(header::AUTHORIZATION) || !headers.contains_key(header::COOKIE) {
        return next(request).await;
    }
    let jar = Jar::default();
    request.extensions_mut().insert(jar.clone());
    let mut response = next(request).await;
    if let Some(cookie) = jar.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
        response.headers_mut().entry(header::SET_COOKIE).or_insert(cookie);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found, unless it is refused.
    fn of(lines: &[&'static str]) -> Option<Option<String>> {
        let lines = lines.iter().map(|line| (header::COOKIE, HeaderValue::from_static(line)));
        presented(&lines.collect()).map(|value| value.map(str::to_owned)).ok()
    }

    #[test]
    fn our_cookie_is_found_among_others_and_two_are_none() {
        assert_eq!(of(&[]), Some(None));
        assert_eq!(of(&["a=b; convolog=x; __Host-Convolog=x; __Host-convolog2=x; x__Host-convolog=x"]), Some(None));
        assert_eq!(of(&["a=b;__Host-convolog=cvs_x ; c"]), Some(Some("cvs_x".into())));
        assert_eq!(of(&["a=__Host-convolog=y", "__Host-convolog=x=y"]), Some(Some("x=y".into())));
        assert_eq!(of(&["__Host-convolog=x; __Host-convolog=x"]), None);
        assert_eq!(of(&["__Host-convolog=x", "a=b; __Host-convolog=y"]), None);
        assert_eq!(of(&["__Host-convolog=x; __Host-convolog"]), None);
    }

    #[test]
    fn a_cookie_is_for_this_host_alone_and_not_for_scripts() {
        let set = set_cookie("x", TimeDelta::days(30)).unwrap();
        assert_eq!(set, "__Host-convolog=x; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=2592000");
        assert!(set.is_sensitive());
    }
}
