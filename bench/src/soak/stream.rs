//! What NATS holds: the stream has every event of every log, whatever NATS has lost meanwhile.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use bus::User;
use futures_util::StreamExt as _;
use uuid::Uuid;

use super::machines::Machines;
use super::report::Violation;

/// Without a message for so long, no more is to come.
const SILENCE: Duration = Duration::from_secs(20);

/// The head of each tenant's log, and which of the events up to it the stream has shown.
struct Logs {
    heads: HashMap<Uuid, i64>,
    held: HashMap<Uuid, HashSet<i64>>,
    /// How many events are still to be seen.
    missing: i64,
}

impl Logs {
    fn new(heads: HashMap<Uuid, i64>) -> Self {
        let missing = heads.values().sum();
        Self { heads, held: HashMap::new(), missing }
    }

    fn see(&mut self, tenant: Uuid, seq: i64) {
        let is_of_log = self.heads.get(&tenant).is_some_and(|head| seq <= *head);
        if is_of_log && self.held.entry(tenant).or_default().insert(seq) {
            self.missing -= 1;
        }
    }

    /// The first event of each log that the stream has not shown.
    fn lacking(&self) -> Vec<Violation> {
        let lack = |(tenant, head): (&Uuid, &i64)| {
            let held = self.held.get(tenant);
            let seq = (1..=*head).find(|seq| !held.is_some_and(|held| held.contains(seq)))?;
            Some(Violation {
                check: "published",
                what: format!("tenant {tenant} seq {seq} of {head} does not come from the stream"),
            })
        };
        self.heads.iter().filter_map(lack).collect()
    }
}

/// Events that are in a log and do not come from the stream. Reads until all have come or nothing comes any more, and judges
/// by the logs alone: a number of messages that was told beforehand says nothing of which are missing.
pub(crate) async fn missing(machines: &Machines) -> anyhow::Result<Vec<Violation>> {
    let heads: Vec<(Uuid, i64)> =
        sqlx::query_as("select tenant_id, seq from tenant_heads").fetch_all(&machines.admin).await?;
    let mut logs = Logs::new(heads.into_iter().collect());
    let password = machines.secrets.nats().of(User::Projector).to_owned();
    let client = async_nats::ConnectOptions::with_user_and_password("projector".to_owned(), password)
        .custom_inbox_prefix("_INBOX_projector")
        .connect(machines.nats.url())
        .await?;
    let config =
        pull::Config { deliver_policy: DeliverPolicy::All, ack_policy: AckPolicy::None, ..pull::Config::default() };
    let consumer: PullConsumer = jetstream::new(client).create_consumer_on_stream(config, "EVENTS").await?;
    let mut messages = consumer.messages().await?;
    while logs.missing > 0 {
        let Ok(Some(message)) = tokio::time::timeout(SILENCE, messages.next()).await else { break };
        let message = message?;
        // <generation>:<tenant>:<seq>
        let id = message.headers.as_ref().and_then(|headers| headers.get("Nats-Msg-Id")).map(|id| id.as_str());
        let mut parts = id.context("a message without an id")?.split(':').skip(1);
        logs.see(parts.next().context("no tenant")?.parse()?, parts.next().context("no seq")?.parse()?);
    }
    Ok(logs.lacking())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_is_not_in_the_stream_is_named() {
        let tenant = Uuid::nil();
        let mut logs = Logs::new(HashMap::from([(tenant, 3), (Uuid::max(), 1)]));
        for (tenant, seq) in [(tenant, 1), (tenant, 3), (tenant, 3), (tenant, 4), (Uuid::max(), 1)] {
            logs.see(tenant, seq);
        }
        assert_eq!(logs.missing, 1);
        assert!(logs.lacking()[0].what.contains("seq 2 of 3"));
        logs.see(tenant, 2);
        assert_eq!((logs.missing, logs.lacking().len()), (0, 0));
    }
}
