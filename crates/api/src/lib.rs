//! Convolog's HTTP interface: takes commands and answers reads of one tenant at a time; it decides nothing itself.
//!
//! Whatever goes wrong becomes one [`error::Error`], and [`problem::answer`], the outermost layer, is the only place
//! that writes an error's body. The rules of the edge (bodies, headers, cursors, passwords, tokens) have one file each
//! and know neither the database nor any endpoint.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at the first surprise"))]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "a test makes routers of its own"))]

pub mod admission;
pub mod api_keys;
mod auth;
mod believed;
pub mod body;
mod cached;
mod caller;
mod command;
pub mod conditions;
pub mod cookies;
mod costs;
pub mod cursor;
mod docs;
pub mod error;
mod event_page;
mod events;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod health;
mod http_meters;
pub mod idempotency;
mod json;
mod jwks;
pub mod master_secret;
mod members;
mod messages;
pub mod openapi;
mod operations;
mod operator;
mod origins;
pub mod paging;
pub mod passwords;
pub mod path;
pub mod policy;
pub mod problem;
pub mod rate_limits;
mod read_gate;
mod reads;
pub mod report;
mod router;
mod scrape;
pub mod secret;
pub mod server;
mod sessions;
pub mod signing_keys;
mod spans;
mod state;
pub mod statements;
pub mod stream;
mod tenant;
pub mod tokens;
pub mod trace_context;
mod users;
pub mod violation;
pub mod worker;

pub use auth::invitation::new_invitation;
pub use caller::{Caller, Credential};
pub use command::{Done, REPLAYED};
pub use operations::{DATABASE_FACTS_LIFETIME, Operations, SELF_CHECK_LIFETIME};
pub use operator::{MIN_OPERATOR_TOKEN, OperatorToken, WeakToken};
pub use origins::{InvalidOrigin, WebOrigin};
pub use rate_limits::RateLimitSettings;
pub use reads::{MIN_SEQ_WAIT, SEQ};
pub use router::router;
pub use server::{ServerSettings, serve, serve_worker};
pub use spans::{OnAnswer, RequestSpan};
pub use state::{Api, Clock};
