//! Whether somebody who follows a log still may: asked again and again beside the stream, which waits for nobody.

use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::follower::REST;
use crate::{caller::Caller, error::Code, state::Api};

/// As long as it is held it is asked.
pub(super) struct Standing {
    lost: CancellationToken,
    _asks: DropGuard,
}

impl Standing {
    /// Begins to ask.
    pub(super) fn watch(api: Api, caller: Caller) -> Self {
        let (lost, asks) = (CancellationToken::new(), CancellationToken::new());
        let (tell, held) = (lost.clone(), asks.clone());
        store::spawn("stream_standing", async move {
            if held.run_until_cancelled(refused(api, caller)).await.is_some() {
                tell.cancel();
            }
        });
        Self { lost, _asks: asks.drop_guard() }
    }

    /// Comes when they may not any more.
    pub(super) fn lost(&self) -> impl Future<Output = ()> + Send + 'static {
        self.lost.clone().cancelled_owned()
    }
}

/// Ends when the caller is refused.
async fn refused(api: Api, caller: Caller) {
    // What the request was let in by may itself have been looked up a while ago.
    let mut due = Instant::now();
    loop {
        tokio::time::sleep_until(due).await;
        due = match caller.still(&api).await {
            Ok(until) => until,
            // Nobody can be told to go either, as long as the database says nothing.
            Err(error) if error.code() == Code::Overloaded => Instant::now() + REST,
            Err(error) => {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "a stream of events ends with what opened it"
                );
                return;
            }
        };
    }
}
