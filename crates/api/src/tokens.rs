//! Access tokens: EdDSA JWTs of five minutes, believed only with our key, our algorithm and every claim in place.

mod key_set;
mod signer;

use std::sync::{Arc, PoisonError, RwLock};

use chrono::{DateTime, TimeDelta, Utc};
use domain::{TenantId, UserId, tenant::Role};
use jsonwebtoken::{Header, Validation};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

pub use crate::believed::TRUST;
use crate::{
    believed::{Believed, Recall, Shown},
    error::Error,
};

pub use key_set::KeySet;
use signer::ALGORITHM;
pub use signer::{KeyError, PublicKey, Signer};

/// How long a token is good for.
pub const LIFETIME: TimeDelta = TimeDelta::minutes(5);

/// How far two clocks may differ.
pub const LEEWAY: TimeDelta = TimeDelta::seconds(5);

/// Longest token in bytes that is looked at; ours have about 600.
pub const MAX_TOKEN: usize = 2048;

/// The header's `typ` (RFC 9068): no other kind of JWT passes for an access token.
const TYP: &str = "at+jwt";

/// To whom a token is issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Claim `sub`.
    pub user: UserId,
    /// Claim `tid`.
    pub tenant: TenantId,
    /// Claim `sid`: the sign-in that the token comes from.
    pub sign_in: Uuid,
    /// Claim `role`.
    pub role: Role,
}

/// What a verified token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessToken {
    /// To whom it was issued.
    pub grant: Grant,
    /// Claim `jti`.
    pub id: Uuid,
    /// Claim `exp`, whole seconds.
    pub expires_at: DateTime<Utc>,
    not_before: DateTime<Utc>,
}

impl AccessToken {
    /// Until when it is believed.
    pub fn good_until(&self) -> DateTime<Utc> {
        self.expires_at + LEEWAY
    }

    /// A sign-in without a token of its own, until it ends.
    pub(crate) fn of_sign_in(grant: Grant, ends: DateTime<Utc>) -> Self {
        Self { grant, id: grant.sign_in, expires_at: ends, not_before: DateTime::<Utc>::MIN_UTC }
    }

    fn is_live(&self, now: DateTime<Utc>) -> Result<(), Refusal> {
        if now > self.good_until() {
            Err(Refusal::Expired)
        } else if now + LEEWAY < self.not_before {
            Err(Refusal::NotYetValid)
        } else {
            Ok(())
        }
    }
}

/// The claims as they are written; every one is required, and of exactly this type.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: UserId,
    sid: Uuid,
    tid: TenantId,
    role: Role,
    iat: i64,
    nbf: i64,
    exp: i64,
    jti: Uuid,
}

/// Why a token is not believed; for the log and for tests, a client only ever learns [`Error::unauthorized`].
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Longer than [`MAX_TOKEN`].
    #[error("the token is too long")]
    TooLong,
    /// Not a JWT, another algorithm, a wrong signature, or claims that are missing or not ours.
    #[error("the token does not verify")]
    Jwt(#[source] jsonwebtoken::errors::Error),
    /// The header's `typ` is not `at+jwt`, or it demands extensions (`crit`).
    #[error("the token is not an access token")]
    WrongType,
    /// The header names no key, or none of ours.
    #[error("the token names no key of ours")]
    UnknownKey,
    /// `exp` is past.
    #[error("the token has expired")]
    Expired,
    /// `nbf` is to come.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// A time is beyond what a clock can show.
    #[error("the token's times are out of range")]
    OutOfRange,
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        tracing::debug!(reason = &refusal as &dyn std::error::Error, "access token refused");
        Self::unauthorized()
    }
}

/// Issues and verifies access tokens.
#[derive(Debug)]
pub struct Tokens {
    issuer: String,
    rules: Validation,
    keys: RwLock<Arc<KeySet>>,
    believed: Believed<AccessToken>,
}

impl Tokens {
    /// Issues and believes with these keys. The issuer is also the audience: tokens are for this service alone.
    pub fn new(issuer: &str, keys: KeySet) -> Self {
        let keys = RwLock::new(Arc::new(keys));
        Self { issuer: issuer.to_owned(), rules: rules(issuer), keys, believed: Believed::default() }
    }

    /// The keys of this moment.
    pub fn keys(&self) -> Arc<KeySet> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes other keys from now on. When one is not believed any more, neither are its tokens that were verified before.
    pub fn replace_keys(&self, keys: KeySet) {
        let keys = Arc::new(keys);
        let before = std::mem::replace(&mut *self.keys.write().unwrap_or_else(PoisonError::into_inner), keys.clone());
        if !keys.believes_all_of(&before) {
            // After the replacement: what is verified with the earlier keys at this moment is not remembered either.
            self.believed.forget(|_| true);
        }
    }

