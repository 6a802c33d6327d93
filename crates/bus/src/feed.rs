//! The events as they are published, on core NATS: for whoever follows some tenants and reads what is missed elsewhere.

use async_nats::Subscriber;
use domain::{RecordedEvent, TenantId};
use futures_util::StreamExt;

use crate::{ACK_TIMEOUT, Bus, Error, Result, consumer, subject};

/// The events of all tenants, for the API.
#[derive(Clone, Debug)]
pub struct EventFeed {
    bus: Bus,
}

impl EventFeed {
    pub(crate) fn new(bus: Bus) -> Self {
        Self { bus }
    }

    /// Listens, through reconnects, until dropped. Before the first connection it waits for it silently.
    ///
    /// What is published before the server knows of this subscription is not heard: look at PostgreSQL once after
    /// [`Bus::flush`].
    ///
    /// # Errors
    /// [`Error::TimedOut`] when more is queued for an absent server than fits, [`Error::Client`].
    pub async fn subscribe(&self) -> Result<Feed> {
        let subscribing = self.bus.client().subscribe(subject::ALL_EVENTS);
        let subscribed = tokio::time::timeout(ACK_TIMEOUT, subscribing).await;
        let messages = subscribed.map_err(|_elapsed| Error::TimedOut)?.map_err(Error::client)?;
        Ok(Feed { messages, expected: String::new() })
    }
}

/// Events as they arrive: any may be missing, doubled or out of order, also because this listener is slow.
#[derive(Debug)]
pub struct Feed {
    messages: Subscriber,
    /// Kept to compare subjects without an allocation each.
    expected: String,
}

impl Feed {
    /// The next event of a tenant that is `wanted`; `None` when the connection is closed for good.
    ///
    /// The events of others are not even decoded. What is not one of our events on its right subject is logged and
    /// skipped.
    pub async fn next_of(&mut self, wanted: impl Fn(TenantId) -> bool) -> Option<RecordedEvent> {
        loop {
            let message = self.messages.next().await?;
            if subject::tenant(&message.subject).is_some_and(&wanted)
                && let Some(event) = consumer::read(&message, &mut self.expected)
            {
                return Some(event);
            }
        }
    }
}
