//! Refresh tokens: which sign-in they belong to, how each follows from the one before it, and what one of them is good for.
//!
//! A token is `cvr_` and the Base64 of tenant, sign-in, a secret and a seal. The first secret is random, each further one is
//! an HMAC of its predecessor under a key that only API processes know: so the successor can be answered twice although
//! only hashes are kept, and neither the database nor an old token leads to a good one. The seal, an HMAC under the same
//! key, tells a token of ours from one that was made up: the latter is refused without looking anything up, and nobody ends
//! a sign-in by guessing.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64, Engine as _};
use chrono::{DateTime, TimeDelta, Utc};
use domain::TenantId;
use sha2::{Digest as _, Sha256};
use store::{Chain, Judgement};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use crate::{
    master_secret::{MasterSecret, hmac},
    secret::Secret,
};

/// For how long a token that was exchanged is answered again: its answer may have been lost, or two tabs had the same idea.
pub(crate) const GRACE: TimeDelta = TimeDelta::seconds(10);

/// Longest text that is looked at.
pub(crate) const MAX_TEXT: usize = 128;

const PREFIX: &str = "cvr_";
const SECRET: usize = 32;
const SEAL: usize = 16;
const BYTES: usize = 16 + 16 + SECRET + SEAL;

/// A refresh token.
#[derive(Clone)]
pub(crate) struct RefreshToken {
    /// Where its sign-in is; only a place to look, until it is judged.
    pub(crate) tenant: TenantId,
    /// Its sign-in.
    pub(crate) sign_in: Uuid,
    secret: [u8; SECRET],
    seal: [u8; SEAL],
}

/// What the next token and the seal of one are derived with.
pub(crate) struct ChainKey([u8; 32]);

impl ChainKey {
    pub(crate) fn new(master: &MasterSecret) -> Self {
        Self(master.derive("refresh tokens", &[]))
    }

    fn mac(&self, purpose: &str, token: &RefreshToken) -> [u8; 32] {
        let parts = [purpose.as_bytes(), token.tenant.0.as_bytes(), token.sign_in.as_bytes(), &token.secret];
        hmac(&self.0, &parts)
    }

    fn seal(&self, token: &RefreshToken) -> [u8; SEAL] {
        let mut seal = [0; SEAL];
        seal.copy_from_slice(&self.mac("seal", token)[..SEAL]);
        seal
    }
}

impl RefreshToken {
    /// The first one of a sign-in.
    pub(crate) fn first(tenant: TenantId, sign_in: Uuid, secret: [u8; SECRET], key: &ChainKey) -> Self {
        let unsealed = Self { tenant, sign_in, secret, seal: [0; SEAL] };
        Self { seal: key.seal(&unsealed), ..unsealed }
    }

    /// What a client has sent; `None` when it is no token that was sealed with this key.
    pub(crate) fn parse(text: &Secret, key: &ChainKey) -> Option<Self> {
        Self::read(text).filter(|token| bool::from(key.seal(token).ct_eq(&token.seal)))
    }

    fn read(text: &Secret) -> Option<Self> {
        let text = Some(text.expose()).filter(|text| text.len() <= MAX_TEXT)?;
        let bytes: [u8; BYTES] = BASE64.decode(text.strip_prefix(PREFIX)?).ok()?.try_into().ok()?;
        let (tenant, rest) = bytes.split_first_chunk::<16>()?;
        let (sign_in, rest) = rest.split_first_chunk::<16>()?;
        let (secret, rest) = rest.split_first_chunk::<SECRET>()?;
        let seal = rest.first_chunk::<SEAL>()?;
        let (tenant, sign_in) = (TenantId(Uuid::from_bytes(*tenant)), Uuid::from_bytes(*sign_in));
        Some(Self { tenant, sign_in, secret: *secret, seal: *seal })
    }