    /// The URL by which clients reach this service, as tokens name it.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// A token for [`LIFETIME`] from `now` on; `id` becomes its `jti`.
    pub fn issue(&self, grant: Grant, id: Uuid, now: DateTime<Utc>) -> Result<String, Error> {
        let keys = self.keys();
        let signer = keys.signer();
        let mut header = Header::new(ALGORITHM);
        header.typ = Some(TYP.to_owned());
        header.kid = Some(signer.public_key().kid().to_owned());
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: self.issuer.clone(),
            sub: grant.user,
            sid: grant.sign_in,
            tid: grant.tenant,
            role: grant.role,
            iat: now.timestamp(),
            nbf: now.timestamp(),
            exp: (now + LIFETIME).timestamp(),
            jti: id,
        };
        jsonwebtoken::encode(&header, &claims, signer.key()).map_err(Error::internal)
    }

    /// Verifies the signature and every claim, about 200 µs; [`Tokens::authenticate`] remembers the outcome.
    ///
    /// The key comes from our own record of the `kid`, the algorithm is always the same; `jku`, `x5u` and `jwk` in the header mean nothing.
    pub fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<AccessToken, Refusal> {
        if token.len() > MAX_TOKEN {
            return Err(Refusal::TooLong);
        }
        let header = jsonwebtoken::decode_header(token).map_err(Refusal::Jwt)?;
        if header.typ.as_deref() != Some(TYP) || header.crit.is_some() {
            return Err(Refusal::WrongType);
        }
        let keys = self.keys();
        let key = header.kid.as_ref().and_then(|kid| keys.believed(kid)).ok_or(Refusal::UnknownKey)?;
        let decoded = jsonwebtoken::decode::<Claims>(token, key.key(), &self.rules).map_err(Refusal::Jwt)?;
        let claims = decoded.claims;
        let time = |seconds: i64| DateTime::from_timestamp(seconds, 0).ok_or(Refusal::OutOfRange);
        let token = AccessToken {
            grant: Grant { user: claims.sub, tenant: claims.tid, sign_in: claims.sid, role: claims.role },
            id: claims.jti,
            expires_at: time(claims.exp)?,
            not_before: time(claims.nbf)?,
        };
        token.is_live(now).map(|()| token)
    }

    /// Like [`Tokens::verify`], with the role that `role_now` answers: what the user of the sign-in may do now, or an
    /// error when the sign-in is over. It is asked again after [`TRUST`], the signature is checked once.
    ///
    /// What is revoked while `role_now` runs is not remembered.
    pub async fn authenticate<F>(
        &self,
        token: &str,
        now: DateTime<Utc>,
        role_now: impl FnOnce(AccessToken) -> F,
    ) -> Result<AccessToken, Error>
    where
        F: Future<Output = Result<Role, Error>>,
    {
        if token.len() > MAX_TOKEN {
            return Err(Refusal::TooLong.into());
        }
        let (mut verified, ticket) = match self.believed.recall(Shown::new("bearer", token)) {
            Recall::Trusted(known, _) => return known.is_live(now).map(|()| known).map_err(Error::from),
            Recall::Stale(known, ticket) => (known.is_live(now).map(|()| known)?, ticket),
            Recall::Unknown(ticket) => (self.verify(token, now)?, ticket),
        };
        verified.grant.role = role_now(verified).await?;
        self.believed.remember(ticket, verified);
        Ok(verified)
    }

    /// Whose a browser's cookie is, as `look_up` says; it is asked again after [`TRUST`], and what is revoked while it runs is not
    /// remembered.
    pub(crate) async fn by_cookie<F>(
        &self,
        cookie: &str,
        now: DateTime<Utc>,
        look_up: impl FnOnce() -> F,
    ) -> Result<AccessToken, Error>
    where
        F: Future<Output = Result<AccessToken, Error>>,
    {
        let ticket = match self.believed.recall(Shown::new("cookie", cookie)) {
            Recall::Trusted(known, _) => return known.is_live(now).map(|()| known).map_err(Error::from),
            Recall::Stale(_, ticket) | Recall::Unknown(ticket) => ticket,
        };
        let known = look_up().await?;
        self.believed.remember(ticket, known);
        Ok(known)
    }

    /// Asks again about a sign-in that was believed before, for what lasts longer than a request. Answers what its user may do
    /// now, and until when that is believed: then it is asked again, once for all who come from it.
    pub(crate) async fn still<F>(&self, grant: Grant, role_now: impl FnOnce() -> F) -> Result<(Role, Instant), Error>
    where
        F: Future<Output = Result<Role, Error>>,
    {
        let ticket = match self.believed.recall(Shown::new("sign-in", grant.sign_in)) {
            Recall::Trusted(known, looked_up) => return Ok((known.grant.role, looked_up + TRUST)),
            Recall::Stale(_, ticket) | Recall::Unknown(ticket) => ticket,
        };
        let (role, since) = (role_now().await?, ticket.since);
        self.believed.remember(ticket, AccessToken::of_sign_in(Grant { role, ..grant }, DateTime::<Utc>::MAX_UTC));
        Ok((role, since + TRUST))
    }

    /// Forgets the verified tokens to which this applies: their next use asks for the role again.
    pub fn forget(&self, applies: impl Fn(&AccessToken) -> bool) {
        self.believed.forget(applies);
    }
}

/// What jsonwebtoken shall check. Times are checked here, against the clock that is passed in.
fn rules(issuer: &str) -> Validation {
    let mut rules = Validation::new(ALGORITHM);
    rules.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
    rules.set_issuer(&[issuer]);
    rules.set_audience(&[issuer]);
    rules.validate_exp = false;
    rules.validate_nbf = false;
    rules
}

#[cfg(test)]
mod tests;
