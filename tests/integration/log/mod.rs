//! The tenant log: gapless under fire, conflict-free under contention, safe when clients go away.

mod cancellation;
mod commands;
mod contention;
mod durable;
mod gap_oracle;
