//! How a request stands with the limits it was counted against, told in the headers of its answer.
//!
//! `RateLimit-Policy` and `RateLimit` as of draft-ietf-httpapi-ratelimit-headers: `q` requests at once and again after
//! `w` seconds; `r` are left, and after `t` seconds there is room for one more than that.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;

use super::gcra::Quota;
use crate::state::Api;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// How a request stands with one limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) limit: &'static str,
    pub(super) quota: Quota,
    pub(super) remaining: u32,
    pub(super) next: Duration,
}

/// Goes with a request, for whoever counts it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standings(Arc<Mutex<Vec<Standing>>>);

impl Standings {
    pub(super) fn note(&self, standing: Standing) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(standing);
    }

    fn write(&self, headers: &mut HeaderMap) {
        let standings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if standings.is_empty() {
            return;
        }
        let (mut policies, mut states) = (String::new(), String::new());
        for Standing { limit, quota, remaining, next } in standings.iter() {
            let comma = if policies.is_empty() { "" } else { ", " };
            let (window, next) = (whole_seconds(quota.window()), whole_seconds(*next));
            // Into a string: this cannot fail.
            let _ = write!(policies, r#"{comma}"{limit}";q={};w={window}"#, quota.burst);
            let _ = write!(states, r#"{comma}"{limit}";r={remaining};t={next}"#);
        }
        for (name, text) in [(RATE_LIMIT_POLICY, policies), (RATE_LIMIT, states)] {
            // Names and numbers are always valid.
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(name, value);
            }
        }
    }
}

/// Rounded up: after so many seconds it is so.
pub(super) fn whole_seconds(time: Duration) -> u32 {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

/// An answer says how its request stands, also when it is an error.
pub(crate) async fn tell(api: &Api, mut request: Request, next: impl AsyncFnOnce(Request) -> Response) -> Response {
    if !api.inner.rate_limits.are_on() {
        return next(request).await;
    }
    let standings = Standings::default();
    request.extensions_mut().insert(standings.clone());
    let mut response = next(request).await;
    standings.write(response.headers_mut());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standings_are_told_as_structured_fields() {
        let standings = Standings::default();
        let mut headers = HeaderMap::new();
        standings.write(&mut headers);
        assert!(headers.is_empty());
        let quota = Quota { burst: 10, every: Duration::from_secs(12) };
        let next = Duration::from_millis(11_001);
        standings.note(Standing { limit: "login", quota, remaining: 3, next });
        standings.write(&mut headers);
        assert_eq!(headers["ratelimit-policy"], r#""login";q=10;w=120"#);
        assert_eq!(headers["ratelimit"], r#""login";r=3;t=12"#);
        standings.note(Standing { limit: "tenant", quota, remaining: 0, next: Duration::ZERO });
        let mut both = HeaderMap::new();
        standings.write(&mut both);
        assert_eq!(both["ratelimit"], r#""login";r=3;t=12, "tenant";r=0;t=0"#);
    }
}
