//! Two tasks of a process that keep [`Tails`] up to date: one hears events on NATS, one asks PostgreSQL where logs end.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bus::{Bus, Feed};
use domain::RecordedEvent;
use store::ApiDatabase;
use tokio::sync::{Notify, watch};

use super::tails::{Heard, Tails};
use crate::event_page::Encoded;

/// How often PostgreSQL is asked where all followed logs end: messages can get lost.
const POLL: Duration = Duration::from_secs(1);
/// The same while there is no NATS to hear of events.
const POLL_WITHOUT_NATS: Duration = Duration::from_millis(200);
/// PostgreSQL is not asked more often than this, whatever is heard.
const BETWEEN_POLLS: Duration = Duration::from_millis(20);

/// Starts both; they end with `tails`.
pub(super) fn start(database: ApiDatabase, bus: Bus, tails: &Arc<Tails>) {
    let doubt = Arc::new(Notify::new());
    let listener =
        Listener { bus: bus.clone(), tails: Arc::downgrade(tails), places: tails.watch_places(), doubt: doubt.clone() };
    store::spawn("stream_listener", listener.run());
    store::spawn("stream_heads", ask_for_heads(database, bus, Arc::downgrade(tails), tails.watch_places(), doubt));
}

struct Listener {
    bus: Bus,
    tails: Weak<Tails>,
    places: watch::Receiver<usize>,
    /// Rung when an event was heard and the one before it was not.
    doubt: Arc<Notify>,
}

impl Listener {
    /// Subscribes while somebody follows.
    async fn run(self) {
        let mut places = self.places.clone();
        while places.wait_for(|places| *places > 0).await.is_ok() {
            match self.bus.feed().subscribe().await {
                Ok(feed) => self.listen(feed).await,
                Err(error) => {
                    tracing::debug!(%error, "not subscribed to events; going on from PostgreSQL");
                    tokio::time::sleep(POLL).await;
                }
            }
        }
    }

    /// Until nobody follows any more.
    async fn listen(&self, mut feed: Feed) {
        let mut places = self.places.clone();
        // What was published before the server knew of the subscription does not come any more.
        let _ = self.bus.flush().await;
        self.doubt.notify_one();
        let wanted = |tenant| self.tails.upgrade().is_some_and(|tails| tails.wants(tenant));
        loop {
            tokio::select! {
                event = feed.next_of(wanted) => match event {
                    Some(event) => self.hear(event),
                    None => return,
                },
                nobody = places.wait_for(|places| *places == 0) => {
                    drop(nobody);
                    return;
                }
            }
        }
    }

    fn hear(&self, event: RecordedEvent) {
        let Some(tails) = self.tails.upgrade() else { return };
        let tenant = event.tenant;
        match Encoded::new(event).map(|event| tails.hear(tenant, event)) {
            Ok(Heard::Fine) => {}
            Ok(Heard::Missing) => self.doubt.notify_one(),
            Err(error) => tracing::warn!(%tenant, %error, "an event that was heard can't be written and is skipped"),
        }
    }
}

async fn ask_for_heads(
    database: ApiDatabase,
    bus: Bus,
    tails: Weak<Tails>,
    mut places: watch::Receiver<usize>,
    doubt: Arc<Notify>,
) {
    while places.wait_for(|places| *places > 0).await.is_ok() {
        let pause = if bus.is_connected() { POLL } else { POLL_WITHOUT_NATS };
        // Either way it is time.
        let _ = tokio::time::timeout(pause, doubt.notified()).await;
        let Some(followed) = tails.upgrade() else { return };
        let known = followed.ends();
        drop(followed);
        let tenants: Vec<_> = known.iter().map(|(tenant, _)| *tenant).collect();
        match database.heads(&tenants).await {
            Ok(heads) => {
                let Some(tails) = tails.upgrade() else { return };
                let heads: std::collections::HashMap<_, _> = heads.into_iter().collect();
                for (tenant, known) in known {
                    tails.settle(tenant, known, heads.get(&tenant).copied().unwrap_or(0));
                }
            }
            Err(error) => tracing::debug!(%error, "the ends of the followed logs were not read"),
        }
        tokio::time::sleep(BETWEEN_POLLS).await;
    }
}
