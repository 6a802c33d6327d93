//! PostgreSQL and NATS as child processes, for development and tests on a bare machine; production has its own.
//!
//! [`Binaries::provide`] takes the programs from a cache and fetches them once, [`Postgres::start`] and [`Nats::start`]
//! run them on the loopback on free ports. No server outlives the process that started it, however that one ends: each
//! is held by a small shell that waits for the end of a pipe. Data lies where [`Places`] says, or in a
//! [`ThrowAwayDir`].

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that can't go on fails"))]

mod account;
mod binaries;
mod error;
mod fetch;
mod guard;
mod lock;
mod nats;
mod packages;
mod places;
mod postgres;
mod progress;
mod running;
mod server;
mod throw_away;

pub use account::{Account, current_uid};
pub use binaries::Binaries;
pub use error::{Error, Ways};
pub use nats::{Nats, NatsOptions};
pub use places::Places;
pub use postgres::{Postgres, PostgresOptions};
pub use progress::Progress;
pub use running::Running;
pub use throw_away::{Storage, ThrowAwayDir};
