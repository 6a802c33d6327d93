//! Costs over HTTP: what is recorded, refused, taken back and added up.

mod record;
