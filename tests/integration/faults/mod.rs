//! What relay, projector and NATS promise when things go wrong: nothing is lost, nothing doubled, reads say where they are.

pub(crate) mod load;
pub(crate) mod oracle;
pub(crate) mod outside;

pub(crate) mod chain_guard;
mod checkpoints;
mod clock;
pub(crate) mod group_version;
mod leases;
mod min_seq;
mod nats_lies;
mod nats_loss;
mod poison;
pub(crate) mod rebuild;
mod relay;
mod sweep;
