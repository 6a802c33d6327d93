//! Periods: the calendar months, in UTC, by which costs are kept.

use chrono::{DateTime, Datelike as _, Utc};
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use crate::TenantId;

/// A calendar month in UTC, written `2026-11`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Period {
    year: u16,
    month: u8,
}

/// What a [`Period`] looks like.
pub const PERIOD_PATTERN: &str = "^2[01][0-9]{2}-(0[1-9]|1[0-2])$";

/// Not a month of the years 2000 to 2199, written like `2026-11`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a month of the years 2000 to 2199, for example 2026-11")]
pub struct InvalidPeriod;

impl Period {
    const YEARS: std::ops::RangeInclusive<u16> = 2000..=2199;

    fn new(year: u16, month: u8) -> Result<Self, InvalidPeriod> {
        if Self::YEARS.contains(&year) && (1..=12).contains(&month) {
            Ok(Self { year, month })
        } else {
            Err(InvalidPeriod)
        }
    }

    /// The month in which this time lies.
    pub fn of(time: DateTime<Utc>) -> Result<Self, InvalidPeriod> {
        let year = u16::try_from(time.year()).map_err(|_range| InvalidPeriod)?;
        Self::new(year, u8::try_from(time.month()).map_err(|_range| InvalidPeriod)?)
    }

    /// Reads `2026-11`.
    pub fn parse(text: &str) -> Result<Self, InvalidPeriod> {
        let (year, month) = text.split_once('-').ok_or(InvalidPeriod)?;
        if (year.len(), month.len()) != (4, 2) || !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
            return Err(InvalidPeriod);
        }
        Self::new(year.parse().map_err(|_digits| InvalidPeriod)?, month.parse().map_err(|_digits| InvalidPeriod)?)
    }

    /// The name of its ledger, the subject of the ledger's events: `ledger/2026-11`.
    pub fn ledger(self) -> String {
        format!("ledger/{self}")
    }

    /// The id of the stream in which a tenant's ledger of this period is kept: UUIDv5 of the ledger's name, in the
    /// tenant's name space.
    pub fn stream(self, tenant: TenantId) -> Uuid {
        Uuid::new_v5(&tenant.0, self.ledger().as_bytes())
    }

    /// Whether this is the id of a ledger's stream of the tenant, of whatever period: no other stream may have it.
    pub fn is_stream(tenant: TenantId, id: Uuid) -> bool {
        // Only a few ids are of this kind, so hashing the names of all periods is no burden.
        id.get_version_num() == 5
            && Self::YEARS
                .flat_map(|year| (1..=12).map(move |month| Self { year, month }))
                .any(|it| it.stream(tenant) == id)
    }
}

impl std::fmt::Display for Period {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

impl Serialize for Period {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_the_month_in_utc() {
        for (time, period) in [
            ("2026-11-01T00:00:00Z", "2026-11"),
            ("2026-10-31T23:59:59.999999Z", "2026-10"),
            ("2026-11-01T00:30:00+01:00", "2026-10"),
            ("2024-02-29T12:00:00Z", "2024-02"),
        ] {
            assert_eq!(Period::of(time.parse().unwrap()).unwrap().to_string(), period);
        }
        assert!(Period::of("1999-12-31T23:59:59Z".parse().unwrap()).is_err());
        assert!(Period::of("2200-01-01T00:00:00Z".parse().unwrap()).is_err());
    }

    #[test]
    fn only_its_one_spelling_is_read() {
        assert_eq!(Period::parse("2026-01").unwrap().to_string(), "2026-01");
        for text in [
            "",
            "2026",
            "2026-1",
            "2026-13",
            "2026-00",
            "26-01",
            "2026-01-01",
            "+026-01",
            "2026-+1",
            "1999-01",
            "2026/01",
        ] {
            assert_eq!(Period::parse(text), Err(InvalidPeriod), "{text}");
        }
    }

    #[test]
    fn the_streams_of_ledgers_are_known_by_their_ids() {
        let (tenant, other) = (TenantId(Uuid::from_u128(1)), TenantId(Uuid::from_u128(2)));
        let stream = Period::parse("2026-11").unwrap().stream(tenant);
        assert_eq!(stream, Uuid::new_v5(&tenant.0, b"ledger/2026-11"));
        assert!(Period::is_stream(tenant, stream));
        assert!(!Period::is_stream(other, stream));
        assert!(!Period::is_stream(tenant, Uuid::new_v5(&tenant.0, b"something else")));
        assert!(!Period::is_stream(tenant, Uuid::from_u128(5)));
    }
}
