//! Access tokens: EdDSA JWTs of five minutes, believed only with our key, our algorithm and every claim in place.

mod cache;
mod signer;

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use domain::{TenantId, UserId, tenant::Role};
use jsonwebtoken::{Header, Validation, jwk::JwkSet};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::Error;
use cache::{Cache, Recall};

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
    signer: Signer,
    keys: HashMap<String, Key>,
    cache: Cache,
}

#[derive(Debug)]
struct Key {
    public: PublicKey,
    validation: Validation,
}

impl Tokens {
    /// Issues with `signer`, believes it and `others` (keys of the time before or after a rotation). The issuer is also
    /// the audience: tokens are for this service alone.
    pub fn new(issuer: &str, signer: Signer, others: impl IntoIterator<Item = PublicKey>) -> Self {
        let keys = others.into_iter().chain([signer.public_key().clone()]);
        let keys = keys.map(|public| (public.kid().to_owned(), Key { validation: rules(issuer, &public), public }));
        Self { issuer: issuer.to_owned(), keys: keys.collect(), signer, cache: Cache::default() }
    }

    /// The URL by which clients reach this service, as tokens name it.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// A token for [`LIFETIME`] from `now` on; `id` becomes its `jti`.
    pub fn issue(&self, grant: Grant, id: Uuid, now: DateTime<Utc>) -> Result<String, Error> {
        let mut header = Header::new(self.signer.public_key().algorithm());
        header.typ = Some(TYP.to_owned());
        header.kid = Some(self.signer.public_key().kid().to_owned());
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
        jsonwebtoken::encode(&header, &claims, self.signer.key()).map_err(Error::internal)
    }

    /// Verifies the signature and every claim, about 200 µs; [`Tokens::authenticate`] remembers the outcome.
    ///
    /// Key and algorithm come from our own record of the `kid`; `jku`, `x5u` and `jwk` in the header mean nothing.
    pub fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<AccessToken, Refusal> {
        if token.len() > MAX_TOKEN {
            return Err(Refusal::TooLong);
        }
        let header = jsonwebtoken::decode_header(token).map_err(Refusal::Jwt)?;
        if header.typ.as_deref() != Some(TYP) || header.crit.is_some() {
            return Err(Refusal::WrongType);
        }
        let key = header.kid.as_ref().and_then(|kid| self.keys.get(kid)).ok_or(Refusal::UnknownKey)?;
        let decoded = jsonwebtoken::decode::<Claims>(token, key.public.key(), &key.validation).map_err(Refusal::Jwt)?;
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

    /// Like [`Tokens::verify`], but a token that was believed before needs neither the signature nor `still_good`, which
    /// asks whatever else must hold (that the sign-in was not revoked).
    ///
    /// What is revoked while `still_good` runs is not remembered.
    pub async fn authenticate<F>(
        &self,
        token: &str,
        now: DateTime<Utc>,
        still_good: impl FnOnce(AccessToken) -> F,
    ) -> Result<AccessToken, Error>
    where
        F: Future<Output = Result<(), Error>>,
    {
        if token.len() > MAX_TOKEN {
            return Err(Refusal::TooLong.into());
        }
        match self.cache.recall(token) {
            Recall::Known(known) => known.is_live(now).map(|()| known).map_err(Error::from),
            Recall::Unknown(ticket) => {
                let verified = self.verify(token, now)?;
                still_good(verified).await?;
                self.cache.remember(ticket, verified);
                Ok(verified)
            }
        }
    }

    /// Forgets the verified tokens to which this applies: their next use asks `still_good` again.
    pub fn forget(&self, applies: impl Fn(&AccessToken) -> bool) {
        self.cache.forget(applies);
    }

    /// The public keys for `/.well-known/jwks.json`, ordered by `kid`.
    pub fn jwks(&self) -> JwkSet {
        let mut keys: Vec<_> = self.keys.values().map(|key| key.public.jwk()).collect();
        keys.sort_by(|one, other| one.common.key_id.cmp(&other.common.key_id));
        JwkSet { keys }
    }
}

/// What jsonwebtoken shall check. Times are checked here, against the clock that is passed in.
fn rules(issuer: &str, key: &PublicKey) -> Validation {
    let mut rules = Validation::new(key.algorithm());
    rules.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
    rules.set_issuer(&[issuer]);
    rules.set_audience(&[issuer]);
    rules.validate_exp = false;
    rules.validate_nbf = false;
    rules
}

#[cfg(test)]
mod tests;
