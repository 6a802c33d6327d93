//! `GET /v1/events/stream`: the tenant's own log as server-sent events, from any number on and then live.
//!
//! NATS tells what is new, PostgreSQL has what NATS has lost: [`tails`] keeps the last events of the tenants that somebody
//! follows, [`watch`] fills it, and each client walks along its log with a [`follower`], at its own pace.

mod follower;
mod tails;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse as _, Response, Sse};
use bus::Bus;
use domain::Category;
use domain::tenant::Role;
use serde::Deserialize;
use store::ApiDatabase;
use tokio::sync::Semaphore;

use crate::{
    caller::Caller,
    error::{Code, Error},
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
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Follow {
    #[serde(default, deserialize_with = "crate::event_page::seq")]
    after: u64,
    #[serde(default, deserialize_with = "crate::event_page::category")]
    category: Option<Category>,
}

pub(crate) async fn follow(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    Query(query): Query<Follow>,
) -> Result<Response, Error> {
    caller.require(Role::Admin)?;
    let after = last_event_id(&headers)?.unwrap_or(query.after);
    // Before the log is read, so that nothing is missed in between.
    let place = api.inner.streams.tails.place(caller.context.tenant()).map_err(refused)?;
    let (follower, head) = Follower::begin(api, caller, place, after, query.category).await?;
    let headers = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (UNBUFFERED, HeaderValue::from_static("no")),
        (SEQ, HeaderValue::from(head)),
    ];
    Ok((headers, Sse::new(follower.into_stream())).into_response())
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
