//! The bus: carries events and hints over NATS, and is the only crate that knows its client; it remembers nothing.
//!
//! Whatever passes here may be lost, doubled or reordered without harm: PostgreSQL has it. So nothing waits for NATS
//! without a limit, and with NATS away every call answers [`Error::NotConnected`] at once.
//!
//! | user | talks through |
//! |---|---|
//! | [`User::Relay`] | [`Bus::events`] to publish, [`Bus::doorbell`] to listen |
//! | [`User::Projector`] | [`Bus::consumer`] to receive, [`Bus::projected`] to ring |
//! | [`User::Api`] | [`Bus::doorbell`] to ring, [`Bus::projected`] to listen, [`Bus::feed`] to follow |
//! | [`User::Viewer`] | any NATS client that subscribes to `events.>` |
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at the first surprise"))]

mod connection;
mod consumer;
mod doorbell;
mod error;
mod feed;
mod stream;
mod subject;
mod user;

pub use connection::{Bus, Connection};
pub use consumer::{EventConsumer, Events};
pub use doorbell::{Doorbell, Rings};
pub use error::{Error, Result};
pub use feed::{EventFeed, Feed};
pub use stream::{ACK_TIMEOUT, Ack, EventStream, StreamIdentity};
pub use user::{SERVER_CONFIG, User};
