//! Verified tokens, so that a signature is checked once per token; bounded, and never the reason to believe a new one.

use std::{
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
};

use lru::LruCache;
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use uuid::Uuid;

use super::{AccessToken, TRUST};

/// How many tokens are remembered: about 2 MB.
const CAPACITY: NonZeroUsize = NonZeroUsize::MIN.saturating_add(9_999);

/// The least recently used tokens are forgotten first; expired ones too, as nobody uses them.
pub(super) struct Cache(Mutex<State>);

struct State {
    tokens: LruCache<[u8; 32], Entry>,
    /// Counts the calls of [`Cache::forget`].
    generation: u64,
}

/// A verified token, and when its sign-in was looked up.
struct Entry {
    token: AccessToken,
    looked_up: Instant,
}

/// By what somebody is known; none passes for one of another kind.
#[derive(Clone, Copy)]
pub(super) enum Shown<'a> {
    /// An access token.
    Bearer(&'a str),
    /// A browser's cookie.
    Cookie(&'a str),
    /// A sign-in, by who was let in before.
    SignIn(Uuid),
}

impl Shown<'_> {
    fn digest(self) -> [u8; 32] {
        match self {
            Self::Bearer(token) => Sha256::new().chain_update("bearer ").chain_update(token).finalize().into(),
            Self::Cookie(token) => Sha256::new().chain_update("cookie ").chain_update(token).finalize().into(),
            Self::SignIn(id) => Sha256::new().chain_update("sign-in ").chain_update(id).finalize().into(),
        }
    }
}

/// What is known about a token.
pub(super) enum Recall {
    /// It was verified and its sign-in looked up not long ago: then.
    Trusted(AccessToken, Instant),
    /// It was verified; its sign-in may be over.
    Verified(AccessToken, Ticket),
    Unknown(Ticket),
}

/// The right to remember one token, unless something was forgotten since it was given out.
pub(super) struct Ticket {
    digest: [u8; 32],
    generation: u64,
    /// What is looked up now is at least as new as this.
    pub(super) since: Instant,
}

impl Default for Cache {
    fn default() -> Self {
        Self(Mutex::new(State { tokens: LruCache::new(CAPACITY), generation: 0 }))
    }
}

impl Cache {
    /// Whether it was believed before; its times must still be compared with the clock.
    pub(super) fn recall(&self, shown: Shown<'_>) -> Recall {
        let digest = shown.digest();
        let mut state = self.lock();
        let ticket = Ticket { digest, generation: state.generation, since: Instant::now() };
        match state.tokens.get(&digest) {
            Some(known) if known.looked_up.elapsed() < TRUST => Recall::Trusted(known.token, known.looked_up),
            Some(known) => Recall::Verified(known.token, ticket),
            None => Recall::Unknown(ticket),
        }
    }

    /// Remembers what was verified between [`Cache::recall`] and now. When anything was revoked in between, it may have
    /// been this one, and it is verified again next time.
    pub(super) fn remember(&self, ticket: Ticket, token: AccessToken) {
        let mut state = self.lock();
        if state.generation == ticket.generation {
            state.tokens.put(ticket.digest, Entry { token, looked_up: ticket.since });
        }
    }

    pub(super) fn forget(&self, applies: impl Fn(&AccessToken) -> bool) {
        let mut state = self.lock();
        state.generation += 1;
        state.tokens.retain(|_, known| !applies(&known.token));
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
