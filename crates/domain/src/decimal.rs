//! Exact decimal numbers, amounts and quantities: made of text alone, so that no binary fraction ever comes near them.

use std::fmt;
use std::str::FromStr;

use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Most digits before the point, and most after it.
pub const MAX_DIGITS: usize = 12;
/// What an [`Amount`] looks like.
pub const AMOUNT_PATTERN: &str = r"^-?\d{1,12}(\.\d{1,12})?$";
/// What a [`Quantity`] looks like.
pub const QUANTITY_PATTERN: &str = r"^\d{1,12}(\.\d{1,12})?$";

/// What something cost, in units of a currency that is told beside it; negative for a credit. Shown without trailing
/// zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Amount(Decimal);

/// How much of something was used; not negative. Shown without trailing zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Quantity(Decimal);

/// Not a decimal number of at most [`MAX_DIGITS`] digits before and after the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a decimal number in a string, with at most 12 digits before and 12 after the point")]
pub struct InvalidAmount;

/// Not a decimal number of at most [`MAX_DIGITS`] digits before and after the point, or negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a number that is not negative, with at most 12 digits before and 12 after the point, in a string")]
pub struct InvalidQuantity;

impl Amount {
    /// An amount that somebody else's system has worked out, in any common spelling (`1.5e-7` too) and of any length,
    /// brought to 12 digits after the point: half of the last one goes to the even neighbour.
    pub fn rounded(text: &str) -> Result<Self, InvalidAmount> {
        let number =
            Decimal::from_str_exact(&spelt_out(text).ok_or(InvalidAmount)?).map_err(|_digits| InvalidAmount)?;
        let number = number.round_dp_with_strategy(12, RoundingStrategy::MidpointNearestEven).normalize();
        if number.trunc().abs() >= Decimal::from(1_000_000_000_000_u64) {
            return Err(InvalidAmount);
        }
        Ok(Self(number))
    }

    /// As PostgreSQL takes it, for `numeric(24,12)`.
    pub fn decimal(self) -> Decimal {
        self.0
    }
}

impl Quantity {
    /// What is left when `part` is taken out; `None` when that would be negative.
    pub fn minus(self, part: Self) -> Option<Self> {
        let rest = self.0.checked_sub(part.0)?.normalize();
        (!rest.is_sign_negative()).then_some(Self(rest))
    }

    /// As PostgreSQL takes it.
    pub fn decimal(self) -> Decimal {
        self.0
    }
}

impl From<u32> for Quantity {
    fn from(count: u32) -> Self {
        Self(count.into())
    }
}

impl FromStr for Amount {
    type Err = InvalidAmount;

    fn from_str(text: &str) -> Result<Self, InvalidAmount> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        plain(digits)
            .map(|number| Self(if digits == text { number } else { (-number).normalize() }))
            .ok_or(InvalidAmount)
    }
}

impl FromStr for Quantity {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        plain(text).map(Self).ok_or(InvalidQuantity)
    }
}

/// Digits, perhaps a point and digits again.
fn plain(text: &str) -> Option<Decimal> {
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    let fits = |part: &str| (1..=MAX_DIGITS).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    if !fits(whole) || !fraction.is_none_or(fits) {
        return None;
    }
    Decimal::from_str_exact(text).ok().map(|number| number.normalize())
}

