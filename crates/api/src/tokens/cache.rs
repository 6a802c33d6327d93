//! Verified tokens, so that a signature is checked once per token; bounded, and never the reason to believe a new one.

use std::{
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
};

use lru::LruCache;
use sha2::{Digest, Sha256};

use super::AccessToken;

/// How many tokens are remembered: about 2 MB.
const CAPACITY: NonZeroUsize = NonZeroUsize::MIN.saturating_add(9_999);

/// The least recently used tokens are forgotten first; expired ones too, as nobody uses them.
pub(super) struct Cache(Mutex<State>);

struct State {
    tokens: LruCache<[u8; 32], AccessToken>,
    /// Counts the calls of [`Cache::forget`].
    generation: u64,
}

/// What is known about a token.
pub(super) enum Recall {
    Known(AccessToken),
    Unknown(Ticket),
}

/// The right to remember one token, unless something was forgotten since it was given out.
pub(super) struct Ticket {
    digest: [u8; 32],
    generation: u64,
}

impl Default for Cache {
    fn default() -> Self {
        Self(Mutex::new(State { tokens: LruCache::new(CAPACITY), generation: 0 }))
    }
}

impl Cache {
    /// Whether it was believed before; its times must still be compared with the clock.
    pub(super) fn recall(&self, token: &str) -> Recall {
        let digest = Sha256::digest(token).into();
        let mut state = self.lock();
        match state.tokens.get(&digest) {
            Some(known) => Recall::Known(*known),
            None => Recall::Unknown(Ticket { digest, generation: state.generation }),
        }
    }

    /// Remembers what was verified between [`Cache::recall`] and now. When anything was revoked in between, it may have
    /// been this one, and it is verified again next time.
    pub(super) fn remember(&self, ticket: Ticket, token: AccessToken) {
        let mut state = self.lock();
        if state.generation == ticket.generation {
            state.tokens.put(ticket.digest, token);
        }
    }

    pub(super) fn forget(&self, applies: impl Fn(&AccessToken) -> bool) {
        let mut state = self.lock();
        state.generation += 1;
        state.tokens.retain(|_, token| !applies(token));
    }

    /// Every change is complete in itself, so what a panicking thread has left is sound.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("tokens", &self.lock().tokens.len()).finish_non_exhaustive()
    }
}
