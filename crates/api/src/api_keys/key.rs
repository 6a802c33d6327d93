//! API keys as text: `cvl_`, the Base64 of tenant and key, `_`, that of a random secret, and a checksum.
//!
//! The tenant says where to look, so that no look-up crosses tenants. The checksum proves nothing: it tells a mistyped key from a
//! wrong one without a look-up, and what scans code for leaked keys a true find from a false one.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64, Engine as _};
use domain::TenantId;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

/// What every key begins with, and no other credential.
pub(crate) const PREFIX: &str = "cvl_";

/// Length of a key.
pub(crate) const LENGTH: usize = PREFIX.len() + ENCODED + 1 + ENCODED + CHECKSUM;

const SECRET: usize = 32;
/// 32 bytes in Base64: the two ids, and the secret.
const ENCODED: usize = 43;
/// Four bytes in Base64.
const CHECKSUM: usize = 6;

/// An API key with its secret: not to be shown but to whom it belongs.
#[derive(Clone)]
pub struct ApiKey {
    /// Where it is; only a place to look, until it [`matches`](Self::matches) what is found there.
    pub tenant: TenantId,
    /// Its id.
    pub id: Uuid,
    secret: [u8; SECRET],
}

/// Not a key, or one that was mistyped or cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key is mistyped or incomplete")]
pub struct Malformed;

impl ApiKey {
    /// The key of this secret, which must be random.
    pub fn new(tenant: TenantId, id: Uuid, secret: [u8; SECRET]) -> Self {
        Self { tenant, id, secret }
    }

    /// What a client has sent. Every key has one text.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        Self::read(text).ok_or(Malformed)
    }

    fn read(text: &str) -> Option<Self> {
        if text.len() != LENGTH {
            return None;
        }
        let (unchecked, sum) = text.split_at_checked(LENGTH - CHECKSUM)?;
        // Base64 has underscores of its own: the places count.
        let (ids, secret) = unchecked.strip_prefix(PREFIX)?.split_at_checked(ENCODED)?;
        let secret = secret.strip_prefix('_')?;
        if sum != checksum(unchecked) {
            return None;
        }
        let ids: [u8; 32] = BASE64.decode(ids).ok()?.try_into().ok()?;
        let (tenant, rest) = ids.split_first_chunk::<16>()?;
        let id = rest.first_chunk::<16>()?;
        let secret = BASE64.decode(secret).ok()?.try_into().ok()?;
        Some(Self { tenant: TenantId(Uuid::from_bytes(*tenant)), id: Uuid::from_bytes(*id), secret })
    }

    /// As it is given to a client, once.
    pub fn text(&self) -> String {
        let ids = [&self.tenant.0.as_bytes()[..], self.id.as_bytes()].concat();
        let unchecked = format!("{PREFIX}{}_{}", BASE64.encode(ids), BASE64.encode(self.secret));
        let sum = checksum(&unchecked);
        unchecked + &sum
    }

    /// All that is kept of the secret: SHA-256.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.secret).into()
    }

    /// Whether this is its hash, in the same time whether it is or not.
    pub fn matches(&self, hash: &[u8]) -> bool {
        self.hash()[..].ct_eq(hash).into()
    }
}

/// The first four bytes of SHA-256.
fn checksum(unchecked: &str) -> String {
    BASE64.encode(&Sha256::digest(unchecked)[..4])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ApiKey {
        ApiKey::new(TenantId(Uuid::from_u128(1)), Uuid::from_u128(2), [9; SECRET])
    }

    #[test]
    fn a_key_is_read_as_it_was_written() {
        let text = key().text();
        let read = ApiKey::parse(&text).unwrap();
        assert_eq!((text.len(), read.tenant, read.id, read.text()), (LENGTH, key().tenant, key().id, text.clone()));
        assert!(read.matches(&key().hash()));
        // It never changes: keys are out there.
        assert_eq!(
            text,
            "cvl_AAAAAAAAAAAAAAAAAAAAAQAAAAAAAAAAAAAAAAAAAAI_CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk6lpm-g"
        );
    }

    #[test]
    fn whatever_is_typed_wrong_is_found_without_a_look_up() {
        let text = key().text();
        for at in 0..text.len() {
            for other in ['A', 'B', '_', '-', ' ', '\0', 'é'] {
                let (before, after) = (&text[..at], &text[at + 1..]);
                let wrong = format!("{before}{other}{after}");
                assert!(wrong == text || ApiKey::parse(&wrong).is_err(), "{wrong}");
            }
            assert!(ApiKey::parse(&text[..at]).is_err() && ApiKey::parse(&text[at + 1..]).is_err());
            // Two neighbours exchanged.
            let mut bytes = text.clone().into_bytes();
            bytes.swap(at, (at + 1) % text.len());
            let swapped = String::from_utf8(bytes).unwrap();
            assert!(swapped == text || ApiKey::parse(&swapped).is_err(), "{swapped}");
        }
        for wrong in [String::new(), PREFIX.into(), PREFIX.repeat(30), format!("{text}A"), "é".repeat(LENGTH / 2) + "x"]
        {
            assert!(ApiKey::parse(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_text_with_a_true_checksum_is_a_key_only_in_its_one_form() {
        let text = key().text();
        let unchecked = &text[..LENGTH - CHECKSUM];
        let summed = |unchecked: &str| unchecked.to_owned() + &checksum(unchecked);
        assert_eq!(summed(unchecked), text);
        // The last character of 32 bytes carries four bits: the other two must be zero.
        let loose = format!("{}l", unchecked.strip_suffix('k').unwrap());
        let split = |at: usize, with: &str| format!("{}{with}{}", &unchecked[..at], &unchecked[at + 1..]);
        let separator = PREFIX.len() + ENCODED;
        for wrong in [loose, split(separator, "-"), split(0, "C"), split(20, "+"), split(20, "="), split(20, "é")] {
            assert!(ApiKey::parse(&summed(&wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_its_own_hash_is_a_keys() {
        let other = ApiKey::new(key().tenant, key().id, [8; SECRET]);
        assert!(!other.matches(&key().hash()));
        for wrong in [&[][..], &key().hash()[..31], &[0; 32]] {
            assert!(!key().matches(wrong));
        }
    }
}
