//! The facts and rules of Convolog: ids, events and the aggregates that decide; no I/O, no clock, no randomness.
//!
//! One file per aggregate, always with the same parts in the same order: Command, Event, State, Rejection, `decide`,
//! `evolve`, tests. Everything that happens is a [`RecordedEvent`]; everything that leaves the house is its
//! [`envelope`].
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at the first surprise"))]

mod aggregate;
mod currency;
mod decimal;
mod email;
pub mod envelope;
mod event;
mod fact;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
#[cfg(test)]
mod golden;
mod ids;
mod json_object;
pub mod ledger;
pub mod operations;
mod period;
pub mod session;
pub mod tenant;
pub mod user;

pub use aggregate::{Aggregate, DecodeError, EventData, EventType};
pub use currency::{CURRENCY_PATTERN, Currency, InvalidCurrency};
pub use decimal::{AMOUNT_PATTERN, Amount, InvalidAmount, InvalidQuantity, MAX_DIGITS, QUANTITY_PATTERN, Quantity};
pub use email::{Email, InvalidEmail};
pub use event::{Actor, ActorKind, Category, EventMeta, RecordedEvent, StreamId};
pub use fact::Fact;
pub use ids::{MessageId, SHARDS, SessionId, Shard, TenantId, UserId};
pub use json_object::{JsonObject, NotAnObject};
pub use period::{InvalidPeriod, PERIOD_PATTERN, Period};

/// Largest encoded event in bytes: the whole CloudEvents envelope as it goes over NATS.
pub const MAX_ENCODED_EVENT: usize = 512 * 1024;
