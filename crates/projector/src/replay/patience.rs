//! Tries again what has failed for a reason that passes: a lost connection, a lock, a database that restarts.

use std::time::Duration;

use crate::Error;

/// How often in a row, and the pause before the second time, doubled each time.
const ATTEMPTS: u32 = 8;
const PAUSE: Duration = Duration::from_millis(50);

/// Does what may be done twice.
pub(crate) async fn patiently<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut patience = Patience::new();
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) => patience.with(error).await?,
        }
    }
}

/// How much longer it is tried.
pub(crate) struct Patience {
    left: u32,
    pause: Duration,
}

impl Patience {
    pub(crate) fn new() -> Self {
        Self { left: ATTEMPTS, pause: PAUSE }
    }

    /// Rests, or answers the error when nothing is gained by that.
    pub(crate) async fn with(&mut self, error: Error) -> Result<(), Error> {
        if error.is_deterministic() || self.left == 0 {
            return Err(error);
        }
        tracing::debug!(error = &error as &dyn std::error::Error, "trying again");
        tokio::time::sleep(self.pause).await;
        self.left -= 1;
        self.pause *= 2;
        Ok(())
    }
}
