//! The headers of answers, each described once under `components/headers`.

use serde_json::{Map, Value, json};

/// A header that answers carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// Of the request.
    RequestId,
    /// What a read reflects.
    Seq,
    /// What a read leaves out.
    Parked,
    /// The version.
    Etag,
    /// Where what was created can be read.
    Location,
    /// A repeated answer.
    Replayed,
    /// When to ask again.
    RetryAfter,
    /// What is left of a limit.
    RateLimit,
    /// The limit.
    RateLimitPolicy,
    /// How to authenticate.
    WwwAuthenticate,
    /// A browser's cookie.
    SetCookie,
}

impl Header {
    const ALL: [Self; 11] = [
        Self::RequestId,
        Self::Seq,
        Self::Parked,
        Self::Etag,
        Self::Location,
        Self::Replayed,
        Self::RetryAfter,
        Self::RateLimit,
        Self::RateLimitPolicy,
        Self::WwwAuthenticate,
        Self::SetCookie,
    ];

    /// What the scripts of a web page may read of an answer from elsewhere.
    pub(crate) const EXPOSED: [Self; 9] = [
        Self::RequestId,
        Self::Seq,
        Self::Parked,
        Self::Etag,
        Self::Location,
        Self::Replayed,
        Self::RetryAfter,
        Self::RateLimit,
        Self::RateLimitPolicy,
    ];

    /// What answers say to who is counted.
    pub(super) const OF_RATE_LIMITS: [Self; 2] = [Self::RateLimit, Self::RateLimitPolicy];

    /// Its name as clients know it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RequestId => "X-Request-Id",
            Self::Seq => "Convolog-Seq",
            Self::Parked => "Convolog-Parked",
            Self::Etag => "ETag",
            Self::Location => "Location",
            Self::Replayed => "Idempotency-Replayed",
            Self::RetryAfter => "Retry-After",
            Self::RateLimit => "RateLimit",
            Self::RateLimitPolicy => "RateLimit-Policy",
            Self::WwwAuthenticate => "WWW-Authenticate",
            Self::SetCookie => "Set-Cookie",
        }
    }

    fn description(self) -> Value {
        let always = |text: &str, schema: Value| json!({"description": text, "required": true, "schema": schema});
        let number = |least: u32| json!({"type": "integer", "format": "int64", "minimum": least});
        match self {
            Self::RequestId => always(
                "Id of the request: the `request_id` of an error, and without a `traceparent` the `correlationid` of its events.",
                json!({"type": "string", "format": "uuid"}),
            ),
            Self::Seq => always("Number of the tenant's log that the answer reflects.", number(0)),
            Self::Parked => json!({
                "description": "How many streams of the tenant are parked: their latest events cannot be projected for now, and the answer \
                                may lack them. Not there when it is none.",
                "schema": number(1),
            }),
            Self::Etag => always(
                "Version of the resource's own last change, for `If-Match`.",
                json!({"type": "string", "pattern": "^\"[1-9][0-9]*\"$", "examples": ["\"1\""]}),
            ),
            Self::Location => always("Where it can be read.", json!({"type": "string", "format": "uri-reference"})),
            Self::Replayed => json!({
                "description": "`true` when this is the answer of an earlier request with the same `Idempotency-Key`.",
                "schema": {"type": "string", "const": "true"},
            }),
            Self::RetryAfter => always("Seconds after which it is worth asking again.", number(1)),
            Self::RateLimit => json!({
                "description": "For each limit that the request was counted against, by name: `r` requests have room now, and after `t` \
                                seconds one more. Not there when rate limits are off.",
                "schema": {"type": "string", "examples": ["\"login\";r=3;t=12"]},
            }),
            Self::RateLimitPolicy => json!({
                "description": "Those limits: `q` requests at once, and again after `w` seconds.",
                "schema": {"type": "string", "examples": ["\"login\";q=10;w=120"]},
            }),
            Self::SetCookie => json!({
                "description": "The cookie of a browser that signs in with `cookie`, or that has logged out.",
                "schema": {"type": "string", "pattern": "^__Host-convolog="},
            }),
            Self::WwwAuthenticate => always("How to authenticate.", json!({"type": "string", "const": "Bearer"})),
        }
    }
}

/// References to these, by name.
pub(super) fn references(headers: &[Header]) -> Map<String, Value> {
    let reference = |header: &Header| json!({"$ref": format!("#/components/headers/{}", header.name())});
    headers.iter().map(|header| (header.name().to_owned(), reference(header))).collect()
}

/// `components/headers`.
pub(super) fn components() -> Value {
    Header::ALL
        .into_iter()
        .map(|header| (header.name(), header.description()))
        .map(|(name, header)| (name.to_owned(), header))
        .collect::<Map<_, _>>()
        .into()
}
