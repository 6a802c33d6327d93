//! The one error of this crate: everything a request can end in other than what it asked for. It knows no request.

use std::{borrow::Cow, error::Error as StdError, sync::Arc};

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use crate::violation::Violation;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $status:ident, $title:literal, $retry_after:expr;)+) => {
        /// What went wrong, in a form that programs can rely on: a closed list, each with its status and its title.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $variant,)+
        }

        impl Code {
            /// All codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its stable name in the member `code`.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// The URI reference in the member `type`, relative to the server.
            pub fn problem_type(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!("/problems/", $name),)+
                }
            }

            /// The status it is answered with.
            pub fn status(self) -> StatusCode {
                match self {
                    $(Self::$variant => StatusCode::$status,)+
                }
            }

            /// One sentence that is the same for every occurrence.
            pub fn title(self) -> &'static str {
                match self {
                    $(Self::$variant => $title,)+
                }
            }

            /// After how many seconds it is worth asking again; `None` when the same request fails again.
            pub fn retry_after(self) -> Option<u32> {
                match self {
                    $(Self::$variant => $retry_after,)+
                }
            }
        }
    };
}

codes! {
    /// The body is not JSON that this service reads.
    InvalidJson = "invalid_json", BAD_REQUEST, "The body is not valid JSON", None;
    /// A header is malformed.
    InvalidHeader = "invalid_header", BAD_REQUEST, "A header is malformed", None;
    /// The cursor is broken, or was given out for another list.
    CursorMismatch = "cursor_mismatch", BAD_REQUEST, "The cursor does not belong to this list", None;
    /// No valid credentials.
    Unauthorized = "unauthorized", UNAUTHORIZED, "Valid credentials are required", None;
    /// E-mail and password do not fit; the same answer whichever is wrong.
    InvalidCredentials = "invalid_credentials", UNAUTHORIZED, "The credentials are wrong", None;
    /// The caller's role or scope does not allow it.
    Forbidden = "forbidden", FORBIDDEN, "Your role or your scopes do not allow this", None;
    /// A browser's cookie came from a web page that is not allowed to send it.
    OriginNotAllowed = "origin_not_allowed", FORBIDDEN, "This web page may not do this", None;
    /// Unknown, or another tenant's: not to be told apart.
    NotFound = "not_found", NOT_FOUND, "There is no such resource", None;
    /// The resource exists and does not take this method.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "This resource does not take this method", None;
    /// The request did not arrive in time.
    RequestTimeout = "request_timeout", REQUEST_TIMEOUT, "The request took too long to arrive", None;
    /// The session has ended.
    SessionEnded = "session_ended", CONFLICT, "The session has ended", None;
    /// The client chose an id that is taken.
    IdTaken = "id_taken", CONFLICT, "The id is already taken", None;
    /// The cost was voided before.
    AlreadyVoided = "already_voided", CONFLICT, "The cost is already voided", None;
    /// The credentials fit several tenants.
    TenantRequired = "tenant_required", CONFLICT, "Several tenants fit: choose one", None;
    /// A member has this address.
    EmailTaken = "email_taken", CONFLICT, "The e-mail address is already taken", None;
    /// The tenant would have no owner.
    LastOwner = "last_owner", CONFLICT, "The last owner stays", None;
    /// There are as many of these as there may be.
    TooMany = "too_many", CONFLICT, "There are as many as there may be", None;
    /// `If-Match` does not name the current version.
    VersionMismatch = "version_mismatch", PRECONDITION_FAILED, "The resource has changed since", None;
    /// Path and query are longer than allowed.
    UriTooLong = "uri_too_long", URI_TOO_LONG, "The request target is too long", None;
    /// The headers are more or longer than allowed.
    HeadersTooLarge = "headers_too_large", REQUEST_HEADER_FIELDS_TOO_LARGE, "The headers are too large", None;
    /// The body is longer than allowed.
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, "The body is too large", None;
    /// The body's media type is not JSON.
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE,
        "The body must be application/json", None;
    /// Well-formed, but something has an unknown name, a wrong type or a forbidden value.
    ValidationFailed = "validation_failed", UNPROCESSABLE_ENTITY, "The request has invalid values", None;
    /// The idempotency key was used for another request.
    IdempotencyKeyReused = "idempotency_key_reused", UNPROCESSABLE_ENTITY,
        "The idempotency key was used for another request", None;
    /// `min_seq` is beyond the head of the tenant's log.
    SeqNotInLog = "seq_not_in_log", UNPROCESSABLE_ENTITY, "The log does not reach this number", None;
    /// The event that would be recorded is larger than [`domain::MAX_ENCODED_EVENT`].
    EventTooLarge = "event_too_large", UNPROCESSABLE_ENTITY, "The event would be too large", None;
    /// A text contains the character NUL, which PostgreSQL does not store.
    NulCharacter = "nul_character", UNPROCESSABLE_ENTITY, "Texts must not contain the NUL character", None;
    /// Too many requests.
    RateLimited = "rate_limited", TOO_MANY_REQUESTS, "Too many requests", Some(1);
    /// A fault of ours.
    Internal = "internal", INTERNAL_SERVER_ERROR, "Something went wrong on our side", None;
    /// More work than can be taken on.
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, "The service is overloaded", Some(1);
    /// The read tables have not reached `min_seq` yet.
    ReadModelBehind = "read_model_behind", SERVICE_UNAVAILABLE, "The read tables are behind", Some(1);
    /// The tenant's log holds an event of a newer version of Convolog.
    NewerEvent = "newer_event", SERVICE_UNAVAILABLE, "The log holds an event of a newer version", Some(30);
    /// The command may or may not have been recorded.
    OutcomeUnknown = "outcome_unknown", SERVICE_UNAVAILABLE, "It is not known whether the command was recorded", Some(1);
}

