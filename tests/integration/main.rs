//! What needs PostgreSQL or NATS: one binary, one file per promise.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at the first surprise")]
#![allow(clippy::large_futures, clippy::too_many_lines, reason = "a test tells a story")]

mod conversations;
mod faults;
mod nats_permissions;
