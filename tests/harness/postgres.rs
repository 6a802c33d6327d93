//! The PostgreSQL of a run of tests: a child process of ours or, with the feature `containers`, the official image.

#[cfg(not(feature = "containers"))]
mod child;
#[cfg(feature = "containers")]
mod container;

#[cfg(not(feature = "containers"))]
pub(crate) use child::Server;
#[cfg(feature = "containers")]
pub(crate) use container::Server;
