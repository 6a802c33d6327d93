//! What all commands have in common: their context for the log, and their answer.

use axum::Json;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use store::{CommandContext, ExecuteError, Outcome};
use uuid::Uuid;

use crate::{
    body::Received,
    caller::Caller,
    conditions::etag,
    error::{Code, Error},
    idempotency::IdempotencyKey,
    state::Api,
    trace_context::Origin,
};

/// Says that the answer was given before.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The command's context: whose it is, its key, and the request that it came with.
pub(crate) fn context(
    api: &Api,
    caller: &Caller,
    origin: Origin,
    key: IdempotencyKey,
    received: Received,
) -> CommandContext {
    let key = key.0.map(|key| store::IdempotencyKey { key, request_hash: received.hash });
    let traceparent = origin.traceparent.map(|parent| parent.to_string());
    let context = CommandContext::new(caller.context, origin.request.0, api.inner.now());
    CommandContext { key, traceparent, bytes: received.bytes, ..context }
}

/// What a command answers.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Done {
    /// What was created or changed.
    pub id: Uuid,
    /// Number of the last event in the tenant's log; reads with `min_seq` of it see the change.
    pub seq: u64,
    /// Version of the resource, also its `ETag`.
    pub version: u64,
}

/// 201 with `Location`.
pub(crate) fn created(outcome: &Outcome<Uuid>, location: String) -> Response {
    let mut headers = headers(outcome);
    // Paths of ours are ASCII.
    if let Ok(value) = HeaderValue::from_str(&location) {
        headers.insert(header::LOCATION, value);
    }
    (StatusCode::CREATED, headers, Json(done(outcome))).into_response()
}

/// 200.
pub(crate) fn changed(outcome: &Outcome<Uuid>) -> Response {
    (headers(outcome), Json(done(outcome))).into_response()
}

fn done(outcome: &Outcome<Uuid>) -> Done {
    Done { id: outcome.receipt, seq: outcome.seq, version: outcome.version }
}

fn headers(outcome: &Outcome<Uuid>) -> HeaderMap {
    let mut headers = HeaderMap::from_iter([(header::ETAG, etag(outcome.version))]);
    if outcome.replayed {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    headers
}

/// An error of the log as the client is told; rejections are the endpoint's to explain.
pub(crate) fn refused<E>(error: ExecuteError<E>, explain: impl FnOnce(E) -> Error) -> Error {
    match error {
        ExecuteError::Rejected(rejection) => explain(rejection),
        ExecuteError::Claimed(_) => id_taken(),
        ExecuteError::KeyReused => {
            Error::new(Code::IdempotencyKeyReused, "This key was used with another method, path or body.")
        }
        ExecuteError::Store(error) => error.into(),
    }
}

/// 409: a client chose an id that exists.
pub(crate) fn id_taken() -> Error {
    Error::new(Code::IdTaken, "Choose another id, or leave it out.")
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        use store::Error as Store;
        match error {
            Store::Overloaded => Self::overloaded(),
            Store::OutcomeUnknown => Self::new(
                Code::OutcomeUnknown,
                "The database was lost while the command was being recorded. Repeat it with its Idempotency-Key.",
            ),
            Store::ShuttingDown => Self::new(Code::Overloaded, "The service is shutting down; nothing was done."),
            Store::EventTooLarge { .. } => {
                Self::new(Code::EventTooLarge, "Written as an event it would exceed 512 KiB; send less.")
            }
            // Ids of streams are shared by all categories: as a path it names nothing.
            Store::OtherCategory | Store::UnknownTenant => Self::not_found(),
            Store::Decode(cause @ domain::DecodeError::Newer { .. }) => {
                Self::new(Code::NewerEvent, "This server is older than the data; an upgrade is under way.")
                    .caused_by(cause)
            }
            unavailable @ Store::Unavailable(_) => {
                Self::new(Code::Overloaded, "The database is not available; nothing was done.").caused_by(unavailable)
            }
            other @ (Store::Database(_)
            | Store::Decode(_)
            | Store::Encode(_)
            | Store::UnsafeRole { .. }
            | Store::Migrate(_)
            | Store::ServerTooOld { .. }
            | Store::Url { .. }) => Self::internal(other),
        }
    }
}

/// An error of a query on a tenant's rows.
impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        store::Error::from(error).into()
    }
}
