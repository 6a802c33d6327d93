//! Times in query strings, as RFC 3339 writes them.

use std::borrow::Cow;

use chrono::{DateTime, Datelike as _, Utc};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

/// A time of the years that RFC 3339 can write, which PostgreSQL can compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment(pub(crate) DateTime<Utc>);

impl Moment {
    /// `None` for times that no text of RFC 3339 says.
    pub(crate) fn of_micros(micros: i64) -> Option<Self> {
        DateTime::from_timestamp_micros(micros).and_then(Self::of)
    }

    fn of(time: DateTime<Utc>) -> Option<Self> {
        // Four digits, and a day more in either direction, into which an offset may lead.
        (-1..=10_000).contains(&time.year()).then_some(Self(time))
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let time = DateTime::parse_from_rfc3339(&text).ok().and_then(|time| Self::of(time.to_utc()));
        time.ok_or_else(|| de::Error::custom("must be a time as in 2026-11-22T18:00:00Z"))
    }
}

impl JsonSchema for Moment {
    fn schema_name() -> Cow<'static, str> {
        "Moment".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "date-time"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_as_in_rfc_3339() {
        let read = |text: &str| serde_json::from_value::<Moment>(text.into()).ok();
        let utc = read("2026-11-22T18:00:00.000001Z");
        assert_eq!(utc, Moment::of_micros(1_795_370_400_000_001));
        assert_eq!(utc, read("2026-11-22T19:00:00.000001+01:00"));
        for extreme in ["0000-01-01T00:00:00+23:59", "9999-12-31T23:59:60-23:59"] {
            assert!(read(extreme).is_some(), "{extreme}");
        }
        for text in ["", "now", "2026-11-22", "2026-11-22T18:00:00", "+12026-11-22T18:00:00Z", "1795370400", "infinity"]
        {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(Moment::of_micros(i64::MAX), None);
        assert_eq!(Moment::of_micros(-8_000_000_000_000_000_000), None);
    }
}
