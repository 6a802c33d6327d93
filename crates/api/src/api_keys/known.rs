//! Whom an API key lets in: what was looked up a moment ago is believed for [`TRUST`], in bounded memory.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use domain::{Actor, ActorKind, TenantId, UserId};
use lru::LruCache;
use sha2::{Digest as _, Sha256};
use store::{TenantContext, api_key, note_use_of_api_key};
use tokio::time::Instant;
use uuid::Uuid;

use super::{key::ApiKey, scopes::Scopes};
use crate::{
    caller::{Credential, Known},
    error::{Code, Error},
    state::Api,
    tokens::{LIFETIME, TRUST},
};

/// How many keys are remembered: about 2 MB.
const CAPACITY: NonZeroUsize = NonZeroUsize::MIN.saturating_add(9_999);

/// A key whose secret was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KnownKey {
    pub(crate) tenant: TenantId,
    pub(crate) id: Uuid,
    pub(crate) created_by: UserId,
    scopes: Scopes,
    expires_at: Option<DateTime<Utc>>,
}

/// The keys that were looked up not long ago, by SHA-256 of their text.
pub(crate) struct KnownKeys(Mutex<State>);

struct State {
    keys: LruCache<[u8; 32], (KnownKey, Instant)>,
    /// Counts the calls of [`KnownKeys::forget`].
    generation: u64,
}

/// The right to remember one key, unless something was forgotten since it was given out.
struct Ticket {
    digest: [u8; 32],
    generation: u64,
    /// What is looked up now is at least as new as this.
    since: Instant,
}

impl Default for KnownKeys {
    fn default() -> Self {
        Self(Mutex::new(State { keys: LruCache::new(CAPACITY), generation: 0 }))
    }
}

impl KnownKeys {
    fn recall(&self, text: &str) -> Result<KnownKey, Ticket> {
        let digest = Sha256::digest(text).into();
        let mut state = self.lock();
        match state.keys.get(&digest) {
            Some((known, looked_up)) if looked_up.elapsed() < TRUST => Ok(*known),
            _ => Err(Ticket { digest, generation: state.generation, since: Instant::now() }),
        }
    }

    /// When anything was revoked since [`KnownKeys::recall`], it may have been this one, and it is looked up again next time.
    fn remember(&self, ticket: Ticket, known: KnownKey) {
        let mut state = self.lock();
        if state.generation == ticket.generation {
            state.keys.put(ticket.digest, (known, ticket.since));
        }
    }

    /// Forgets the keys to which this applies: their next use looks them up. For what was revoked here.
    pub(crate) fn forget(&self, applies: impl Fn(&KnownKey) -> bool) {
        let mut state = self.lock();
        state.generation += 1;
        state.keys.retain(|_, (known, _)| !applies(known));
    }

    /// Every change is complete in itself, so what a panicking thread has left is sound.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KnownKey {
    fn context(&self) -> TenantContext {
        context(self.tenant, self.id)
    }

    /// Who it lets in now. What lasts longer than a request ends with an access token's lifetime at the latest, so that it
    /// asks again.
    fn caller(&self, now: DateTime<Utc>) -> Result<Known, Error> {
        if self.expires_at.is_some_and(|end| end <= now) {
            return Err(refused());
        }
        let latest = now + LIFETIME;
        let good_until = self.expires_at.map_or(latest, |end| end.min(latest));
        Ok(Known {
            context: self.context(),
            credential: Credential::Key { id: self.id, scopes: self.scopes },
            good_until,
        })
    }
}

fn context(tenant: TenantId, id: Uuid) -> TenantContext {
    let actor = Actor { kind: ActorKind::ApiKey, id };
    #[expect(clippy::disallowed_methods, reason = "this is where keys are checked")]
    TenantContext::authenticated(tenant, actor)
}

fn refused() -> Error {
    Error::new(Code::Unauthorized, "The API key is unknown, expired or revoked.")
}

