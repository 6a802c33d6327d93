//! The pause after a busy transaction or page: under load the next one waits until it is worth its fixed cost.

use std::time::Duration;

use tokio::time::Instant;

/// With more events than this at once there is load. A tenant alone, or a few hundred commands per second, never come to it.
const BUSY: usize = 16;
/// How long events gather then. A transaction or a page costs as much as some fifty events, whatever their number.
const PAUSE: Duration = Duration::from_millis(25);

/// Whether it is time for the next transaction or page.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    until: Option<Instant>,
}

impl Gather {
    /// One of so many events is done.
    pub(crate) fn done(&mut self, events: usize) {
        self.until = (events > BUSY).then(|| Instant::now() + PAUSE);
    }

    /// Whether it is time; then nothing is waited for any more.
    pub(crate) fn is_over(&mut self) -> bool {
        self.until = self.until.filter(|until| *until > Instant::now());
        self.until.is_none()
    }

    /// Waits for the end of the pause; for ever when there is none.
    pub(crate) async fn over(&self) {
        match self.until {
            Some(until) => tokio::time::sleep_until(until).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn under_load_the_next_one_waits_and_without_it_does_not() {
        let mut gather = Gather::default();
        assert!(gather.is_over());
        gather.done(BUSY);
        assert!(gather.is_over() && gather.over().now_or_never().is_none());
        gather.done(BUSY + 1);
        assert!(!gather.is_over());
        let begun = Instant::now();
        gather.over().await;
        assert!(begun.elapsed() >= PAUSE && gather.is_over());
        assert!(gather.over().now_or_never().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_has_passed_unnoticed_is_told_at_once() {
        let mut gather = Gather::default();
        gather.done(BUSY + 1);
        tokio::time::advance(PAUSE * 2).await;
        assert!(gather.over().now_or_never().is_some());
    }
}
