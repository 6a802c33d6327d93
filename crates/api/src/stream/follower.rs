//! One client's walk along the log of its tenant: pages of PostgreSQL while it is behind, then what is heard.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::Event;
use domain::Category;
use futures_util::{Stream, stream};
use tokio::time::Instant;

use super::standing::Standing;
use super::tails::{Next, Place};
use super::{HEARTBEAT, READ_AHEAD, RETRY};
use crate::{
    caller::Caller,
    error::{Code, Error},
    event_page::{Encoded, EventPage, Wanted, read_page},
    reads::Read,
    state::Api,
};

/// Most events that are read at once.
const PAGE: u16 = 500;
/// How long a stream waits before it asks a database again that was not available.
pub(super) const REST: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct Follower {
    api: Api,
    caller: Caller,
    category: Option<Category>,
    place: Place,
    /// When the client's token expires.
    until: Instant,
    /// Whether they may still follow.
    standing: Standing,
    /// Up to here the log has been looked at.
    seen: u64,
    /// The last id that the client was told: where it goes on when it comes back.
    told: u64,
    /// Events up to `seen` that the client has not got yet, and their bytes.
    ready: VecDeque<Arc<Encoded>>,
    bytes: usize,
    /// A page was read: of a rare category the client shall not look through that part of the log again.
    has_read: bool,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Begins,
    Follows,
    Ends,
}

impl Follower {
    /// Reads the first page; what can be wrong with the request is found out here. Also answers where the log ends.
    pub(crate) async fn begin(
        api: Api,
        caller: Caller,
        place: Place,
        after: u64,
        category: Option<Category>,
    ) -> Result<(Self, u64), Error> {
        let left = (caller.good_until - api.inner.now()).to_std().unwrap_or_default();
        let standing = Standing::watch(api.clone(), caller);
        let mut follower = Self {
            api,
            caller,
            category,
            place,
            until: Instant::now() + left,
            standing,
            seen: after,
            told: after,
            ready: VecDeque::new(),
            bytes: 0,
            has_read: false,
            stage: Stage::Begins,
        };
        let head = follower.read().await?;
        Ok((follower, head))
    }

    /// What the client gets.
    pub(crate) fn into_stream(self) -> impl Stream<Item = Result<Event, Infallible>> + Send + 'static {
        stream::unfold(self, |mut follower| async { Some((Ok(follower.next().await?), follower)) })
    }

    /// The next thing to say, nothing when the stream ends.
    async fn next(&mut self) -> Option<Event> {
        match self.stage {
            Stage::Begins => {
                self.stage = Stage::Follows;
                // With its id the client has a place in the log before there is an event.
                return Some(progress(self.told).retry(RETRY));
            }
            Stage::Follows => {}
            Stage::Ends => return None,
        }
        let (closing, until, standing) = (self.api.inner.closing.clone(), self.until, self.standing.lost());
        let said = tokio::select! {
            biased;
            () = closing.cancelled() => None,
            () = standing => None,
            () = tokio::time::sleep_until(until) => None,
            said = self.step() => said,
        };
        if said.is_none() {
            self.stage = Stage::Ends;
            return self.progress();
        }
        said
    }

    async fn step(&mut self) -> Option<Event> {
        let heartbeat = Instant::now() + HEARTBEAT;
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.told = event.seq;
                self.bytes -= event.json.len();
                self.place.holds(self.bytes);
                return Some(told(&event));
            }
            if std::mem::take(&mut self.has_read)
                && let Some(progress) = self.progress()
            {
                return Some(progress);
            }
            let waiting = match self.place.next(self.seen) {
                Next::Events(events) => {
                    self.take_in(events);
                    continue;
                }
                Next::InLog => match self.read().await {
                    Ok(_head) => continue,
                    Err(error) if error.code() == Code::Overloaded => {
                        tokio::time::timeout_at(heartbeat, tokio::time::sleep(REST)).await
                    }
                    Err(error) => {
                        tracing::warn!(error = &error as &dyn std::error::Error, "a stream of events ends");
                        return None;
                    }
                },
                Next::Nothing => tokio::time::timeout_at(heartbeat, self.place.moved(self.seen)).await,
                Next::Astray => return None,
            };
            if waiting.is_err() {
                return self.progress().or_else(|| Some(comment()));
            }
        }
    }

    /// Reads the next page of the log. A client that reads slowly must not hold a connection, so a task of its own
    /// reads to the end.
    async fn read(&mut self) -> Result<u64, Error> {
        let (api, caller, known) = (self.api.clone(), self.caller, self.place.known());
        let wanted = Wanted { after: self.seen, category: self.category, events: PAGE, bytes: READ_AHEAD };
        let reading = async move {
            let _few = api.inner.streams.reads.clone().acquire_owned().await;
            let mut read = Read::committed(&api, &caller, None).await?;
            read_page(&mut read, wanted).await
        };
        let EventPage { events, next_after, head } =
            store::spawn("stream_page", reading).await.map_err(Error::internal)??;
        self.place.settle(known, head);
        self.take_in(events.into_iter().map(Arc::new));
        self.seen = next_after;
        self.has_read = true;
        Ok(head)
    }

    /// Events that follow on `seen`.
    fn take_in(&mut self, events: impl IntoIterator<Item = Arc<Encoded>>) {
        for event in events {
            self.seen = event.seq;
            if self.category.is_none_or(|category| category.as_str() == event.category) {
                self.bytes += event.json.len();
                self.ready.push_back(event);
            }
        }
        self.place.holds(self.bytes);
    }

    /// Where the client may go on, when it does not know yet.
    fn progress(&mut self) -> Option<Event> {
        if !self.ready.is_empty() || self.told == self.seen {
            return None;
        }
        self.told = self.seen;
        Some(progress(self.seen))
    }
}

/// An event without a name, so that a browser hands every one to `onmessage`; its type is in the data.
///
/// Outside of strings JSON may have line breaks, where a client wrote them. A line feed passes; a carriage return would
/// end a line for some clients and not for others, and between values a space means the same.
fn told(event: &Encoded) -> Event {
    let id = Event::default().id(event.seq.to_string());
    if event.json.contains('\r') { id.data(event.json.replace('\r', " ")) } else { id.data(&event.json) }
}

/// An id without data: a client remembers it as the last one, and sees no event.
fn progress(seq: u64) -> Event {
    Event::default().id(seq.to_string())
}

fn comment() -> Event {
    Event::DEFAULT_KEEP_ALIVE
}
