//! What is asked of every request before anything else is done for it: a head of bounded size, one host, and room.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};

use crate::{
    error::{Code, Error},
    server::{Arrived, REQUEST_TIMEOUT},
    state::Api,
};

/// Longest request target (path and query) in bytes.
pub const MAX_TARGET: usize = 8 * 1024;
/// Most header fields of a request.
pub const MAX_HEADERS: usize = 64;
/// Most bytes of all header fields of a request together, names and values.
pub const MAX_HEADER_BYTES: usize = 16 * 1024;

/// What any request may be answered before its handler is asked.
pub(crate) const REFUSALS: [Code; 4] = [Code::InvalidHeader, Code::UriTooLong, Code::HeadersTooLarge, Code::Overloaded];

/// Lets in what may come in, for as long as it may take.
pub(crate) async fn admit(api: &Api, request: Request, next: impl AsyncFnOnce(Request) -> Response) -> Response {
    // Past a socket there is no connection to say anything.
    let arrived = request.extensions().get::<Arrived>().copied();
    let (over_limit, limit) = arrived.map_or((false, REQUEST_TIMEOUT), |it| (it.over_limit, it.request_timeout));
    let mut response = match check(api, &request, arrived) {
        Ok(()) => {
            let writes = !is_read(request.method());
            tokio::time::timeout(limit, next(request)).await.unwrap_or_else(|_elapsed| late(writes).into_response())
        }
        Err(error) => error.into_response(),
    };
    if over_limit {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

fn check(api: &Api, request: &Request, arrived: Option<Arrived>) -> Result<(), Error> {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > MAX_TARGET {
        return Err(Error::new(Code::UriTooLong, "Path and query may have at most 8 KiB."));
    }
    let headers = request.headers();
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if headers.len() > MAX_HEADERS || bytes > MAX_HEADER_BYTES {
        return Err(Error::new(Code::HeadersTooLarge, "A request may have at most 64 headers of 16 KiB in all."));
    }
    if arrived.is_some() {
        check_host(headers)?;
    }
    // Whoever looks after this process is told how it is, however busy it is.
    if !request.uri().path().starts_with("/v1/") {
        return Ok(());
    }
    if arrived.is_some_and(|it| it.over_limit) {
        return Err(Error::new(Code::Overloaded, "Too many connections; nothing was done."));
    }
    // Signing in and registering go past the queues.
    let queued = !is_read(request.method()) && !request.uri().path().starts_with("/v1/auth/");
    if queued && api.inner.log.is_full() {
        return Err(Error::overloaded());
    }
    Ok(())
}

/// A request names the host that it is for, once (RFC 9112, 3.2).
fn check_host(headers: &HeaderMap) -> Result<(), Error> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if !host.is_empty() => Ok(()),
        _ => Err(Error::new(Code::InvalidHeader, "Send the header Host once.")),
    }
}

/// A command may have been recorded although its answer comes too late.
fn late(writes: bool) -> Error {
    match writes {
        true => Error::new(Code::OutcomeUnknown, "It took too long. Repeat it with its Idempotency-Key."),
        false => Error::new(Code::Overloaded, "It took too long; try again shortly."),
    }
}