/// A number in any common spelling in plain digits, of which only those stay that decide how it is rounded: one more
/// than [`MAX_DIGITS`] after the point, and a last one that says whether anything comes behind it. `None`: no number, or
/// too large.
fn spelt_out(text: &str) -> Option<String> {
    let (number, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: isize = exponent.parse().ok().filter(|exponent| (-1_000..=1_000).contains(exponent))?;
    let unsigned = number.strip_prefix(['-', '+']).unwrap_or(number);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let mut digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let point = whole.len().cast_signed() + exponent;
    digits.insert_str(0, &"0".repeat((-point).max(0).cast_unsigned()));
    let point = point.max(0).cast_unsigned();
    digits.push_str(&"0".repeat(point.saturating_sub(digits.len())));

    let (whole, fraction) = digits.split_at(point);
    let whole = whole.trim_start_matches('0');
    if whole.len() > MAX_DIGITS {
        return None;
    }
    let (kept, rest) = fraction.split_at(fraction.len().min(MAX_DIGITS + 1));
    let last = if rest.bytes().any(|byte| byte != b'0') { 1 } else { 0 };
    let sign = if number.starts_with('-') { "-" } else { "" };
    Some(format!("{sign}0{whole}.{kept}{last}"))
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_exact_to_twelve_places_and_shown_without_trailing_zeros() {
        for (text, shown) in [
            ("0.000123", "0.000123"),
            ("999999999999.999999999999", "999999999999.999999999999"),
            ("-999999999999.999999999999", "-999999999999.999999999999"),
            ("0.000000000001", "0.000000000001"),
            ("007.50", "7.5"),
            ("100", "100"),
            ("-0.00", "0"),
        ] {
            let amount: Amount = text.parse().unwrap();
            assert_eq!(amount.to_string(), shown);
            assert_eq!(serde_json::to_string(&amount).unwrap(), format!("\"{shown}\""));
        }
    }

    #[test]
    fn anything_else_is_no_amount() {
        for text in [
            "",
            "-",
            ".",
            "1.",
            ".5",
            "+1",
            "1,5",
            " 1",
            "1 ",
            "1e3",
            "NaN",
            "inf",
            "--1",
            "1.2.3",
            "٣",
            "1_000",
            "0x1",
            "1000000000000",
            "0.0000000000001",
        ] {
            assert_eq!(text.parse::<Amount>(), Err(InvalidAmount), "{text}");
        }
        assert_eq!("-1".parse::<Quantity>(), Err(InvalidQuantity));
        for json in ["1", "1.5", "null", "[]", "true", "1e400"] {
            assert!(serde_json::from_str::<Amount>(json).is_err(), "{json}");
            assert!(serde_json::from_str::<Quantity>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_foreign_amount_is_rounded_half_to_even() {
        for (text, shown) in [
            ("0.0000000000005", "0"),
            ("0.0000000000015", "0.000000000002"),
            ("0.0000000000025", "0.000000000002"),
            ("-0.0000000000035", "-0.000000000004"),
            ("0.00000000000250001", "0.000000000003"),
            ("1.5e-7", "0.00000015"),
            ("1.2345678901234E-05", "0.000012345679"),
            ("12", "12"),
            ("+.5", "0.5"),
            ("5.", "5"),
            ("-0e0", "0"),
            // More digits than any machine number has: the one behind the last decides, and what comes behind that.
            ("0.00000000000250000000000000000000000000000000000001", "0.000000000003"),
            ("0.00000000000250000000000000000000000000000000000000", "0.000000000002"),
            ("123456789012.12345678901250000000000000000000000000000001", "123456789012.123456789013"),
            ("0000000000000000000000000000000000000000012.5", "12.5"),
            ("0.00000000000000000000000000000000000000000000000125e+48", "1.25"),
            ("125e-2", "1.25"),
            ("1e-40", "0"),
        ] {
            assert_eq!(Amount::rounded(text).unwrap().to_string(), shown, "{text}");
        }
        for text in [
            "",
            ".",
            "-",
            "--1",
            "+-1",
            "1e",
            "1e1.5",
            "1e99999999999999999999",
            "1e1001",
            "e5",
            "abc",
            "1_000",
            "1,5",
            "٣",
            " 1",
            "1000000000000",
            "1e12",
            "999999999999.9999999999995",
            "NaN",
            "inf",
        ] {
            assert_eq!(Amount::rounded(text), Err(InvalidAmount), "{text}");
        }
    }

    #[test]
    fn a_part_is_taken_out_of_a_quantity_and_never_more_than_there_is() {
        let quantity = |text: &str| text.parse::<Quantity>().unwrap();
        assert_eq!(quantity("1000.5").minus(quantity("1000.5")), Some(quantity("0")));
        assert_eq!(quantity("3").minus(quantity("1.25")).unwrap().to_string(), "1.75");
        assert_eq!(quantity("3").minus(quantity("3.000000000001")), None);
    }
}
