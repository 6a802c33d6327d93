//! `GET /v1/events/stream`: every event once, in order, live, to those who may see it, whatever NATS, the client and the
//! clock do.

pub(crate) mod listener;
pub(crate) mod random;

mod ends;
mod filter;
mod follow;
mod limits;
mod requests;
mod revoked;
mod without_nats;
