//! From the log to the outside: the relay publishes events on NATS, the projector keeps the read tables.
//!
//! Both work shard by shard under leases, both know what is behind from a hint (doorbell, message) and from a sweep
//! of PostgreSQL that needs no hint, and both may stop at any point: the only progress is in PostgreSQL.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at the first surprise"))]

mod apply;
mod catch_up;
mod checkpoints;
mod cost_events;
mod cost_sums;
pub mod dead_letters;
mod error;
mod gather;
mod held;
mod ledger_entry;
mod live;
mod logged;
mod messages;
mod meters;
mod projection;
mod projector;
mod read_model;
mod relay;
mod relay_queue;
mod relay_state;
pub mod replay;
mod sessions;
mod standing;
mod sweep;

pub use error::Error;
pub use projection::{Projected, Projection, Table, Write};
pub use projector::{Projector, ProjectorSettings};
pub use read_model::{PROJECTIONS, READ_MODEL, version as read_model_version};
pub use relay::{Relay, RelaySettings};
pub use standing::Standing;
