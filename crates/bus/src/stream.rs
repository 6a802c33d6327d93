//! The stream of events as its publisher sees it: defined by `nats/events.json`, lost without harm, filled again.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::{HeaderName, HeaderValue, NATS_MESSAGE_ID};
use async_nats::jetstream::context::{PublishAckFuture, PublishErrorKind, RequestErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::{self, ErrorCode, stream};
use chrono::{DateTime, Utc};
use domain::{RecordedEvent, envelope};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde::Serialize;

use crate::{Bus, Error, Result, subject};

/// How long NATS has to answer a request or to acknowledge an event.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// Name of the stream, as in its definition.
pub(crate) const NAME: &str = "EVENTS";

/// The stream's definition, sent to the server as it is but for defaults.
///
/// Its durations are nanoseconds. Messages can be purged, because a tenant can be erased, but only by a user of more
/// permissions than ours. It has no limit of bytes: JetStream reserves such a limit on the disk and refuses the stream
/// where there is less; the server's `max_file_store` is the limit.
const DEFINITION: &str = include_str!("../../../nats/events.json");

const CONTENT_TYPE: HeaderName = HeaderName::from_static("Content-Type");
/// W3C Trace Context, for consumers whose libraries look for it here.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Which stream this is and how far it goes: when either goes back or changes, NATS was wiped or restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamIdentity {
    /// When it was created, cut to microseconds so that it survives PostgreSQL.
    pub created: DateTime<Utc>,
    /// Number of the last message that it has ever stored, 0 for none.
    pub last_sequence: u64,
}

/// The stream `EVENTS`, for the relay.
#[derive(Clone, Debug)]
pub struct EventStream {
    bus: Bus,
}

/// The acknowledgement of one published event, see [`Ack::stored`].
#[derive(Debug)]
#[must_use = "an event is stored when its acknowledgement says so"]
pub struct Ack {
    inner: PublishAckFuture,
}

impl Ack {
    /// Waits until NATS has the event and returns its number in the stream; for a duplicate, that of the first copy.
    ///
    /// # Errors
    /// As [`EventStream::publish_all`], after [`ACK_TIMEOUT`] at the latest; a lost connection is [`Error::TimedOut`].
    pub async fn stored(self) -> Result<u64> {
        Ok(self.inner.await.map_err(publish_error)?.sequence)
    }
}

impl EventStream {
    pub(crate) fn new(bus: Bus) -> Self {
        Self { bus }
    }

    /// Makes the stream exist as it is defined; safe to call at any time and by several at once.
    ///
    /// # Errors
    /// [`Error::Refused`] when a stream of this name can't be changed into ours, or another one has its subjects;
    /// [`Error::NotConnected`], [`Error::TimedOut`], [`Error::JetStreamMissing`].
    pub async fn ensure(&self) -> Result<StreamIdentity> {
        let definition = definition()?;
        match self.request("STREAM.CREATE", &definition).await {
            Err(Error::Refused(error)) if error.error_code() == ErrorCode::STREAM_NAME_EXIST => {
                tracing::info!(stream = definition.name, "the stream is defined otherwise and is changed");
                self.request("STREAM.UPDATE", &definition).await
            }
            created => created,
        }
    }

