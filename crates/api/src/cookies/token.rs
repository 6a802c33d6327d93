//! What a browser's cookie holds: where its sign-in is, and what only the browser knows.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64, Engine as _};
use domain::TenantId;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::{error::Error, secret};

/// Longest text that is looked at.
const MAX_TEXT: usize = 128;

const PREFIX: &str = "cvs_";
const SECRET: usize = 32;
const BYTES: usize = 16 + 16 + SECRET;

/// `cvs_` and the Base64 of tenant, sign-in and secret.
#[derive(Clone, Copy)]
pub(crate) struct CookieToken {
    /// Only a place to look, until the secret is compared with what is found there.
    pub(crate) tenant: TenantId,
    /// Its sign-in.
    pub(crate) sign_in: Uuid,
    secret: [u8; SECRET],
}

impl CookieToken {
    /// That of a new sign-in.
    pub(crate) fn new(tenant: TenantId, sign_in: Uuid) -> Result<Self, Error> {
        Ok(Self { tenant, sign_in, secret: secret::random()? })
    }

    /// What a browser has sent; `None` when it cannot be one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = Some(text).filter(|text| text.len() <= MAX_TEXT)?;
        let bytes: [u8; BYTES] = BASE64.decode(text.strip_prefix(PREFIX)?).ok()?.try_into().ok()?;
        let (tenant, rest) = bytes.split_first_chunk::<16>()?;
        let (sign_in, rest) = rest.split_first_chunk::<16>()?;
        let secret = *rest.first_chunk::<SECRET>()?;
        Some(Self { tenant: TenantId(Uuid::from_bytes(*tenant)), sign_in: Uuid::from_bytes(*sign_in), secret })
    }

    /// As it is given to a browser.
    pub(crate) fn text(&self) -> String {
        let parts = [&self.tenant.0.as_bytes()[..], self.sign_in.as_bytes(), &self.secret];
        format!("{PREFIX}{}", BASE64.encode(parts.concat()))
    }

    /// All that is kept of it.
    pub(crate) fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.secret).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written_and_nothing_else_is() {
        let (tenant, sign_in) = (TenantId(Uuid::from_u128(1)), Uuid::from_u128(2));
        let token = CookieToken::new(tenant, sign_in).unwrap();
        let text = token.text();
        let read = CookieToken::parse(&text).unwrap();
        assert_eq!(
            (read.tenant, read.sign_in, read.hash(), read.text()),
            (tenant, sign_in, token.hash(), text.clone())
        );
        assert_ne!(CookieToken::new(tenant, sign_in).unwrap().hash(), token.hash());
        for wrong in ["", "cvs_", &text[4..], &text[..text.len() - 1], &format!("{text}A"), &format!("\"{text}\"")] {
            assert!(CookieToken::parse(wrong).is_none(), "{wrong}");
        }
    }
}
