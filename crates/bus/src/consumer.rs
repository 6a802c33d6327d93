//! The stream of events as a projector sees it: new events only, no acknowledgements, no progress kept at the server.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_nats::Message;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::context::{RequestError, RequestErrorKind};
use async_nats::jetstream::stream::{ConsumerError, ConsumerErrorKind};
use domain::{RecordedEvent, Shard, envelope};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, Stream, StreamExt};

use crate::{ACK_TIMEOUT, Bus, Error, Result, stream, subject};

/// The server forgets a consumer that has not been read for so long.
const INACTIVE_THRESHOLD: Duration = Duration::from_secs(30);
/// A live consumer says so this often; after two silent intervals it is lost.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long one request for messages stays open at the server.
const PULL_EXPIRES: Duration = Duration::from_secs(30);
/// Messages and bytes that one request asks for: about the double may wait in memory.
const BATCH: usize = 512;
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// The stream `EVENTS`, for the projector.
#[derive(Clone, Debug)]
pub struct EventConsumer {
    bus: Bus,
}

impl EventConsumer {
    pub(crate) fn new(bus: Bus) -> Self {
        Self { bus }
    }

    /// Receives what is stored in the stream from now on for these shards: when this returns, the server knows of it,
    /// so what PostgreSQL does not have yet will be delivered. Without shards nothing is.
    ///
    /// Read it within 30 s, else the server forgets it and it ends with an error.
    ///
    /// # Errors
    /// [`Error::StreamMissing`], [`Error::NotConnected`], [`Error::TimedOut`], [`Error::JetStreamMissing`],
    /// [`Error::Refused`].
    pub async fn subscribe(&self, shards: &[Shard]) -> Result<Events> {
        self.bus.require_connection()?;
        let lost = self.bus.lost().boxed();
        let config = pull::Config {
            deliver_policy: DeliverPolicy::New,
            ack_policy: AckPolicy::None,
            filter_subjects: subject::event_filters(shards),
            inactive_threshold: INACTIVE_THRESHOLD,
            memory_storage: true,
            num_replicas: 1,
            ..Default::default()
        };
        let subscribing = async {
            let created = self.bus.jetstream().create_consumer_on_stream(config, stream::NAME).await;
            let consumer: PullConsumer = created.map_err(consumer_error)?;
            let pull = consumer.stream().max_messages_per_batch(BATCH).max_bytes_per_batch(BATCH_BYTES);
            let messages = pull.expires(PULL_EXPIRES).heartbeat(HEARTBEAT).messages().await.map_err(Error::client)?;
            let name = consumer.cached_info().name.clone();
            Ok(Events { bus: self.bus.clone(), name, messages, lost, ended: false, subject: String::new() })
        };
        tokio::time::timeout(ACK_TIMEOUT, subscribing).await.map_err(|_elapsed| Error::TimedOut)?
    }
}

/// Events as they arrive, in the stream's order; each is one of the shards asked for.
///
/// Ends after its first error: [`Error::NotConnected`] as soon as the connection is lost, [`Error::ConsumerLost`]
/// within seconds after the server has lost the consumer. What is not one of our events on its right subject is logged
/// and skipped. Dropping it takes the consumer from the server.
pub struct Events {
    bus: Bus,
    name: String,
    messages: pull::Stream,
    lost: BoxFuture<'static, ()>,
    ended: bool,
    /// Kept to compare subjects without an allocation each.
    subject: String,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").field("consumer", &self.name).field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Stream for Events {
    type Item = Result<RecordedEvent>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let error = loop {
            match self.messages.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(message))) => match read(&message, &mut self.subject) {
                    Some(event) => return Poll::Ready(Some(Ok(event))),
                    None => continue,
                },
                Poll::Ready(Some(Err(error))) => break Error::ConsumerLost(error.into()),
                Poll::Ready(None) => break Error::NotConnected,
                Poll::Pending => {
                    std::task::ready!(self.lost.poll_unpin(cx));
                    break Error::NotConnected;
                }
            }
        };
        self.ended = true;
        Poll::Ready(Some(Err(error)))
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        if !self.bus.is_connected() {
            return;
        }
        // A courtesy that waits for nothing: the server would forget the consumer by itself.
        let subject = format!("$JS.API.CONSUMER.DELETE.{}.{}", stream::NAME, self.name);
        let deleting = self.bus.client().publish(subject, bytes::Bytes::new());
        let _ = tokio::task::unconstrained(deleting).now_or_never();
    }
}

/// The event of a message, `None` for one that we would not have sent like this.
pub(crate) fn read(message: &Message, expected: &mut String) -> Option<RecordedEvent> {
    let event = match envelope::decode(&message.payload) {
        Ok(event) => event,
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(subject = %message.subject, error, "a message is not an event and is skipped");
            return None;
        }
    };
    subject::write_event(expected, &event);
    if message.subject.as_str() != expected {
        tracing::warn!(subject = %message.subject, %expected, "an event on a foreign subject is skipped");
        return None;
    }
    Some(event)
}

fn consumer_error(error: ConsumerError) -> Error {
    match error.kind() {
        ConsumerErrorKind::TimedOut => Error::TimedOut,
        ConsumerErrorKind::JetStream(error) => error.into(),
        ConsumerErrorKind::Request if nobody_answers(&error) => Error::JetStreamMissing,
        ConsumerErrorKind::Request
        | ConsumerErrorKind::InvalidConsumerType
        | ConsumerErrorKind::InvalidName
        | ConsumerErrorKind::Other => Error::client(error),
    }
}

fn nobody_answers(error: &ConsumerError) -> bool {
    let request = std::error::Error::source(error).and_then(|source| source.downcast_ref::<RequestError>());
    request.is_some_and(|request| request.kind() == RequestErrorKind::NoResponders)
}

#[cfg(test)]
mod tests {
    use async_nats::Subject;
    use bytes::Bytes;

    use super::*;
    use crate::subject::tests::recorded;

    fn message(subject: String, payload: impl Into<Bytes>) -> Message {
        let (subject, payload) = (Subject::from(subject), payload.into());
        Message { subject, payload, reply: None, headers: None, status: None, description: None, length: 0 }
    }

    #[test]
    fn an_event_on_its_subject_is_read() {
        let event = recorded(1, 42);
        let message = message(subject::event(&event), envelope::encode(&event).unwrap());
        assert_eq!(read(&message, &mut String::new()).map(|event| event.seq), Some(42));
    }

    #[test]
    fn an_event_on_a_foreign_subject_is_skipped() {
        let (event, other) = (recorded(1, 42), recorded(2, 42));
        let payload = envelope::encode(&event).unwrap();
        let right = subject::event(&event);
        let shard = event.tenant.shard();
        let forged = [
            subject::event(&other),
            right.replace(&format!("events.{shard}."), "events.64."),
            right.replace("session", "tenant"),
            format!("{right}.more"),
        ];
        for subject in forged {
            assert!(read(&message(subject.clone(), payload.clone()), &mut String::new()).is_none(), "{subject}");
        }
    }

    #[test]
    fn what_is_not_an_event_is_skipped() {
        let subject = subject::event(&recorded(1, 42));
        for payload in ["", "{}", "null", "\u{0}"] {
            assert!(read(&message(subject.clone(), payload), &mut String::new()).is_none(), "{payload}");
        }
    }
}
