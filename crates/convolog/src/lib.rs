//! The parts of Convolog put together: what the binary runs, and what tests and benchmarks start.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at the first surprise"))]

/// What a request needs is taken by one thread and often given back by another, in pieces of many sizes: the C library's
/// allocator took a fifth of the API's CPU for that (docs/performance.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

pub mod attach;
pub mod commands;
pub mod demo_key;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod import;
pub mod logging;
pub mod node;
pub mod otlp;
pub mod secrets;
pub mod seed;
pub mod services;
pub mod settings;
pub mod telemetry;
pub mod write_side;
