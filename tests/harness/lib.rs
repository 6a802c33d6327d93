//! Starts real services and nodes for tests and benchmarks, and speaks to them in verbs; contains no assertion about Convolog.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a harness that cannot go on stops the test")]

mod client;
mod cluster;
mod mt_bench;
mod postgres;
mod world;

pub use client::{Reply, User};
pub use cluster::{TestDatabase, database, start_nats};
pub use mt_bench::{Conversation, conversations};
pub use world::{PASSWORD, World, WorldSettings, eventually};
