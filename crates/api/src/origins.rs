//! From which web pages browsers may ask: their origins, compared exactly, never by a part or a pattern.

use axum::extract::FromRequestParts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header, request::Parts};
use tower_http::cors::{AllowOrigin, CorsLayer};
use url::Url;

use crate::{
    error::{Code, Error},
    idempotency,
    openapi::{Header, Operation, Part},
    state::Api,
};

/// For how long a browser need not ask again what it may ask.
const PREFLIGHT_LIFETIME: std::time::Duration = std::time::Duration::from_secs(600);

/// The origin of web pages, as browsers write it: scheme, host, and the port unless it is the scheme's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebOrigin(HeaderValue);

/// It is not written as browsers write an origin.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is no origin; write one as browsers do, without a path or a slash at its end, such as https://app.example.com"
)]
pub struct InvalidOrigin(String);

impl WebOrigin {
    /// Exactly an origin.
    pub fn parse(text: &str) -> Result<Self, InvalidOrigin> {
        // A URL may have a host of that name, but whoever writes it means a pattern.
        let exact = |origin: &Self| origin.0 == text && !text.contains('*');
        Self::of_url(text).filter(exact).ok_or_else(|| InvalidOrigin(text.to_owned()))
    }

    /// That of the pages below a URL.
    fn of_url(url: &str) -> Option<Self> {
        let url = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
        HeaderValue::try_from(url.origin().ascii_serialization()).ok().map(Self)
    }
}

/// Whose pages may ask with a cookie: our own, and those that are allowed.
pub(crate) struct Origins {
    own: Option<WebOrigin>,
    allowed: Vec<WebOrigin>,
}

impl Origins {
    pub(crate) fn new(public_url: &str, allowed: Vec<WebOrigin>) -> Self {
        Self { own: WebOrigin::of_url(public_url), allowed }
    }

    /// 403 unless the page that asks is named and allowed.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Error> {
        let mut named = headers.get_all(header::ORIGIN).iter();
        let (Some(origin), None) = (named.next(), named.next()) else { return Err(refused()) };
        let mut known = self.own.iter().chain(&self.allowed);
        if known.any(|known| known.0 == origin) { Ok(()) } else { Err(refused()) }
    }

    /// What tells browsers so; nothing when there is nobody to tell.
    pub(crate) fn cors(&self) -> Option<CorsLayer> {
        if self.allowed.is_empty() {
            return None;
        }
        let name = |header: &Header| header.name().to_ascii_lowercase().parse::<HeaderName>().ok();
        let layer = CorsLayer::new()
            .allow_origin(AllowOrigin::list(self.allowed.iter().map(|origin| origin.0.clone())))
            .allow_credentials(true)
            .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
            .allow_headers([
                header::AUTHORIZATION,
                header::CONTENT_TYPE,
                header::IF_MATCH,
                HeaderName::from_static(idempotency::HEADER),
                HeaderName::from_static("last-event-id"),
                HeaderName::from_static("traceparent"),
            ])
            .expose_headers(Header::EXPOSED.iter().filter_map(name).collect::<Vec<_>>())
            .max_age(PREFLIGHT_LIFETIME);
        Some(layer)
    }
}

fn refused() -> Error {
    Error::new(Code::OriginNotAllowed, "Requests by cookie are taken from web pages of allowed origins only.")
}

/// How a client keeps its sign-in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Keep {
    /// By tokens, which it stores itself.
    Tokens,
    /// By a cookie, which a browser does.
    Cookie,
}

/// The web page that asks without being signed in.
pub(crate) struct WebPage {
    foreign: bool,
}

impl WebPage {
    /// How a sign-in is kept. 403 when a page of somebody else wants to sign its visitor in: they would work in an account that is
    /// not theirs. Only browsers name a page, and they always do.
    pub(crate) fn keeps(&self, cookie: bool) -> Result<Keep, Error> {
        match (cookie, self.foreign) {
            (false, _) => Ok(Keep::Tokens),
            (true, false) => Ok(Keep::Cookie),
            (true, true) => Err(refused()),
        }
    }
}

impl Part for WebPage {
    fn describe(operation: &mut Operation<'_>) {
        operation.fails(&[Code::OriginNotAllowed]);
    }
}

impl FromRequestParts<Api> for WebPage {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Self::Rejection> {
        let named = parts.headers.contains_key(header::ORIGIN);
        Ok(Self { foreign: named && api.inner.origins.check(&parts.headers).is_err() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_as_browsers_do_or_it_is_none() {
        for origin in
            ["https://app.example.com", "http://localhost:3000", "https://xn--bcher-kva.example", "http://[::1]:80800"]
        {
            assert_eq!(WebOrigin::parse(origin).is_ok(), !origin.contains("80800"), "{origin}");
        }
        for wrong in [
            "",
            "*",
            "null",
            "app.example.com",
            "https://app.example.com/",
            "https://app.example.com/x",
            "https://App.example.com",
            "https://app.example.com:443",
            "https://*.example.com",
            "https://a@app.example.com",
            "ftp://app.example.com",
            "file:///",
            " https://app.example.com",
            "https://b\u{fc}cher.example",
        ] {
            assert!(WebOrigin::parse(wrong).unwrap_err().to_string().contains("such as https://"), "{wrong}");
        }
    }

    #[test]
    fn a_page_is_allowed_by_its_whole_origin() {
        let allowed = vec![WebOrigin::parse("https://app.example.com").unwrap()];
        let origins = Origins::new("https://api.example.com/convolog/", allowed);
        let check = |named: &[&'static str]| {
            let headers = named.iter().map(|it| (header::ORIGIN, HeaderValue::from_static(it))).collect();
            origins.check(&headers).is_ok()
        };
        assert!(check(&["https://app.example.com"]) && check(&["https://api.example.com"]));
        for foreign in [
            "",
            "null",
            "*",
            "http://app.example.com",
            "https://app.example.com:8443",
            "https://app.example.com.evil.example",
            "https://evil.example/https://app.example.com",
            "https://evilapp.example.com",
            "https://example.com",
            "https://app.example.com/",
            "https://APP.example.com",
            "https://app.example.com https://evil.example",
        ] {
            assert!(!check(&[foreign]), "{foreign}");
        }
        assert!(!check(&[]) && !check(&["https://app.example.com", "https://app.example.com"]));
        assert!(
            Origins::new("file:///x", vec![])
                .check(&[(header::ORIGIN, HeaderValue::from_static("null"))].into_iter().collect())
                .is_err()
        );
    }
}
