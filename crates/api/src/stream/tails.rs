//! The last events of the logs that somebody follows, and who follows them; bounded, and never the only place where an
//! event is. Knows neither NATS nor PostgreSQL.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::TenantId;
use tokio::sync::watch;

use super::{MAX_STREAMS, MAX_STREAMS_OF_TENANT};
use crate::event_page::Encoded;

/// Bytes of events that are kept per tenant, for those who are only a moment behind.
const KEPT: usize = 64 * 1024;

/// See the module.
#[derive(Default)]
pub(crate) struct Tails {
    tails: Mutex<HashMap<TenantId, Tail>>,
    /// How many places are taken.
    places: watch::Sender<usize>,
    /// Bytes of events that wait until clients take them.
    waiting: AtomicUsize,
}

/// The end of one log.
struct Tail {
    /// The chain guard: up to here the log is known to go.
    end: watch::Sender<u64>,
    /// The last events up to `end`, without a gap; those before are in PostgreSQL only.
    kept: VecDeque<Arc<Encoded>>,
    bytes: usize,
    places: usize,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    Tenant,
    Process,
}

/// What to do about an event that was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Nothing.
    Fine,
    /// Events before it are missing, if it is true: ask PostgreSQL where the log ends.
    Missing,
}

/// How a follower goes on.
#[derive(Debug)]
pub(crate) enum Next {
    /// With these, which follow on its number without a gap.
    Events(Vec<Arc<Encoded>>),
    /// By reading the log.
    InLog,
    /// It has everything.
    Nothing,
    /// It has been told of events that the log does not have.
    Astray,
}

impl Tails {
    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, Tail>> {
        // The map is whole at any moment, whatever panicked while holding it.
        self.tails.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for somebody who follows this tenant.
    pub(crate) fn place(self: &Arc<Self>, tenant: TenantId) -> Result<Place, Full> {
        let mut tails = self.lock();
        if *self.places.borrow() >= MAX_STREAMS {
            return Err(Full::Process);
        }
        let unknown = || Tail { end: watch::Sender::new(0), kept: VecDeque::new(), bytes: 0, places: 0 };
        let tail = tails.entry(tenant).or_insert_with(unknown);
        if tail.places >= MAX_STREAMS_OF_TENANT {
            return Err(Full::Tenant);
        }
        tail.places += 1;
        self.places.send_modify(|places| *places += 1);
        Ok(Place { end: tail.end.subscribe(), tails: self.clone(), tenant, waiting: 0 })
    }

    /// How many places are taken.
    pub(crate) fn places(&self) -> usize {
        *self.places.borrow()
    }

    /// The same, to wait for; closed when this is gone.
    pub(crate) fn watch_places(&self) -> watch::Receiver<usize> {
        self.places.subscribe()
    }

    /// Bytes of events that wait until clients take them.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether anybody follows this tenant.
    pub(crate) fn wants(&self, tenant: TenantId) -> bool {
        self.lock().contains_key(&tenant)
    }

    /// Who is followed, and where their logs are known to end.
    pub(crate) fn ends(&self) -> Vec<(TenantId, u64)> {
        self.lock().iter().map(|(tenant, tail)| (*tenant, *tail.end.borrow())).collect()
    }

    /// An event has arrived: dropped when it is known, kept when it is the next, else events are missing.
    pub(crate) fn hear(&self, tenant: TenantId, event: Encoded) -> Heard {
        let mut tails = self.lock();
        let Some(tail) = tails.get_mut(&tenant) else { return Heard::Fine };
        let end = *tail.end.borrow();
        if event.seq <= end {
            return Heard::Fine;
        }
        if event.seq > end + 1 {
            return Heard::Missing;
        }
        tail.keep(event);
        Heard::Fine
    }

    /// PostgreSQL says that a log ends at `head`; before it was asked, it was known to go to `known`.
    pub(crate) fn settle(&self, tenant: TenantId, known: u64, head: u64) {
        let mut tails = self.lock();
        let Some(tail) = tails.get_mut(&tenant) else { return };
        if head < known {
            tracing::error!(%tenant, head, known, "events were heard that the log does not have; its streams end");
        }
        if head < known || head > *tail.end.borrow() {
            // What lies between is read from the log.
            tail.kept.clear();
            tail.bytes = 0;
            tail.end.send_replace(head);
        }
    }

    fn next(&self, tenant: TenantId, after: u64) -> Next {
        let tails = self.lock();
        let Some(tail) = tails.get(&tenant) else { return Next::Astray };
        let end = *tail.end.borrow();
        if after >= end {
            return if after == end { Next::Nothing } else { Next::Astray };
        }
        match tail.kept.front() {
            Some(first) if first.seq <= after + 1 => {
                Next::Events(tail.kept.iter().filter(|event| event.seq > after).cloned().collect())
            }
            _ => Next::InLog,
        }
    }

    fn leave(&self, tenant: TenantId) {
        let mut tails = self.lock();
        if let Some(tail) = tails.get_mut(&tenant) {
            tail.places -= 1;
            if tail.places == 0 {
                tails.remove(&tenant);
            }
        }
        self.places.send_modify(|places| *places -= 1);
    }
}

impl Tail {
    /// Takes the next event; the oldest give way.
    fn keep(&mut self, event: Encoded) {
        let seq = event.seq;
        self.bytes += event.json.len();
        self.kept.push_back(Arc::new(event));
        while self.bytes > KEPT {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.bytes -= oldest.json.len();
        }
        self.end.send_replace(seq);
    }
}

/// Somebody's place at the tail of one log; free again when dropped.
pub(crate) struct Place {
    tails: Arc<Tails>,
    tenant: TenantId,
    end: watch::Receiver<u64>,
    /// Its part of [`Tails::waiting`].
    waiting: usize,
}

impl Place {
    /// How whoever has seen everything up to `after` goes on.
    pub(crate) fn next(&self, after: u64) -> Next {
        self.tails.next(self.tenant, after)
    }

    /// Waits until the log is known to end elsewhere.
    pub(crate) async fn moved(&mut self, from: u64) {
        // It is not closed while there is a place.
        let _ = self.end.wait_for(|end| *end != from).await;
    }

    /// Where the log is known to end.
    pub(crate) fn known(&self) -> u64 {
        *self.end.borrow()
    }

    /// See [`Tails::settle`].
    pub(crate) fn settle(&self, known: u64, head: u64) {
        self.tails.settle(self.tenant, known, head);
    }

    /// Says how many bytes wait for the client now.
    pub(crate) fn holds(&mut self, bytes: usize) {
        self.tails.waiting.fetch_add(bytes, Ordering::Relaxed);
        self.tails.waiting.fetch_sub(self.waiting, Ordering::Relaxed);
        self.waiting = bytes;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.holds(0);
        self.tails.leave(self.tenant);
    }
}

#[cfg(test)]
mod tests;
