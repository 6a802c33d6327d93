//! Tasks with a name, whose panics are logged: the one place that spawns.

use std::future::Future;

use tokio::task::JoinHandle;
use tracing::Instrument as _;

/// Runs `task` beside the caller. What writes to the database runs like this, because a handler is dropped when its
/// client goes away.
pub fn spawn<T: Send + 'static>(name: &'static str, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    #[expect(clippy::disallowed_methods, reason = "this is the place that may")]
    // In the caller's span too, where there is one: what it does for a request is logged as the request's.
    tokio::spawn(task.instrument(tracing::debug_span!("task", name)).in_current_span())
}
