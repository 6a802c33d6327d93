//! Single values as a file has them: a number stays the digits that were written, so that no amount ever becomes a
//! binary fraction.

use domain::{Amount, Currency, Quantity};
use serde::de::{Deserialize, Deserializer, Error as _};
use serde_json::value::RawValue;

/// Longest number in characters.
const MAX_NUMBER: usize = 100;

/// A value whose type is asked when it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// A string, or what a cell holds.
    Text(String),
    /// A number of JSON, digit by digit.
    Number(String),
    /// `true`, `false`, an array or an object, as JSON.
    Other(String),
}

impl<'de> Deserialize<'de> for Told {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let json = raw.get();
        Ok(match json.as_bytes().first() {
            Some(b'"') => Self::Text(serde_json::from_str(json).map_err(D::Error::custom)?),
            Some(b'-' | b'0'..=b'9') => Self::Number(json.to_owned()),
            _ => Self::Other(json.to_owned()),
        })
    }
}

impl Told {
    /// The text, if it is one and says something.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text.trim()).filter(|text| !text.is_empty()),
            Self::Number(_) | Self::Other(_) => None,
        }
    }

    /// As an amount, brought to twelve places.
    pub(super) fn amount(&self) -> Result<Amount, String> {
        self.number()
            .and_then(|text| Amount::rounded(text).ok())
            .ok_or_else(|| "must be a decimal number with at most 12 digits before the point".to_owned())
    }

    /// As a quantity.
    pub(super) fn quantity(&self) -> Result<Quantity, String> {
        let invalid = "must be a number that is not negative, with at most 12 digits before and after the point";
        self.number().and_then(|text| text.parse().ok()).ok_or_else(|| invalid.to_owned())
    }

    /// As a currency, in capital letters or not.
    pub(super) fn currency(&self) -> Result<Currency, String> {
        let code = self.text().unwrap_or_default().to_ascii_uppercase();
        Currency::parse(&code).map_err(|error| error.to_string())
    }

    fn number(&self) -> Option<&str> {
        let (Self::Text(text) | Self::Number(text)) = self else { return None };
        Some(text.trim()).filter(|text| text.len() <= MAX_NUMBER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(json: &str) -> Result<String, String> {
        serde_json::from_str::<Told>(json).unwrap().amount().map(|amount| amount.to_string())
    }

    #[test]
    fn a_number_is_what_is_written_and_not_the_nearest_binary_fraction() {
        for (json, exact) in [
            ("0.1", "0.1"),
            ("0.30000000000000004", "0.3"),
            ("1.2e-05", "0.000012"),
            ("\" 1.2E-5 \"", "0.000012"),
            ("0.0000000000005", "0"),
            ("0.0000000000015", "0.000000000002"),
            ("0.00000000000150000000000000000000000000000000000000000001", "0.000000000002"),
            ("0.00000000000050000000000000000000000000000000000000000001", "0.000000000001"),
            ("123456789012.3456789012345678901234567890", "123456789012.345678901235"),
            ("999999999999.999999999999", "999999999999.999999999999"),
            ("-0.00", "0"),
            ("-3.5e-3", "-0.0035"),
            ("1e-40", "0"),
            ("1.5e+3", "1500"),
            ("\"7\"", "7"),
        ] {
            assert_eq!(amount(json).as_deref(), Ok(exact), "{json}");
        }
        for json in [
            "1e12",
            "1000000000000",
            "1e400",
            "1e999999999999",
            "\"NaN\"",
            "\"Infinity\"",
            "\"\"",
            "\"$1\"",
            "\"1,5\"",
            "true",
            "[1]",
            "{}",
        ] {
            assert!(amount(json).is_err(), "{json}");
        }
        assert!(amount(&format!("\"0.{}\"", "1".repeat(10_000))).is_err());
    }

    #[test]
    fn a_count_may_be_written_like_a_fraction_and_a_currency_in_small_letters() {
        let told = |json: &str| serde_json::from_str::<Told>(json).unwrap();
        assert_eq!(told("12.0").quantity().unwrap(), Quantity::from(12));
        assert_eq!(told("\"12\"").quantity().unwrap(), Quantity::from(12));
        for json in ["-1", "1e3", "\"\"", "null ", "\"many\"", "1234567890123"] {
            assert!(told(json).quantity().is_err(), "{json}");
        }
        assert_eq!(told("\"eur\"").currency().unwrap().as_str(), "EUR");
        assert!(told("\"€\"").currency().is_err() && told("978").currency().is_err());
    }
}
