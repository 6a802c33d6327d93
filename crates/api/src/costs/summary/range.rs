//! The range of a summary: its edges on quarters of an hour, its buckets few enough to be told.

use chrono::{DateTime, Utc};
use domain::Period;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::MAX_ROWS;
use super::buckets::{Bucket, month_of, since_quarter};
use crate::violation::Violation;

/// The edges of a range's buckets, in order; each bucket lies between two neighbours.
#[derive(Debug)]
pub(super) struct Range(pub(super) Vec<DateTime<Utc>>);

impl Range {
    /// What was asked for, if it can be answered; by default the month of `now`.
    pub(super) fn check(
        from: Option<DateTime<Utc>>,
        to: Option<DateTime<Utc>>,
        bucket: Option<Bucket>,
        zone: &str,
        now: DateTime<Utc>,
    ) -> Result<Self, Violation> {
        let zone = time_zone(zone)?;
        let (month, end) = month_of(now, &zone);
        let (from, to) = (edge("from", from.unwrap_or(month))?, edge("to", to.unwrap_or(end))?);
        if from >= to {
            return Err(Violation::in_query("to", "empty_range", "must be later than from"));
        }
        let Some(bucket) = bucket else { return Ok(Self(vec![from, to])) };
        bucket.edges(from, to, &zone, MAX_ROWS).map(Self).ok_or_else(|| {
            let detail =
                format!("the range has more than {MAX_ROWS} of these; ask for a shorter range or for longer buckets");
            Violation::in_query("bucket", "too_many_rows", &detail)
        })
    }
}

/// By its name in the IANA database. The rules are those that the binary was built with, wherever it runs.
pub(crate) fn time_zone(name: &str) -> Result<TimeZone, Violation> {
    let zone = TimeZoneDatabase::bundled().get(name).ok().filter(|zone| !zone.is_unknown());
    zone.ok_or_else(|| {
        let detail = "is no name of the IANA time zone database, for example Europe/Berlin";
        Violation::in_query("timezone", "unknown_time_zone", detail)
    })
}

/// A time at which a sum can begin or end.
fn edge(parameter: &str, time: DateTime<Utc>) -> Result<DateTime<Utc>, Violation> {
    if !since_quarter(time).is_zero() {
        let detail = "must be on a quarter of an hour: minute 00, 15, 30 or 45, without seconds";
        return Err(Violation::in_query(parameter, "not_on_a_quarter", detail));
    }
    // There are no costs of other times.
    let period = Period::of(time);
    period.map_err(|_other| Violation::in_query(parameter, "out_of_range", "must be within the years 2000 to 2199"))?;
    Ok(time)
}
