//! Where clients wait while the world is looked at; it knows how many are under way.

use tokio::sync::watch;

#[derive(Clone, Copy, Debug, Default)]
struct State {
    closed: bool,
    ended: bool,
    busy: usize,
}

/// Shared by all clients and by whoever closes it.
#[derive(Debug, Default)]
pub(crate) struct Gate(watch::Sender<State>);

impl Gate {
    /// Waits until it is open; `false` when it never will be again. Then the caller is busy until it says [`Gate::leave`].
    pub(crate) async fn enter(&self) -> bool {
        let mut state = self.0.subscribe();
        loop {
            let Ok(now) = state.wait_for(|state| state.ended || !state.closed).await.map(|state| *state) else {
                return false;
            };
            if now.ended {
                return false;
            }
            let mut entered = false;
            self.0.send_modify(|state| {
                entered = !state.closed && !state.ended;
                state.busy += usize::from(entered);
            });
            if entered {
                return true;
            }
        }
    }

    pub(crate) fn leave(&self) {
        self.0.send_modify(|state| state.busy = state.busy.saturating_sub(1));
    }

    /// Keeps clients out and waits until none is under way.
    pub(crate) async fn close(&self) {
        self.0.send_modify(|state| state.closed = true);
        let _ = self.0.subscribe().wait_for(|state| state.busy == 0).await;
    }

    pub(crate) fn open(&self) {
        self.0.send_modify(|state| state.closed = false);
    }

    pub(crate) fn end(&self) {
        self.0.send_modify(|state| state.ended = true);
    }
}