    /// The stream as it is now, `None` when there is none.
    ///
    /// # Errors
    /// [`Error::NotConnected`], [`Error::TimedOut`], [`Error::JetStreamMissing`].
    pub async fn identity(&self) -> Result<Option<StreamIdentity>> {
        match self.request("STREAM.INFO", &()).await {
            Ok(identity) => Ok(Some(identity)),
            Err(Error::StreamMissing) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends one event and returns its outstanding acknowledgement. Events are stored in the order of these calls.
    ///
    /// `generation` distinguishes this life of the stream from the one before: within a generation the stream drops a
    /// second copy of an event for 10 s.
    ///
    /// # Errors
    /// [`Error::NotConnected`] at once, [`Error::TimedOut`] when the connection takes no more for [`ACK_TIMEOUT`],
    /// [`Error::Encode`], [`Error::Client`].
    pub async fn publish(&self, event: &RecordedEvent, generation: u64) -> Result<Ack> {
        self.bus.require_connection()?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, envelope::CONTENT_TYPE);
        headers.insert(NATS_MESSAGE_ID, subject::message_id(event, generation));
        let traceparent = event.meta.traceparent.as_ref().and_then(|parent| parent.parse::<HeaderValue>().ok());
        if let Some(traceparent) = traceparent {
            headers.insert(TRACEPARENT, traceparent);
        }
        let payload = envelope::encode(event).map_err(Error::Encode)?;
        let message = PublishMessage::build().headers(headers).payload(payload.into());
        let inner = self.bus.jetstream().send_publish(subject::event(event), message).await.map_err(publish_error)?;
        Ok(Ack { inner })
    }

    /// Sends events in their order, with at most `window` acknowledgements outstanding, and returns when all are
    /// stored: the highest number in the stream that was acknowledged, 0 when `events` is empty.
    ///
    /// # Errors
    /// The first that occurs; any number of the events may be stored then. [`Error::StreamMissing`] when the stream is
    /// gone, [`Error::NotConnected`] as soon as the connection is lost, [`Error::TimedOut`] after [`ACK_TIMEOUT`]
    /// without an answer, [`Error::Refused`] for example for want of disk space.
    pub async fn publish_all(&self, events: &[RecordedEvent], generation: u64, window: usize) -> Result<u64> {
        let publishing = async {
            let mut outstanding = FuturesUnordered::new();
            let mut highest = 0;
            for event in events {
                if outstanding.len() >= window.max(1)
                    && let Some(stored) = outstanding.next().await
                {
                    highest = highest.max(stored?);
                }
                let ack = self.publish(event, generation).await?;
                outstanding.push(ack.stored());
            }
            while let Some(stored) = outstanding.next().await {
                highest = highest.max(stored?);
            }
            Ok(highest)
        };
        tokio::select! {
            biased;
            published = publishing => published,
            () = self.bus.lost() => Err(Error::NotConnected),
        }
    }

    /// A request to JetStream about the stream.
    async fn request(&self, verb: &str, body: &(impl Serialize + ?Sized)) -> Result<StreamIdentity> {
        self.bus.require_connection()?;
        let request = self.bus.jetstream().request(format!("{verb}.{NAME}"), body);
        // The client's own limit does not cover the wait for room in its queue.
        let answer = tokio::time::timeout(ACK_TIMEOUT, request).await.map_err(|_elapsed| Error::TimedOut)?;
        match answer.map_err(request_error)? {
            Response::Ok(info) => identity(&info),
            Response::Err { error } => Err(error.into()),
        }
    }
}

fn definition() -> Result<stream::Config> {
    serde_json::from_str(DEFINITION).map_err(Error::StreamDefinition)
}

fn identity(info: &stream::Info) -> Result<StreamIdentity> {
    let micros = i64::try_from(info.created.unix_timestamp_nanos().div_euclid(1000)).map_err(Error::client)?;
    let created = DateTime::from_timestamp_micros(micros).ok_or_else(|| Error::client("the stream has no date"))?;
    Ok(StreamIdentity { created, last_sequence: info.state.last_sequence })
}

fn request_error(error: jetstream::context::RequestError) -> Error {
    match error.kind() {
        RequestErrorKind::NoResponders => Error::JetStreamMissing,
        RequestErrorKind::TimedOut => Error::TimedOut,
        RequestErrorKind::InvalidSubject | RequestErrorKind::Other => Error::client(error),
    }
}

/// Nobody listens on an event's subject but the stream, so "no responders" means that it is gone.
fn publish_error(error: jetstream::context::PublishError) -> Error {
    match error.kind() {
        PublishErrorKind::StreamNotFound => Error::StreamMissing,
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => Error::TimedOut,
        PublishErrorKind::WrongLastMessageId
        | PublishErrorKind::WrongLastSequence
        | PublishErrorKind::MaxAckPending
        | PublishErrorKind::MaxPayloadExceeded
        | PublishErrorKind::Other => refused(error),
    }
}

/// JetStream's own words when the error carries them.
fn refused(error: jetstream::context::PublishError) -> Error {
    let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<jetstream::Error>());
    match source.cloned() {
        Some(source) => source.into(),
        None => Error::client(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_defined_as_documented() {
        let definition = definition().unwrap();
        assert_eq!(definition.name, NAME);
        assert_eq!(definition.subjects, [subject::ALL_EVENTS]);
        assert_eq!(definition.storage, stream::StorageType::File);
        assert_eq!(definition.retention, stream::RetentionPolicy::Limits);
        assert_eq!(definition.discard, stream::DiscardPolicy::Old);
        assert_eq!(definition.max_age, Duration::from_secs(7 * 24 * 60 * 60));
        assert_eq!(definition.duplicate_window, Duration::from_secs(10));
        assert_eq!(definition.num_replicas, 1);
        assert!(definition.allow_direct && !definition.sealed && !definition.no_ack);
    }

    #[test]
    fn nothing_in_the_definition_is_unknown_to_the_client() {
        let written: serde_json::Value = serde_json::from_str(DEFINITION).unwrap();
        let sent = serde_json::to_value(definition().unwrap()).unwrap();
        for (key, value) in written.as_object().unwrap().iter().filter(|(_, value)| **value != false) {
            assert_eq!(sent.get(key), Some(value), "{key}");
        }
    }
}
