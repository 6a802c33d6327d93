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

/// Events that are in a log and not in the stream.
pub(crate) async fn missing(machines: &Machines) -> anyhow::Result<Vec<Violation>> {
    let password = machines.secrets.nats().of(User::Projector).to_owned();
    let client = async_nats::ConnectOptions::with_user_and_password("projector".to_owned(), password)
        .custom_inbox_prefix("_INBOX_projector")
        .connect(machines.nats.url())
        .await?;
    let config =
        pull::Config { deliver_policy: DeliverPolicy::All, ack_policy: AckPolicy::None, ..pull::Config::default() };
    let consumer: PullConsumer = jetstream::new(client).create_consumer_on_stream(config, "EVENTS").await?;
    let pending = usize::try_from(consumer.cached_info().num_pending)?;
    let mut messages = consumer.messages().await?.take(pending);
    let mut held: HashMap<Uuid, HashSet<i64>> = HashMap::new();
    while let Some(message) = tokio::time::timeout(SILENCE, messages.next()).await.context("the stream is silent")? {
        let message = message?;
        // <generation>:<tenant>:<seq>
        let id = message.headers.as_ref().and_then(|headers| headers.get("Nats-Msg-Id")).map(|id| id.as_str());
        let mut parts = id.context("a message without an id")?.split(':').skip(1);
        let (tenant, seq) = (parts.next().context("no tenant")?.parse()?, parts.next().context("no seq")?.parse()?);
        held.entry(tenant).or_default().insert(seq);
    }
    let logs: Vec<(Uuid, i64)> =
        sqlx::query_as("select tenant_id, seq from tenant_heads").fetch_all(&machines.admin).await?;
    Ok(lacking(&logs, &held))
}

fn lacking(logs: &[(Uuid, i64)], held: &HashMap<Uuid, HashSet<i64>>) -> Vec<Violation> {
    let lack = |(tenant, head): &(Uuid, i64)| {
        let held = held.get(tenant);
        let seq = (1..=*head).find(|seq| !held.is_some_and(|held| held.contains(seq)))?;
        Some(Violation {
            check: "published",
            what: format!("tenant {tenant} seq {seq} of {head} is not in the stream"),
        })
    };
    logs.iter().filter_map(lack).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_is_not_in_the_stream_is_named() {
        let tenant = Uuid::nil();
        let mut held = HashMap::from([(tenant, HashSet::from([1, 2, 3]))]);
        assert!(lacking(&[(tenant, 3)], &held).is_empty());
        held.entry(tenant).or_default().remove(&2);
        assert!(lacking(&[(tenant, 3)], &held)[0].what.contains("seq 2 of 3"));
        assert_eq!(lacking(&[(Uuid::max(), 1)], &held).len(), 1);
    }
}
