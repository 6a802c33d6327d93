//! Currencies by their codes: amounts of different ones are never added.

use serde::{Deserialize, Deserializer, Serialize};

/// A code of three capital letters as in ISO 4217, for example `USD`. Whether somebody uses such a currency is not
/// asked: own units of account are welcome.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Currency([u8; 3]);

/// What a [`Currency`] looks like.
pub const CURRENCY_PATTERN: &str = "^[A-Z]{3}$";

/// Not three capital letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be three capital letters, for example USD")]
pub struct InvalidCurrency;

impl Currency {
    /// What an amount is in when nothing else is said.
    pub const USD: Self = Self(*b"USD");

    /// Reads a code.
    pub fn parse(text: &str) -> Result<Self, InvalidCurrency> {
        let code: [u8; 3] = text.as_bytes().try_into().map_err(|_length| InvalidCurrency)?;
        if code.iter().all(u8::is_ascii_uppercase) { Ok(Self(code)) } else { Err(InvalidCurrency) }
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        // Capital letters: this cannot fail.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl std::fmt::Debug for Currency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Currency {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_currency_is_three_capital_letters() {
        assert_eq!(Currency::parse("EUR").unwrap().as_str(), "EUR");
        assert_eq!(serde_json::to_string(&Currency::USD).unwrap(), "\"USD\"");
        for text in ["", "EU", "EURO", "eur", "E R", "€€", "ÄÖÜ", "US1"] {
            assert_eq!(Currency::parse(text), Err(InvalidCurrency), "{text}");
        }
    }
}
