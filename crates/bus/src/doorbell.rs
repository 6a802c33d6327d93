//! Hints that a tenant's log or its read tables have moved on: fire and forget, losing one costs latency only.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_nats::Subscriber;
use bytes::{BufMut, Bytes, BytesMut};
use domain::{Shard, TenantId};
use futures_util::{FutureExt, Stream, StreamExt};
use uuid::Uuid;

use crate::subject::PerShard;
use crate::{ACK_TIMEOUT, Bus, Error, Result};

/// One entry on the wire: the tenant's 16 bytes, then its seq, 8 bytes big-endian. A message is one entry after another.
const ENTRY: usize = 24;
/// Entries of one message; more go into a second one.
const MAX_ENTRIES: usize = 1024;

/// Subjects `<name>.<shard>` that carry `(tenant, seq)`, see [`Bus::doorbell`] and [`Bus::projected`].
#[derive(Clone, Debug)]
pub struct Doorbell {
    bus: Bus,
    subjects: Arc<PerShard>,
}

impl Doorbell {
    pub(crate) fn new(bus: Bus, subjects: Arc<PerShard>) -> Self {
        Self { bus, subjects }
    }

    /// Tells all listeners, one message per shard; of several entries of one tenant only the highest `seq` is sent.
    ///
    /// Never waits and never fails: without a connection, or with a full queue to the server, the hint is dropped.
    pub fn ring(&self, entries: &[(TenantId, u64)]) {
        if entries.is_empty() || !self.bus.is_connected() {
            return;
        }
        if let [(tenant, seq)] = *entries {
            return self.send(tenant.shard(), &[(tenant, seq)]);
        }
        let mut sorted: Vec<_> = entries.iter().map(|&(tenant, seq)| (tenant.shard(), tenant, seq)).collect();
        sorted.sort_unstable();
        let mut highest = Vec::with_capacity(sorted.len().min(MAX_ENTRIES));
        for (index, &(shard, tenant, seq)) in sorted.iter().enumerate() {
            let next = sorted.get(index + 1);
            if next.is_none_or(|next| next.1 != tenant) {
                highest.push((tenant, seq));
            }
            if highest.len() == MAX_ENTRIES || next.is_none_or(|next| next.0 != shard) {
                self.send(shard, &highest);
                highest.clear();
            }
        }
    }

    /// Listens to all shards, through reconnects, until dropped. Before the first connection it waits for it silently.
    ///
    /// What is rung before the server knows of this subscription is not heard: sweep once after [`Bus::flush`].
    ///
    /// # Errors
    /// [`Error::TimedOut`] when more is queued for an absent server than fits, [`Error::Client`].
    pub async fn subscribe(&self) -> Result<Rings> {
        let subscribing = self.bus.client().subscribe(self.subjects.all());
        let subscribed = tokio::time::timeout(ACK_TIMEOUT, subscribing).await;
        Ok(Rings { messages: subscribed.map_err(|_elapsed| Error::TimedOut)?.map_err(Error::client)? })
    }

    fn send(&self, shard: Shard, entries: &[(TenantId, u64)]) {
        let Some(subject) = self.subjects.of(shard) else { return };
        let publishing = self.bus.client().publish(subject.clone(), encode(entries));
        // One poll: either there is room in the queue or the hint is lost. Tokio's budget must not lose it.
        if !matches!(tokio::task::unconstrained(publishing).now_or_never(), Some(Ok(()))) {
            tracing::debug!(%subject, "a hint was dropped");
        }
    }
}

/// What was rung, one message after another; ends when the connection is closed for good.
///
/// A listener that falls thousands of messages behind misses some.
#[derive(Debug)]
pub struct Rings {
    messages: Subscriber,
}

impl Stream for Rings {
    type Item = Vec<(TenantId, u64)>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while let Some(message) = std::task::ready!(self.messages.poll_next_unpin(cx)) {
            if let Some(entries) = decode(&message.payload) {
                return Poll::Ready(Some(entries));
            }
            tracing::debug!(subject = %message.subject, bytes = message.payload.len(), "a malformed hint was ignored");
        }
        Poll::Ready(None)
    }
}

fn encode(entries: &[(TenantId, u64)]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(entries.len() * ENTRY);
    for (tenant, seq) in entries {
        bytes.put_slice(tenant.0.as_bytes());
        bytes.put_u64(*seq);
    }
    bytes.freeze()
}

/// `None` when empty, not made of whole entries, longer than we send, or with a seq of zero.
fn decode(bytes: &[u8]) -> Option<Vec<(TenantId, u64)>> {
    let (entries, rest) = bytes.as_chunks::<ENTRY>();
    if !rest.is_empty() || entries.is_empty() || entries.len() > MAX_ENTRIES {
        return None;
    }
    entries.iter().map(decode_entry).collect()
}

fn decode_entry(entry: &[u8; ENTRY]) -> Option<(TenantId, u64)> {
    let (tenant, seq) = entry.split_first_chunk::<16>()?;
    let seq = u64::from_be_bytes(seq.try_into().ok()?);
    (seq > 0).then_some((TenantId(Uuid::from_bytes(*tenant)), seq))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(number: u128) -> TenantId {
        TenantId(Uuid::from_u128(number))
    }

    #[test]
    fn what_is_rung_is_heard() {
        let entries = vec![(tenant(1), 1), (tenant(u128::MAX), u64::MAX), (tenant(3), 256)];
        assert_eq!(decode(&encode(&entries)).unwrap(), entries);
    }

    #[test]
    fn a_message_is_as_documented() {
        let mut expected = [0; ENTRY];
        expected[15] = 0xab;
        expected[22..].copy_from_slice(&[1, 2]);
        assert_eq!(encode(&[(tenant(0xab), 0x0102)])[..], expected);
    }

    #[test]
    fn malformed_messages_are_not_heard() {
        let good = encode(&[(tenant(1), 1), (tenant(2), 2)]);
        for length in (0..good.len()).filter(|length| *length != ENTRY) {
            assert_eq!(decode(&good[..length]), None, "{length} bytes");
        }
        assert_eq!(decode(&encode(&[(tenant(1), 1), (tenant(2), 0)])), None);
        assert_eq!(decode(br#"[["00000000-0000-0000-0000-000000000001",1]]"#), None);
        assert_eq!(decode(&vec![1; ENTRY * (MAX_ENTRIES + 1)]), None);
    }
}
