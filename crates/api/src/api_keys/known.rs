//! Whom an API key lets in.

use chrono::{DateTime, Utc};
use domain::{Actor, ActorKind, TenantId, UserId};
use store::{TenantContext, api_key, note_use_of_api_key};
use uuid::Uuid;

use super::{key::ApiKey, scopes::Scopes};
use crate::{
    believed::{Believed, Recall, Shown},
    caller::{Credential, Known},
    error::{Code, Error},
    state::Api,
    tokens::LIFETIME,
};

/// A key whose secret was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KnownKey {
    pub(crate) tenant: TenantId,
    pub(crate) id: Uuid,
    pub(crate) created_by: UserId,
    scopes: Scopes,
    expires_at: Option<DateTime<Utc>>,
}

/// The keys that were looked up not long ago.
pub(crate) type KnownKeys = Believed<KnownKey>;

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
    let ticket = match api.inner.api_keys.recall(Shown::new("key", text)) {
        Recall::Trusted(known, _) => return known.caller(now),
        Recall::Stale(_, ticket) | Recall::Unknown(ticket) => ticket,
    };
    let malformed = |cause| {
        Error::new(Code::Unauthorized, "The API key is mistyped or incomplete: its checksum does not fit.")
            .caused_by(cause)
    };
    let key = ApiKey::parse(text).map_err(malformed)?;
    let place = context(key.tenant, key.id);
    let found = Box::pin(api_key(&api.inner.database, &place, key.id)).await?.ok_or_else(refused)?;
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
