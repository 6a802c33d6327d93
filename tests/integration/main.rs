//! What needs PostgreSQL or NATS: one binary, one file per promise.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at the first surprise")]
#![allow(clippy::large_futures, clippy::too_many_lines, reason = "a test tells a story")]
#![allow(clippy::disallowed_methods, reason = "a test spawns, and is whoever it wants to be")]

mod architecture;
mod conversations;
mod costs;
mod dead_letters;
mod evolution;
mod faults;
mod http;
mod import;
mod isolation;
mod log;
mod nats_permissions;
mod openapi;
mod operations;
mod plans;
mod replay;
mod stream;
