//! Whether a worker is well, for whoever asks its process: it has renewed its leases lately.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use store::Leases;

/// Shared between a worker and who asks.
#[derive(Clone, Debug)]
pub struct Standing(Arc<Mutex<Instant>>);

impl Standing {
    pub(crate) fn renewed(at: Instant) -> Self {
        Self(Arc::new(Mutex::new(at)))
    }

    pub(crate) fn renew(&self, at: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// Whether the leases were renewed so lately that they last. A worker that holds none, because others are enough, is well too.
    pub fn is_good(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed() < Leases::DURATION
    }
}
