//! Around everything else: gives a request its id and span, and writes every error's body; no other code writes one.

use std::{error::Error as StdError, panic::AssertUnwindSafe, time::Instant};

use axum::{
    body::Body,
    extract::{FromRequestParts, Request},
    http::{HeaderName, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use domain::TenantId;
use futures_util::FutureExt;
use schemars::JsonSchema;
use serde::Serialize;
use tracing::{Instrument, Span, field};
use uuid::Uuid;

use crate::{
    error::{Code, Error, Members},
    trace_context::{Origin, TraceParent},
};

/// Media type of every error.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// The header in which every answer names its request.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request, a UUIDv7 made here. Ids that clients send are ignored: it becomes the correlation id of events,
/// so nobody else may choose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId(pub Uuid);

impl<S: Send + Sync> FromRequestParts<S> for RequestId {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        parts.extensions.get().copied().ok_or_else(|| Error::internal("the request has not passed problem::answer"))
    }
}

/// Marks an answer whose status says that something is wrong, but which is what was asked for: it keeps its body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IsNoProblem;

/// Why a request was not granted: RFC 9457, with members of our own that are there when they help to go on.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Problem<'a> {
    /// A URI reference that identifies the kind of problem.
    #[schemars(extend("format" = "uri-reference"))]
    r#type: &'static str,
    /// One sentence that is the same for every occurrence.
    title: &'static str,
    /// The HTTP status.
    #[schemars(range(min = 400, max = 599))]
    status: u16,
    /// What is wrong this time.
    detail: &'a str,
    /// For programs: stable, one of the list. New ones may come.
    code: &'static str,
    /// Name it when you ask for help.
    request_id: Uuid,
    #[serde(flatten)]
    members: &'a Members,
}

impl<'a> Problem<'a> {
    pub(crate) fn of(error: &'a Error, request_id: Uuid) -> Self {
        Self {
            r#type: error.code().problem_type(),
            title: error.code().title(),
            status: error.code().status().as_u16(),
            detail: error.detail(),
            code: error.code().as_str(),
            request_id,
            members: error.members(),
        }
    }
}

/// Answers with what `next` makes of the request: outside everything else, so that no answer escapes it.
///
/// A panic below becomes 500. An error answer that is not one of ours (a method the router does not know, say) gets a
/// problem body with the code of its status and keeps its headers.
pub async fn answer(mut request: Request, next: impl AsyncFnOnce(Request) -> Response) -> Response {
    let id = RequestId(Uuid::now_v7());
    let origin = Origin { request: id, traceparent: TraceParent::of(request.headers()) };
    request.extensions_mut().insert(id);
    request.extensions_mut().insert(origin);
    let trace_id = origin.trace_id();
    // At every level, so that whatever is logged says of which request it is. The path alone: a query may carry what
    // does not belong in a log.
    let span = tracing::error_span!(
        "request",
        request_id = %id.0,
        %trace_id,
        tenant = field::Empty,
        method = %request.method(),
        path = request.uri().path(),
    );
    let begun = Instant::now();
    async {
        let outcome = AssertUnwindSafe(next(request)).catch_unwind().await;
        // The panic's text was written by the panic hook.
        let response = outcome.unwrap_or_else(|_| Error::internal("a handler panicked").into_response());
        stamp(response, origin, begun)
    }
    .instrument(span)
    .await
}

/// Every further line about this request says that it is this tenant's; for whoever has checked the credentials.
pub(crate) fn record_tenant(tenant: TenantId) {
    Span::current().record("tenant", field::display(tenant));
}

fn stamp(mut response: Response, origin: Origin, begun: Instant) -> Response {
    let RequestId(id) = origin.request;
    let status = response.status();
    let mut problem = None;
    if (status.is_client_error() || status.is_server_error()) && response.extensions().get::<IsNoProblem>().is_none() {
        let error = error_of(&mut response);
        response = with_problem(response, &error, id);
        problem = Some(error);
    }
    log(response.status(), problem.as_ref(), begun);
    // For who tells of the request elsewhere.
    response.extensions_mut().insert(origin);
    // A hyphenated UUID is always a valid header value.
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// What was put into the response, or what its status means.
fn error_of(response: &mut Response) -> Error {
    let status = response.status();
    response.extensions_mut().remove::<Error>().unwrap_or_else(|| {
        Error::new(Code::of_status(status), status.canonical_reason().unwrap_or("The request was refused."))
    })
}

fn with_problem(response: Response, error: &Error, id: Uuid) -> Response {
    let body = Body::from(document(error, id));
    let (mut parts, _) = response.into_parts();
    parts.status = error.code().status();
    // For who counts answers by their codes.
    parts.extensions.insert(error.code());
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    Response::from_parts(parts, body)
}

/// The problem as JSON.
fn document(error: &Error, id: Uuid) -> Vec<u8> {
    serde_json::to_vec(&Problem::of(error, id)).unwrap_or_else(|cause| {
        tracing::error!(error = &cause as &dyn StdError, "a problem could not be written");
        Vec::new()
    })
}

/// A whole answer for a connection that never came to a request, and ends with it.
pub(crate) fn last_words(error: &Error) -> Vec<u8> {
    let id = Uuid::now_v7();
    let body = document(error, id);
    let (status, length) = (error.code().status(), body.len());
    let head = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: {CONTENT_TYPE}\r\ncache-control: no-store\r\n\
         {REQUEST_ID}: {id}\r\ncontent-length: {length}\r\n\r\n"
    );
    [head.into_bytes(), body].concat()
}

/// The one line about a request, and the only place that says why it failed. What the client did wrong has no cause.
fn log(status: StatusCode, problem: Option<&Error>, begun: Instant) {
    let duration_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    let code = problem.map(|error| error.code().as_str());
    let error = problem.and_then(Error::cause);
    let status = status.as_u16();
    match status {
        500 => tracing::error!(status, code, duration_us, error, "request failed"),
        // Refusals of a flood have no cause: they are counted, a line for each would be another flood.
        _ if error.is_some() => tracing::warn!(status, code, duration_us, error, "request refused"),
        _ => tracing::debug!(status, code, duration_us, "answered"),
    }
}

#[cfg(test)]
mod tests;
