//! `convolog` as processes: started, killed, frozen and started again, beside servers that fail.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at the first surprise")]

mod apart;
mod compose;
mod crash;
mod dead_letters;
mod dev;
mod keys;
mod log_ins;
mod outages;
mod process;
mod restart;
mod revocation;
mod tools;
