//! A consumer of billing: it hears cost events over NATS, keeps each once, and fills gaps from the log over HTTP.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::Value;
use uuid::Uuid;

use super::clients::Shared;
use super::front::{Answer, lock};

/// What a consumer keeps of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) seq: u64,
    pub(crate) kind: String,
    pub(crate) amount: Option<String>,
    pub(crate) currency: Option<String>,
}

/// A ledger: tenant and subject.
pub(crate) type Ledger = (Uuid, String);

#[derive(Clone, Debug, Default)]
pub(crate) struct Books {
    /// By version.
    pub(crate) ledgers: HashMap<Ledger, BTreeMap<u64, Entry>>,
    /// Events that NATS has brought, again, and that it has not brought.
    pub(crate) heard: u64,
    pub(crate) again: u64,
    pub(crate) filled: u64,
    /// The number of each tenant's log up to which it was compared.
    compared: HashMap<Uuid, u64>,
    /// Two different events in one place.
    pub(crate) contradictions: Vec<String>,
}

impl Books {
    /// Keeps an event of a ledger; the second time is nothing new.
    pub(crate) fn keep(&mut self, event: &Value) -> Option<bool> {
        let subject = event["subject"].as_str()?.to_owned();
        let tenant: Uuid = event["tenantid"].as_str()?.parse().ok()?;
        let (version, seq) = (event["streamversion"].as_u64()?, event["sequence"].as_str()?.parse().ok()?);
        let charge = &event["data"]["charge"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let entry = Entry {
            id: text(&event["id"])?,
            seq,
            kind: text(&event["type"])?,
            amount: text(&charge["amount"]),
            currency: text(&charge["currency"]),
        };
        let ledger = self.ledgers.entry((tenant, subject.clone())).or_default();
        let known = ledger.entry(version).or_insert_with(|| entry.clone());
        let same = *known == entry;
        if !same {
            self.contradictions.push(format!("tenant {tenant} {subject} {version}: {known:?} and {entry:?}"));
        }
        Some(same)
    }

    fn has(&self, event: &Value) -> bool {
        let known = || {
            let key = (event["tenantid"].as_str()?.parse().ok()?, event["subject"].as_str()?.to_owned());
            self.ledgers.get(&key)?.get(&event["streamversion"].as_u64()?)
        };
        known().is_some()
    }
}

/// Listens for ever, through reconnects. What comes over NATS is news, never a reason to believe that there is no more.
pub(crate) async fn listen(url: String, password: String, books: Arc<Mutex<Books>>) -> anyhow::Result<()> {
    let client = async_nats::ConnectOptions::with_user_and_password("viewer".to_owned(), password)
        .retry_on_initial_connect()
        .max_reconnects(None)
        .reconnect_delay_callback(|_| Duration::from_millis(200))
        .connect(url)
        .await?;
    let mut events = client.subscribe("events.*.*.ledger.>").await?;
    while let Some(message) = events.next().await {
        if let Ok(event) = serde_json::from_slice::<Value>(&message.payload) {
            let mut books = lock(&books);
            match books.has(&event) {
                true => books.again += 1,
                false => books.heard += 1,
            }
            books.keep(&event);
        }
    }
    Ok(())
}

/// Reads from the log what NATS has not brought, up to the head of each tenant. All that is new is read: a ledger of which
/// nothing was heard would be missed by whoever looks for gaps alone.
pub(crate) async fn fill(shared: &Arc<Shared>, books: &Mutex<Books>) -> anyhow::Result<()> {
    for (number, tenant) in shared.front.tenants.iter().enumerate() {
        let mut after = lock(books).compared.get(tenant).copied().unwrap_or(0);
        loop {
            let path = format!("/v1/events?category=ledger&limit=200&after={after}");
            let Answer::Http { status: 200, body, .. } = shared.front.get(number, number, &path).await else {
                anyhow::bail!("the log of tenant {tenant} is not served");
            };
            let mut books = lock(books);
            for event in body["data"].as_array().into_iter().flatten() {
                if !books.has(event) {
                    books.filled += 1;
                }
                books.keep(event);
            }
            after = body["next_after"].as_u64().unwrap_or(0);
            books.compared.insert(*tenant, after);
            if after >= body["head"].as_u64().unwrap_or(0) {
                break;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(version: u64, seq: u64, amount: &str) -> Value {
        json!({
            "id": version.to_string(), "tenantid": Uuid::nil(), "subject": "ledger/2026-11", "streamversion": version,
            "sequence": format!("{seq:020}"), "type": "convolog.ledger.cost_recorded.v1",
            "data": {"charge": {"amount": amount, "currency": "USD"}},
        })
    }

    #[test]
    fn an_event_counts_once_and_a_contradiction_is_seen() {
        let mut books = Books::default();
        assert_eq!(books.keep(&event(1, 3, "1")), Some(true));
        assert_eq!(books.keep(&event(1, 3, "1")), Some(true));
        assert_eq!(books.ledgers.values().map(BTreeMap::len).sum::<usize>(), 1);
        assert_eq!(books.keep(&event(1, 3, "1.000000000001")), Some(false));
        assert_eq!(books.contradictions.len(), 1);
    }
}
