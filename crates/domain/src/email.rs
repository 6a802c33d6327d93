//! E-mail addresses as identifiers: shaped well enough to be written to, and equal when they mean the same mailbox.

use serde::{Deserialize, Deserializer, Serialize};

/// An address in the form in which it is compared: trimmed and in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Email(String);

/// Not an address: it needs one `@` with text before it and a dotted domain after it, no white space, and at most
/// [`Email::MAX_LENGTH`] characters.
#[derive(Debug, thiserror::Error)]
#[error("not an e-mail address: expected something like name@example.com")]
pub struct InvalidEmail;

impl Email {
    /// Longest address in characters (RFC 5321 allows a path of 256 with its brackets).
    pub const MAX_LENGTH: usize = 254;

    /// Checks and normalises an address.
    pub fn parse(text: &str) -> Result<Self, InvalidEmail> {
        let text = text.trim().to_lowercase();
        let (local, domain) = text.rsplit_once('@').ok_or(InvalidEmail)?;
        let labels_ok = domain.split('.').count() >= 2 && domain.split('.').all(|label| !label.is_empty());
        let characters_ok = text.chars().all(|c| !c.is_whitespace() && !c.is_control()) && !local.contains('@');
        if local.is_empty() || !labels_ok || !characters_ok || text.chars().count() > Self::MAX_LENGTH {
            return Err(InvalidEmail);
        }
        Ok(Self(text))
    }

    /// The normalised address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Email {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl std::fmt::Display for Email {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_mailbox_in_other_letters_is_equal() {
        assert_eq!(Email::parse(" Ada@Example.COM ").unwrap(), Email::parse("ada@example.com").unwrap());
    }

    #[test]
    fn what_cannot_be_written_to_is_refused() {
        for text in ["", "ada", "@example.com", "ada@", "ada@example", "a b@example.com", "a@b@example.com", "a@b..c"] {
            assert!(Email::parse(text).is_err(), "{text}");
        }
        assert!(Email::parse(&format!("{}@example.com", "a".repeat(250))).is_err());
    }
}