/// Whom this text lets in, which begins like a key.
pub(crate) async fn authenticate(api: &Api, text: &str, now: DateTime<Utc>) -> Result<Known, Error> {
    let ticket = match api.inner.api_keys.recall(text) {
        Ok(known) => return known.caller(now),
        Err(ticket) => ticket,
    };
    let malformed = |cause| {
        Error::new(Code::Unauthorized, "The API key is mistyped or incomplete: its checksum does not fit.")
            .caused_by(cause)
    };
    let key = ApiKey::parse(text).map_err(malformed)?;
    let place = context(key.tenant, key.id);
    let found = api_key(&api.inner.database, &place, key.id).await?.ok_or_else(refused)?;
    if !key.matches(&found.secret_hash) {
        return Err(refused());
    }
    let known = KnownKey {
        tenant: key.tenant,
        id: key.id,
        created_by: found.created_by,
        scopes: found.scopes.iter().copied().collect(),
        expires_at: found.expires_at,
    };
    let caller = known.caller(now)?;
    api.inner.api_keys.remember(ticket, known);
    note_use_of_api_key(&api.inner.database, place, (key.id, &found), now);
    Ok(caller)
}

/// What the key may still do that has opened something.
pub(crate) async fn still(api: &Api, caller: &TenantContext, id: Uuid) -> Result<Credential, Error> {
    let found = api_key(&api.inner.database, caller, id).await?.ok_or_else(refused)?;
    Ok(Credential::Key { id, scopes: found.scopes.iter().copied().collect() })
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn known(id: u128) -> KnownKey {
        KnownKey {
            tenant: TenantId(Uuid::from_u128(1)),
            id: Uuid::from_u128(id),
            created_by: UserId(Uuid::from_u128(9)),
            scopes: Scopes::default(),
            expires_at: None,
        }
    }

    fn put(keys: &KnownKeys, text: &str, known: KnownKey) {
        let ticket = keys.recall(text).err().unwrap();
        keys.remember(ticket, known);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_believed_for_five_seconds_and_only_by_its_whole_text() {
        let keys = KnownKeys::default();
        put(&keys, "one", known(1));
        tokio::time::advance(TRUST - std::time::Duration::from_millis(1)).await;
        assert_eq!(keys.recall("one").ok(), Some(known(1)));
        assert!(keys.recall("onE").is_err());
        tokio::time::advance(std::time::Duration::from_millis(1)).await;
        assert!(keys.recall("one").is_err());
    }

    #[test]
    fn what_was_revoked_is_forgotten_also_while_it_is_looked_up() {
        let keys = KnownKeys::default();
        put(&keys, "one", known(1));
        put(&keys, "two", known(2));
        let late = keys.recall("three").err().unwrap();
        keys.forget(|known| known.id == Uuid::from_u128(1));
        keys.remember(late, known(3));
        assert!(keys.recall("one").is_err() && keys.recall("two").is_ok() && keys.recall("three").is_err());
    }

    #[test]
    fn memory_is_bounded() {
        let keys = KnownKeys::default();
        for n in 0..CAPACITY.get() + 1 {
            put(&keys, &n.to_string(), known(1));
        }
        assert_eq!(keys.lock().keys.len(), CAPACITY.get());
        assert!(keys.recall("0").is_err());
    }

    #[test]
    fn a_key_ends_when_it_expires_and_a_stream_by_it_within_five_minutes() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let micro = TimeDelta::microseconds(1);
        let until = |expires_at| KnownKey { expires_at, ..known(1) }.caller(now).map(|caller| caller.good_until).ok();
        assert_eq!(until(None), Some(now + LIFETIME));
        assert_eq!(until(Some(now + LIFETIME + micro)), Some(now + LIFETIME));
        assert_eq!(until(Some(now + micro)), Some(now + micro));
        assert_eq!(until(Some(now)), None);
    }
}