impl Code {
    /// The code for an answer of the framework itself, which knows nothing but a status.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        let general = [
            Self::InvalidHeader,
            Self::Unauthorized,
            Self::Forbidden,
            Self::NotFound,
            Self::MethodNotAllowed,
            Self::RequestTimeout,
            Self::BodyTooLarge,
            Self::UnsupportedMediaType,
            Self::ValidationFailed,
            Self::RateLimited,
            Self::Overloaded,
        ];
        let fallback = if status.is_client_error() { Self::InvalidHeader } else { Self::Internal };
        general.into_iter().find(|code| code.status() == status).unwrap_or(fallback)
    }
}

/// A tenant whose user could have been meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TenantChoice {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
}

/// Members beside those of RFC 9457, each present only where it helps to go on.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub(crate) struct Members {
    /// What is wrong with the request's values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Violation>,
    /// How far the read tables or the log are.
    #[serde(skip_serializing_if = "Option::is_none")]
    current_seq: Option<u64>,
    /// What `If-Match` would have to name.
    #[serde(skip_serializing_if = "Option::is_none")]
    current_version: Option<u64>,
    /// From whom to choose.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tenants: Vec<TenantChoice>,
}

/// Why a request is not granted: a code, a sentence about this occurrence, and what helps the client to go on.
///
/// As a response it has a status and headers but no body yet; [`crate::problem::answer`] writes that, because only it
/// knows the request's id.
#[derive(Clone, Debug)]
pub struct Error(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    code: Code,
    detail: Cow<'static, str>,
    members: Members,
    retry_after: Option<u32>,
    cause: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of this code; `detail` is shown to the client.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        let retry_after = code.retry_after();
        Self(Box::new(Inner { code, detail: detail.into(), members: Members::default(), retry_after, cause: None }))
    }

    /// A fault of ours: the client gets the request's id, the log gets the cause.
    pub fn internal(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(Code::Internal, "The error is recorded under the request id.").caused_by(cause)
    }

    /// The one 404, for unknown and foreign ids alike.
    pub fn not_found() -> Self {
        Self::new(Code::NotFound, "It does not exist, or it is not yours.")
    }

    /// The one 401 for requests whose credentials are missing or not valid.
    pub fn unauthorized() -> Self {
        Self::new(Code::Unauthorized, "Send a valid access token or API key as `Authorization: Bearer …`.")
    }

    /// 422 with one violation, whose detail is also the error's.
    pub fn invalid(violation: Violation) -> Self {
        Self::new(Code::ValidationFailed, violation.detail().to_owned()).with_violations(vec![violation])
    }

    /// 503: there is too much to do right now, nothing was done.
    pub fn overloaded() -> Self {
        Self::new(Code::Overloaded, "Nothing was done; try again shortly.")
    }

    /// Lists what is wrong with the request's values.
    #[must_use]
    pub fn with_violations(mut self, violations: Vec<Violation>) -> Self {
        self.0.members.errors = violations;
        self
    }

    /// Adds `current_seq`: how far the read tables or the log are.
    #[must_use]
    pub fn with_current_seq(mut self, seq: u64) -> Self {
        self.0.members.current_seq = Some(seq);
        self
    }

    /// Adds `current_version`: what `If-Match` would have to name.
    #[must_use]
    pub fn with_current_version(mut self, version: u64) -> Self {
        self.0.members.current_version = Some(version);
        self
    }

    /// Adds `tenants`: from whom to choose.
    #[must_use]
    pub fn with_tenants(mut self, tenants: Vec<TenantChoice>) -> Self {
        self.0.members.tenants = tenants;
        self
    }

    /// Replaces the seconds of `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.0.retry_after = Some(seconds);
        self
    }

    /// Adds what the log, and only the log, should say about it.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.cause = Some(Arc::from(cause.into()));
        self
    }

    /// Its code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// What the client is told about this occurrence.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// What is wrong with the request's values; empty unless that is the error.
    pub fn violations(&self) -> &[Violation] {
        &self.0.members.errors
    }

    pub(crate) fn members(&self) -> &Members {
        &self.0.members
    }

    pub(crate) fn cause(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.0.cause {
            Some(cause) => Some(cause.as_ref()),
            None => None,
        }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.0.code.as_str(), self.0.detail)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause()
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = self.0.code.status().into_response();
        if let Some(seconds) = self.0.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.0.code.status() == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_code_has_a_name_of_its_own_an_error_status_and_a_title() {
        let names: HashSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            assert!(code.status().is_client_error() || code.status().is_server_error(), "{code:?}");
            assert_eq!(code.problem_type(), format!("/problems/{}", code.as_str()));
            assert!(!code.title().is_empty() && code.as_str().chars().all(|c| c.is_ascii_lowercase() || c == '_'));
        }
    }

    #[test]
    fn the_page_about_the_api_names_every_code_with_its_status() {
        let page = include_str!("../../../docs/api.md");
        for code in Code::ALL {
            let status = code.status().as_u16().to_string();
            let name = format!("`{}`", code.as_str());
            let named = page.lines().any(|line| {
                let mut cells = line.split('|').skip(1);
                cells.next().is_some_and(|cell| cell.contains(&status)) && line.contains(&name)
            });
            assert!(named, "docs/api.md does not name {name} with {status}");
        }
    }

    #[test]
    fn whoever_should_try_again_is_told_when() {
        for code in Code::ALL {
            let must = matches!(code.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
            let response = Error::new(*code, "x").into_response();
            let told = response.headers().contains_key(header::RETRY_AFTER);
            assert_eq!(told, must, "{code:?}");
        }
        let later = Error::overloaded().retry_after(7).into_response();
        assert_eq!(later.headers()[header::RETRY_AFTER], "7");
    }

    #[test]
    fn only_a_401_names_the_way_to_authenticate() {
        for code in Code::ALL {
            let named = Error::new(*code, "x").into_response().headers().get(header::WWW_AUTHENTICATE).cloned();
            let expected = (code.status() == StatusCode::UNAUTHORIZED).then_some(HeaderValue::from_static("Bearer"));
            assert_eq!(named, expected, "{code:?}");
        }
    }

    #[test]
    fn an_internal_error_tells_its_cause_to_the_log_only() {
        let error = Error::internal("password=hunter2 in the connection string");
        assert!(!error.to_string().contains("hunter2") && !error.detail().contains("hunter2"));
        assert!(error.cause().unwrap().to_string().contains("hunter2"));
    }

    #[test]
    fn an_answer_of_the_framework_keeps_its_class() {
        assert_eq!(Code::of_status(StatusCode::METHOD_NOT_ALLOWED), Code::MethodNotAllowed);
        assert_eq!(Code::of_status(StatusCode::NOT_FOUND), Code::NotFound);
        assert_eq!(Code::of_status(StatusCode::CONFLICT), Code::InvalidHeader);
        assert_eq!(Code::of_status(StatusCode::BAD_GATEWAY), Code::Internal);
    }
}
