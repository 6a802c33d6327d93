//! What all commands have in common: their context for the log, and their answer.

use axum::Json;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use store::{CommandContext, ExecuteError, Outcome};
use uuid::Uuid;

use crate::{
    body::Received,
    caller::Caller,
    conditions::etag,
    error::{Code, Error},
    idempotency::IdempotencyKey,
    openapi::{Answers, Header, Operation},
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
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[schemars(example = json!({"id": "01a2046a-b446-7000-8000-000000000003", "seq": 4, "version": 2}))]
pub struct Done {
    /// What was created or changed.
    pub id: Uuid,
    /// Number of the last event in the tenant's log; reads with `min_seq` of it see the change.
    #[schemars(range(min = 1))]
    pub seq: u64,
    /// Version of the resource, also its `ETag`.
    #[schemars(range(min = 1))]
    pub version: u64,
}

/// The answer of a command that has created something.
pub(crate) struct Created(Response);

/// The answer of a command that has changed something.
pub(crate) struct Changed(Response);

impl IntoResponse for Created {
    fn into_response(self) -> Response {
        self.0
    }
}

impl IntoResponse for Changed {
    fn into_response(self) -> Response {
        self.0
    }
}

impl Answers for Created {
    fn describe(operation: &mut Operation<'_>) {
        let headers = [Header::Etag, Header::Location, Header::Replayed];
        operation.answers::<Done>(201, "It is created, durably.", &headers);
        operation.fails(&FAILURES);
    }
}

impl Answers for Changed {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers::<Done>(200, "It is done, durably.", &[Header::Etag, Header::Replayed]);
        operation.fails(&FAILURES);
    }
}

/// What may happen to any command in the log.
pub(crate) const FAILURES: [Code; 4] = [Code::EventTooLarge, Code::Overloaded, Code::NewerEvent, Code::OutcomeUnknown];

/// 201 with `Location`.
pub(crate) fn created(outcome: &Outcome<Uuid>, location: String) -> Created {
    let (headers, done) = created_parts(outcome, location);
    Created((StatusCode::CREATED, headers, Json(done)).into_response())
}

/// What a 201 with `Location` consists of, for an answer that says more.
pub(crate) fn created_parts(outcome: &Outcome<Uuid>, location: String) -> (HeaderMap, Done) {
    let mut headers = headers(outcome);
    // Paths of ours are ASCII.
    if let Ok(value) = HeaderValue::from_str(&location) {
        headers.insert(header::LOCATION, value);
    }
    (headers, done(outcome))
}

/// 200.
pub(crate) fn changed(outcome: &Outcome<Uuid>) -> Changed {
    Changed((headers(outcome), Json(done(outcome))).into_response())
}

fn done(outcome: &Outcome<Uuid>) -> Done {
    Done { id: outcome.receipt, seq: outcome.seq, version: outcome.version }
}

fn headers(outcome: &Outcome<Uuid>) -> HeaderMap {
    // Room for what all answers get, too: a map that grows is built anew each time.
    let mut headers = HeaderMap::with_capacity(16);
    headers.insert(header::ETAG, etag(outcome.version));
    say_replayed(&mut headers, outcome.replayed);
    headers
}

/// Marks an answer that was given before.
pub(crate) fn say_replayed(headers: &mut HeaderMap, replayed: bool) {
    if replayed {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
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
            | Store::OlderSchema { .. }
            | Store::NewerSchema { .. }
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
