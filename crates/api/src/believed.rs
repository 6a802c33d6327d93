//! What credentials were found to open: believed for a few seconds and then looked up again, in bounded memory.

use std::{
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use lru::LruCache;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

/// How long what was looked up is believed: what another node has revoked is refused after that.
pub const TRUST: Duration = Duration::from_secs(5);

/// How many credentials of a sort are remembered: about 2 MB.
const CAPACITY: NonZeroUsize = NonZeroUsize::MIN.saturating_add(9_999);

/// What was shown, as SHA-256: nothing that opens anything is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shown([u8; 32]);

impl Shown {
    /// What is shown as one kind never passes for another.
    pub(crate) fn new(kind: &str, shown: impl AsRef<[u8]>) -> Self {
        Self(Sha256::new().chain_update(kind).chain_update([0]).chain_update(shown).finalize().into())
    }
}

/// The least recently used credentials are forgotten first; expired ones too, as nobody uses them.
pub(crate) struct Believed<T>(Mutex<State<T>>);

struct State<T> {
    found: LruCache<Shown, (T, Instant)>,
    /// Counts the calls of [`Believed::forget`].
    generation: u64,
}

/// What is known about a credential.
pub(crate) enum Recall<T> {
    /// It was looked up not long ago: then.
    Trusted(T, Instant),
    /// It was looked up before; what it opened may be over.
    Stale(T, Ticket),
    Unknown(Ticket),
}

/// The right to remember one credential, unless something was forgotten since it was given out.
pub(crate) struct Ticket {
    shown: Shown,
    generation: u64,
    /// What is looked up now is at least as new as this.
    pub(crate) since: Instant,
}

impl<T> Default for Believed<T> {
    fn default() -> Self {
        Self(Mutex::new(State { found: LruCache::new(CAPACITY), generation: 0 }))
    }
}

impl<T: Copy> Believed<T> {
    /// What it opened before; times must still be compared with the clock.
    pub(crate) fn recall(&self, shown: Shown) -> Recall<T> {
        let mut state = self.lock();
        let ticket = Ticket { shown, generation: state.generation, since: Instant::now() };
        match state.found.get(&shown) {
            Some((found, looked_up)) if looked_up.elapsed() < TRUST => Recall::Trusted(*found, *looked_up),
            Some((found, _)) => Recall::Stale(*found, ticket),
            None => Recall::Unknown(ticket),
        }
    }

    /// Remembers what was found between [`Believed::recall`] and now. When anything was revoked in between, it may have
    /// been this one, and it is looked up again next time.
    pub(crate) fn remember(&self, ticket: Ticket, found: T) {
        let mut state = self.lock();
        if state.generation == ticket.generation {
            state.found.put(ticket.shown, (found, ticket.since));
        }
    }

    /// Forgets those to which this applies, for what was revoked here: their next use looks them up.
    pub(crate) fn forget(&self, applies: impl Fn(&T) -> bool) {
        let mut state = self.lock();
        state.generation += 1;
        state.found.retain(|_, (found, _)| !applies(found));
    }
}

impl<T> Believed<T> {
    /// Every change is complete in itself, so what a panicking thread has left is sound.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> std::fmt::Debug for Believed<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Believed").field("credentials", &self.lock().found.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(believed: &Believed<u8>, text: &str, found: u8) {
        let (Recall::Trusted(_, _) | Recall::Stale(_, _)) = believed.recall(Shown::new("key", text)) else {
            let Recall::Unknown(ticket) = believed.recall(Shown::new("key", text)) else { unreachable!() };
            return believed.remember(ticket, found);
        };
        panic!("{text} is known");
    }

    fn trusted(believed: &Believed<u8>, text: &str) -> Option<u8> {
        match believed.recall(Shown::new("key", text)) {
            Recall::Trusted(found, _) => Some(found),
            Recall::Stale(..) | Recall::Unknown(_) => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_found_is_believed_for_five_seconds_and_only_for_what_was_shown() {
        let believed = Believed::default();
        put(&believed, "one", 1);
        tokio::time::advance(TRUST - Duration::from_millis(1)).await;
        assert_eq!((trusted(&believed, "one"), trusted(&believed, "onE")), (Some(1), None));
        assert!(matches!(believed.recall(Shown::new("cookie", "one")), Recall::Unknown(_)));
        tokio::time::advance(Duration::from_millis(1)).await;
        let Recall::Stale(1, ticket) = believed.recall(Shown::new("key", "one")) else {
            panic!("it is looked up again")
        };
        // It is as new as the moment before it was looked up.
        tokio::time::advance(Duration::from_secs(3)).await;
        believed.remember(ticket, 2);
        assert_eq!(trusted(&believed, "one"), Some(2));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(trusted(&believed, "one"), None);
    }

    #[test]
    fn what_was_revoked_is_forgotten_also_while_it_is_looked_up() {
        let believed = Believed::default();
        put(&believed, "one", 1);
        put(&believed, "two", 2);
        let Recall::Unknown(late) = believed.recall(Shown::new("key", "three")) else { panic!("it is unknown") };
        believed.forget(|found| *found == 1);
        believed.remember(late, 3);
        assert_eq!(["one", "two", "three"].map(|text| trusted(&believed, text)), [None, Some(2), None]);
    }

    #[test]
    fn memory_is_bounded() {
        let believed = Believed::default();
        for n in 0..=CAPACITY.get() {
            put(&believed, &n.to_string(), 1);
        }
        assert_eq!(believed.lock().found.len(), CAPACITY.get());
        assert_eq!((trusted(&believed, "0"), trusted(&believed, "1")), (None, Some(1)));
    }
}
