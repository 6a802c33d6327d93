//! What can go wrong on the bus; none of it loses anything, all of it is worth another try later.

use async_nats::jetstream::{self, ErrorCode};

/// Result of a call to the bus.
pub type Result<T> = std::result::Result<T, Error>;

/// Why NATS did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL is not one of NATS. The only error that trying again does not mend.
    #[error("the NATS URL is malformed")]
    Url(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// There is no connection, or it was lost while waiting. The client connects again by itself.
    #[error("not connected to NATS")]
    NotConnected,
    /// NATS did not answer in time. It may have done what it was asked for. Also what a user without permission sees.
    #[error("NATS did not answer in time")]
    TimedOut,
    /// The stream does not exist (any more): create it and publish again from PostgreSQL.
    #[error("the stream does not exist")]
    StreamMissing,
    /// The server, or our account on it, runs without JetStream.
    #[error("NATS runs without JetStream")]
    JetStreamMissing,
    /// JetStream refused, for example for want of disk space.
    #[error("NATS refused")]
    Refused(#[source] jetstream::Error),
    /// The consumer behind a subscription is gone or silent: subscribe again and catch up from PostgreSQL.
    #[error("the consumer was lost")]
    ConsumerLost(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An event that has no JSON form.
    #[error("the event can't be encoded")]
    Encode(#[source] serde_json::Error),
    /// The stream's definition in `nats/events.json` is not valid.
    #[error("the stream's definition is malformed")]
    StreamDefinition(#[source] serde_json::Error),
    /// The client could not send, or could not read the answer.
    #[error("the request to NATS failed")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// Any other failure of the client library.
    pub(crate) fn client(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Client(source.into())
    }
}

impl From<jetstream::Error> for Error {
    fn from(error: jetstream::Error) -> Self {
        match error.error_code() {
            ErrorCode::STREAM_NOT_FOUND => Self::StreamMissing,
            ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => Self::JetStreamMissing,
            _ => Self::Refused(error),
        }
    }
}