    /// As it is given to a client.
    pub(crate) fn text(&self) -> String {
        let parts = [&self.tenant.0.as_bytes()[..], self.sign_in.as_bytes(), &self.secret, &self.seal];
        format!("{PREFIX}{}", BASE64.encode(parts.concat()))
    }

    /// All that is kept of it.
    pub(crate) fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.secret).into()
    }

    /// The one that takes its place.
    pub(crate) fn successor(&self, key: &ChainKey) -> Self {
        Self::first(self.tenant, self.sign_in, key.mac("successor", self), key)
    }

    /// What it is good for.
    pub(crate) fn judge(&self, key: &ChainKey, chain: &Chain, now: DateTime<Utc>) -> Judgement {
        let hash = self.hash();
        let is_parent = chain.parent.as_ref().is_some_and(|parent| bool::from(parent.ct_eq(&hash[..])));
        if bool::from(chain.current.ct_eq(&hash[..])) {
            Judgement::Current(self.successor(key).hash())
        } else if is_parent && now - chain.rotated_at <= GRACE {
            Judgement::Parent
        } else {
            Judgement::Reused
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: ChainKey = ChainKey([7; 32]);

    fn first() -> RefreshToken {
        RefreshToken::first(TenantId(Uuid::from_u128(1)), Uuid::from_u128(2), [9; SECRET], &KEY)
    }

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn chain(current: &RefreshToken, parent: Option<&RefreshToken>) -> Chain {
        let parent = parent.map(|it| it.hash().to_vec());
        Chain { current: current.hash().to_vec(), parent, rotated_at: now() }
    }

    #[test]
    fn a_token_is_read_as_it_was_written_and_nothing_else_is() {
        let text = first().text();
        let read = RefreshToken::parse(&Secret::new(text.as_str()), &KEY).unwrap();
        assert_eq!((read.tenant, read.sign_in, read.text()), (first().tenant, first().sign_in, text.clone()));
        let (shorter, longer) = (&text[..text.len() - 1], format!("{text}A"));
        for wrong in ["", "cvr_", &text[4..], shorter, &longer, &"cvr_".repeat(40), "cvr_\u{0}"] {
            assert!(RefreshToken::parse(&Secret::new(wrong), &KEY).is_none(), "{wrong}");
        }
    }

    #[test]
    fn each_token_is_exchanged_once_and_again_only_for_a_moment() {
        let (one, two) = (first(), first().successor(&KEY));
        let three = two.successor(&KEY);
        assert_ne!(one.text(), two.text());
        assert_eq!(one.judge(&KEY, &chain(&one, None), now()), Judgement::Current(two.hash()));
        let later = chain(&two, Some(&one));
        assert_eq!(two.judge(&KEY, &later, now()), Judgement::Current(three.hash()));
        assert_eq!(one.judge(&KEY, &later, now() + GRACE), Judgement::Parent);
        assert_eq!(one.judge(&KEY, &later, now() + GRACE + TimeDelta::microseconds(1)), Judgement::Reused);
        assert_eq!(one.judge(&KEY, &chain(&three, Some(&two)), now()), Judgement::Reused);
    }

    #[test]
    fn what_was_made_up_or_moved_or_sealed_with_another_key_is_no_token() {
        let parse = |token: &RefreshToken| RefreshToken::parse(&Secret::new(token.text()), &KEY);
        assert!(parse(&first()).is_some());
        let other_key = RefreshToken::first(first().tenant, first().sign_in, [9; SECRET], &ChainKey([8; 32]));
        let other_secret = RefreshToken { secret: [1; SECRET], ..first() };
        let other_sign_in = RefreshToken { sign_in: Uuid::from_u128(3), ..first() };
        let other_tenant = RefreshToken { tenant: TenantId(Uuid::from_u128(3)), ..first() };
        for made_up in [other_key, other_secret, other_sign_in, other_tenant] {
            assert!(parse(&made_up).is_none());
        }
    }
}
