//! `GET /v1/events/stream`: the tenant's own log as server-sent events, from any number on and then live.
//!
//! NATS tells what is new, PostgreSQL has what NATS has lost: `tails` keeps the last events of the tenants that somebody
//! follows, `watch` fills it, and each client walks along its log with a `follower`, at its own pace.

mod follower;
mod standing;
mod tails;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response, Sse};
use bus::Bus;
use domain::Category;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use store::ApiDatabase;
use tokio::sync::Semaphore;

use crate::{
    caller::Caller,
    error::{Code, Error},
    openapi::{About, Answers, Header, Operation, Part, Tag, domain_types},
    paging::Query,
    reads::SEQ,
    state::Api,
};
use follower::Follower;
use tails::{Full, Tails};

/// Streams that one tenant may have open at a process.
pub const MAX_STREAMS_OF_TENANT: usize = 20;
/// Streams that a process has open.
pub const MAX_STREAMS: usize = 500;
/// A client that hears nothing for so long hears a comment, so that it and what is in between know that we live.
pub const HEARTBEAT: Duration = Duration::from_secs(15);
/// After how long a client is asked to come back when its stream has ended.
pub const RETRY: Duration = Duration::from_secs(2);
/// Bytes of events that are read ahead for a client; the event that goes beyond is the last.
pub const READ_AHEAD: usize = 128 * 1024;

/// Streams that read from PostgreSQL at the same time: they leave connections to everybody else.
const MAX_READS: usize = 4;

/// No proxy of nginx's kind collects events before it passes them on.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What the streams of a process share.
pub(crate) struct Streams {
    tails: Arc<Tails>,
    reads: Arc<Semaphore>,
}

/// How many streams there are, and what they hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamFigures {
    /// Streams that are open.
    pub open: usize,
    /// Bytes of events that were read and wait until their clients take them.
    pub waiting_bytes: usize,
}

impl Streams {
    /// Starts to watch; nothing is heard or read while nobody follows.
    pub(crate) fn start(database: ApiDatabase, bus: Bus) -> Self {
        let tails = Arc::new(Tails::default());
        watch::start(database, bus, &tails);
        Self { tails, reads: Arc::new(Semaphore::new(MAX_READS)) }
    }

    pub(crate) fn figures(&self) -> StreamFigures {
        StreamFigures { open: self.tails.places(), waiting_bytes: self.tails.waiting() }
    }
}

/// Parameters.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Follow {
    /// Number of the last event that has been seen; `Last-Event-ID` goes before it.
    #[serde(default, deserialize_with = "crate::event_page::seq")]
    #[schemars(range(max = i64::MAX))]
    after: u64,
    /// Only events of streams of this category.
    #[serde(default, deserialize_with = "crate::event_page::category")]
    #[schemars(with = "Option<domain_types::StreamCategory>")]
    category: Option<Category>,
}

/// The header `Last-Event-ID`: where a client that comes back has been.
pub(crate) struct LastEventId(Option<u64>);

impl<S: Send + Sync> FromRequestParts<S> for LastEventId {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        last_event_id(&parts.headers).map(Self)
    }
}

impl Part for LastEventId {
    fn describe(operation: &mut Operation<'_>) {
        operation.takes_header(json!({
            "name": "Last-Event-ID", "in": "header", "required": false,
            "description": "Where a client that comes back has been: the `id` of the last event.",
            "schema": {"type": "string", "pattern": "^[0-9]{1,18}$", "examples": ["42"]},
        }));
        operation.fails(&[Code::InvalidHeader]);
    }
}

/// The events, one after the other, without end.
pub(crate) struct EventStream(Response);

impl IntoResponse for EventStream {
    fn into_response(self) -> Response {
        self.0
    }
}

impl Answers for EventStream {
    fn describe(operation: &mut Operation<'_>) {
        let schema = json!({
            "type": "string",
            "description": "Server-sent events: `id` is the number in the log, `data` a CloudEvent as in `GET /v1/events`.",
            "examples": [format!("id: 4\ndata: {}\n\n", domain_types::example_event())],
        });
        operation.answers_as(
            200,
            "The stream, which does not end by itself.",
            "text/event-stream",
            schema,
            &[Header::Seq],
        );
        operation.fails(&[Code::SeqNotInLog, Code::Overloaded]);
    }
}

/// What the document says of [`follow`].
pub(crate) const FOLLOW: About = About {
    id: "followEvents",
    tag: Tag::Events,
    summary: "Follow the log",
    text: "The log from a number on, and then what happens, as server-sent events. A comment \
           every 15 seconds says that the stream lives. A client that comes back says `Last-Event-ID`.",
    codes: &[Code::RateLimited],
    links: &[],
};

pub(crate) async fn follow(
    State(api): State<Api>,
    caller: Caller,
    LastEventId(last_event_id): LastEventId,
    Query(query): Query<Follow>,
) -> Result<EventStream, Error> {
    let after = last_event_id.unwrap_or(query.after);
    // Before the log is read, so that nothing is missed in between.
    let place = api.inner.streams.tails.place(caller.context.tenant()).map_err(refused)?;
    let (follower, head) = Follower::begin(api, caller, place, after, query.category).await?;
    let headers = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (UNBUFFERED, HeaderValue::from_static("no")),
        (SEQ, HeaderValue::from(head)),
    ];
    Ok(EventStream((headers, Sse::new(follower.into_stream())).into_response()))
}

/// Where a client that comes back has been; empty is what a client says that has not been anywhere.
pub(crate) fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Error> {
    let malformed = || Error::new(Code::InvalidHeader, "Last-Event-ID is not a number of the log.");
    let mut values = headers.get_all(LAST_EVENT_ID).iter();
    let (value, None) = (values.next(), values.next()) else { return Err(malformed()) };
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let seq: u64 = text.and_then(|text| text.parse().ok()).ok_or_else(malformed)?;
    Ok(Some(seq))
}

fn refused(full: Full) -> Error {
    match full {
        Full::Tenant => {
            let detail = format!("The tenant has {MAX_STREAMS_OF_TENANT} streams open, which is the most.");
            Error::new(Code::RateLimited, detail).retry_after(5)
        }
        Full::Process => Error::overloaded(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gets_no_place_is_told_whose_streams_are_too_many() {
        assert_eq!(refused(Full::Tenant).code(), Code::RateLimited);
        assert_eq!(refused(Full::Process).code(), Code::Overloaded);
    }

    #[test]
    fn a_last_event_id_is_digits_or_nothing() {
        let with = |values: &[&'static str]| {
            let values = values.iter().map(|value| (LAST_EVENT_ID, HeaderValue::from_static(value)));
            last_event_id(&values.collect())
        };
        assert_eq!(with(&[]).unwrap(), None);
        assert_eq!(with(&[""]).unwrap(), None);
        assert_eq!(with(&["0"]).unwrap(), Some(0));
        assert_eq!(with(&["00000000000000000042"]).unwrap(), Some(42));
        for malformed in ["+1", "-1", "1.0", "1 ", "x", "99999999999999999999", "0x1"] {
            assert_eq!(with(&[malformed]).unwrap_err().code(), Code::InvalidHeader, "{malformed}");
        }
    }
}
