//! Invitations: the token with which somebody who was invited chooses their password. How it reaches them is not decided here.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64, Engine as _};
use domain::{Email, TenantId, UserId};
use sha2::{Digest as _, Sha256};
use store::{Invitation, Presented};
use uuid::Uuid;

use crate::{
    error::Error,
    secret::{self, Secret},
};

/// Longest text that is looked at.
pub(crate) const MAX_TEXT: usize = 128;

const PREFIX: &str = "cvi_";
const SECRET: usize = 32;
const BYTES: usize = 16 + 16 + SECRET;

/// The token of an invitation: where it is, and what only its holder knows.
#[derive(Clone, Copy)]
pub(crate) struct InvitationToken {
    /// Only a place to look, until it is found there.
    pub(crate) tenant: TenantId,
    user: UserId,
    secret: [u8; SECRET],
}

/// A new invitation: the text that only the invited person is to see, and all that is kept of it.
pub fn new_invitation(tenant: TenantId, user: UserId, email: &Email) -> Result<(String, Invitation), Error> {
    let token = InvitationToken { tenant, user, secret: secret::random()? };
    Ok((token.text(), Invitation { token_hash: token.hash(), email: email.to_string() }))
}

impl InvitationToken {
    /// What a client has sent; `None` when it cannot be one.
    pub(crate) fn parse(text: &Secret) -> Option<Self> {
        let text = Some(text.expose()).filter(|text| text.len() <= MAX_TEXT)?;
        let bytes: [u8; BYTES] = BASE64.decode(text.strip_prefix(PREFIX)?).ok()?.try_into().ok()?;
        let (tenant, rest) = bytes.split_first_chunk::<16>()?;
        let (user, rest) = rest.split_first_chunk::<16>()?;
        let secret = *rest.first_chunk::<SECRET>()?;
        Some(Self { tenant: TenantId(Uuid::from_bytes(*tenant)), user: UserId(Uuid::from_bytes(*user)), secret })
    }

    /// How it is found again.
    pub(crate) fn presented(&self) -> Presented {
        Presented { user: self.user, token_hash: self.hash() }
    }

    fn bytes(&self) -> Vec<u8> {
        [&self.tenant.0.as_bytes()[..], self.user.0.as_bytes(), &self.secret].concat()
    }

    fn text(&self) -> String {
        format!("{PREFIX}{}", BASE64.encode(self.bytes()))
    }

    /// Of all of it: with another tenant or user it is another one.
    fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written_and_belongs_to_one_user_of_one_tenant() {
        let (tenant, user) = (TenantId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)));
        let email = Email::parse("ada@example.com").unwrap();
        let (text, kept) = new_invitation(tenant, user, &email).unwrap();
        let read = InvitationToken::parse(&Secret::new(text.as_str())).unwrap();
        assert_eq!((read.tenant, read.user, read.hash()), (tenant, user, kept.token_hash));
        assert_eq!((kept.email.as_str(), read.text()), ("ada@example.com", text.clone()));
        assert_ne!(InvitationToken { user: UserId(Uuid::from_u128(3)), ..read }.hash(), kept.token_hash);
        assert_ne!(new_invitation(tenant, user, &email).unwrap().0, text);
        for wrong in ["", "cvi_", &text[4..], &text[..text.len() - 1], &format!("{text}A"), &"cvi_".repeat(40)] {
            assert!(InvitationToken::parse(&Secret::new(wrong)).is_none(), "{wrong}");
        }
    }
}
