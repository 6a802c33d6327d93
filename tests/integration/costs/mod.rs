//! Costs over HTTP: what is recorded, refused, taken back and added up.

mod fold;
mod histories;
pub(crate) mod ledger;
mod periods;
mod record;
mod summary;
mod sums;
