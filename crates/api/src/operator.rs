//! Who may see `/metrics` and `/health`: whoever has the operator's token, or is on this machine and nobody's proxy.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Version, header};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::{
    error::Error,
    openapi::{Operation, Part},
    state::Api,
};

/// Fewest characters of an operator's token.
pub const MIN_OPERATOR_TOKEN: usize = 16;

/// Any of these says that the request was passed on for somebody else.
const FORWARDED: [HeaderName; 5] = [
    header::FORWARDED,
    header::VIA,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-real-ip"),
];

/// The token with which an operator asks from elsewhere. Only its SHA-256 is kept.
#[derive(Clone)]
pub struct OperatorToken([u8; 32]);

/// The operator's token is too short, or could not be sent in a header.
#[derive(Debug, thiserror::Error)]
#[error("expected at least {MIN_OPERATOR_TOKEN} printable ASCII characters without spaces")]
pub struct WeakToken;

impl OperatorToken {
    /// Takes a token of at least [`MIN_OPERATOR_TOKEN`] printable ASCII characters.
    pub fn new(token: &str) -> Result<Self, WeakToken> {
        let printable = token.bytes().all(|byte| byte.is_ascii_graphic());
        if printable && token.len() >= MIN_OPERATOR_TOKEN { Ok(Self(digest(token))) } else { Err(WeakToken) }
    }

    /// Whether this is the token; how long it takes says nothing about either.
    fn is(&self, presented: &str) -> bool {
        self.0.ct_eq(&digest(presented)).into()
    }
}

impl std::fmt::Debug for OperatorToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OperatorToken(…)")
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// Somebody who looks after the service. A handler that takes one answers everybody else 401.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operator;

impl Part for Operator {
    fn describe(operation: &mut Operation<'_>) {
        operation.needs_operator();
    }
}

impl FromRequestParts<Api> for Operator {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Error> {
        Self::of(parts, api.inner.operations.token.as_ref())
    }
}

impl Operator {
    /// Who sends this request, where this is the operator's token.
    pub(crate) fn of(parts: &Parts, token: Option<&OperatorToken>) -> Result<Self, Error> {
        let allowed = match bearer(&parts.headers) {
            // Who shows credentials is judged by them alone.
            Some(presented) => token.is_some_and(|token| token.is(presented)),
            None => is_local(parts),
        };
        if allowed { Ok(Self) } else { Err(Error::unauthorized()) }
    }
}

/// What follows `Bearer` in the one header `Authorization`; an empty token when it is malformed, `None` without one.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?;
    let token = value.to_str().ok().and_then(|text| text.split_once(' '));
    let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
    Some(token.filter(|_| values.next().is_none()).unwrap_or_default())
}

/// Whether a program on this machine asks for itself.
///
/// A proxy on this machine asks for the whole world: it names whom in a header, or speaks HTTP/1.0 (nginx does both only
/// when it is told to, and the latter when it is not). A name in `Host` that is not this machine's is that of a web page
/// whose name was pointed here (DNS rebinding).
fn is_local(parts: &Parts) -> bool {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    peer.is_some_and(|ConnectInfo(address)| address.ip().to_canonical().is_loopback())
        && parts.version != Version::HTTP_10
        && FORWARDED.iter().all(|name| !parts.headers.contains_key(name))
        && names_this_machine(parts)
}

fn names_this_machine(parts: &Parts) -> bool {
    let host = parts.uri.authority().map(|authority| authority.as_str());
    let host = host.or_else(|| parts.headers.get(header::HOST)?.to_str().ok());
    let Some(authority) = host.and_then(|host| host.parse::<axum::http::uri::Authority>().ok()) else { return false };
    let host = authority.host();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn parts(peer: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri("/metrics").header("host", "127.0.0.1:8080");
        for (name, value) in headers {
            request = match *name {
                "host" => {
                    request.headers_mut().unwrap().insert("host", value.parse().unwrap());
                    request
                }
                _ => request.header(*name, *value),
            };
        }
        let peer: SocketAddr = peer.parse().unwrap();
        request.extension(ConnectInfo(peer)).body(()).unwrap().into_parts().0
    }

    #[test]
    fn this_machine_is_an_operator_and_others_are_not() {
        for peer in ["127.0.0.1:5000", "127.8.8.8:1", "[::1]:5000", "[::ffff:127.0.0.1]:5000"] {
            assert!(is_local(&parts(peer, &[])), "{peer}");
        }
        for peer in ["10.0.0.1:5000", "[fe80::1]:5000", "[::ffff:10.0.0.1]:5000", "128.0.0.1:5000"] {
            assert!(!is_local(&parts(peer, &[])), "{peer}");
        }
        let mut unknown = parts("127.0.0.1:1", &[]);
        unknown.extensions.clear();
        assert!(!is_local(&unknown));
    }

    #[test]
    fn whoever_comes_through_a_proxy_is_not_on_this_machine() {
        let forwarded = ["Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via"]
            .map(|name| parts("127.0.0.1:1", &[(name, "")]));
        for parts in forwarded {
            assert!(!is_local(&parts), "{:?}", parts.headers);
        }
        let mut old = parts("127.0.0.1:1", &[]);
        old.version = Version::HTTP_10;
        assert!(!is_local(&old));
    }

    #[test]
    fn a_web_page_whose_name_points_here_is_not_on_this_machine() {
        for host in ["localhost", "localhost:8080", "[::1]:8080", "127.0.0.1"] {
            assert!(is_local(&parts("127.0.0.1:1", &[("host", host)])), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", ""] {
            assert!(!is_local(&parts("127.0.0.1:1", &[("host", host)])), "{host}");
        }
    }

    #[test]
    fn a_token_is_read_from_one_bearer_header_alone() {
        let read = |headers: &[(&str, &str)]| bearer(&parts("127.0.0.1:1", headers).headers).map(str::to_owned);
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[("authorization", "bearer abc")]).as_deref(), Some("abc"));
        assert_eq!(read(&[("authorization", "Basic abc")]).as_deref(), Some(""));
        assert_eq!(read(&[("authorization", "Bearer a"), ("authorization", "Bearer a")]).as_deref(), Some(""));
    }

    #[test]
    fn a_token_is_long_and_compared_whole() {
        for weak in ["", "short", "with spaces in between", "ümläüts-are-no-ascii", "fifteen-letters"] {
            assert!(OperatorToken::new(weak).is_err(), "{weak}");
        }
        let token = OperatorToken::new("sixteen-letters!").unwrap();
        assert!(token.is("sixteen-letters!"));
        for other in ["", "sixteen-letters", "sixteen-letters!!", "Sixteen-letters!"] {
            assert!(!token.is(other), "{other}");
        }
        assert!(!format!("{token:?}").contains("letters"));
    }
}
