//! An answer that is dear to get: asked for by one at a time, in a task of its own, and given to all for a while.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// The last answer and when it was got; clones share it.
pub(crate) struct Cached<T> {
    lifetime: Duration,
    last: Arc<Mutex<Option<(Instant, T)>>>,
}

impl<T: Clone + Send + 'static> Cached<T> {
    /// Answers are good for `lifetime`; after it they are never given out again.
    pub(crate) fn new(lifetime: Duration) -> Self {
        Self { lifetime, last: Arc::default() }
    }

    /// The last answer when it is young enough, else that of `ask`. However many call at once, and whether or not they
    /// wait for the answer, `ask` runs once. `None` when it has panicked.
    pub(crate) async fn get<F>(&self, ask: impl FnOnce() -> F) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut last = self.last.clone().lock_owned().await;
        if let Some((_, answer)) = last.as_ref().filter(|(at, _)| at.elapsed() < self.lifetime) {
            return Some(answer.clone());
        }
        // Gone before it is asked anew: whatever becomes of that, nobody is told what was so long ago.
        *last = None;
        let asked = ask();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        // With the lock: who asks meanwhile waits for this answer, even when the first to ask has gone away.
        store::spawn("cached", async move {
            let answer = asked.await;
            *last = Some((Instant::now(), answer.clone()));
            let _ = sender.send(answer);
        });
        receiver.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt as _;

    use super::*;

    fn counting(asked: &Arc<AtomicUsize>) -> impl FnOnce() -> futures_util::future::BoxFuture<'static, usize> + use<> {
        let asked = asked.clone();
        move || {
            async move {
                tokio::time::sleep(Duration::from_millis(10)).await;
                asked.fetch_add(1, Ordering::Relaxed) + 1
            }
            .boxed()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_ask_at_once_ask_once_and_again_after_its_lifetime() {
        let (cached, asked) = (Cached::new(Duration::from_secs(1)), Arc::default());
        let answers = futures_util::future::join_all((0..50).map(|_| cached.get(counting(&asked)))).await;
        assert_eq!(answers, [Some(1); 50]);
        tokio::time::sleep(Duration::from_millis(999)).await;
        assert_eq!(cached.get(counting(&asked)).await, Some(1));
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(cached.get(counting(&asked)).await, Some(2));
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_away_has_still_asked() {
        let (cached, asked) = (Cached::new(Duration::from_secs(1)), Arc::default());
        for _ in 0..50 {
            assert!(cached.get(counting(&asked)).now_or_never().is_none());
        }
        assert_eq!(cached.get(counting(&asked)).await, Some(1));
    }
}
