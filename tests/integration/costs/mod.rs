//! Costs over HTTP: what is recorded, refused, taken back and added up.

pub(crate) mod ledger;
mod periods;
mod record;
mod summary;
