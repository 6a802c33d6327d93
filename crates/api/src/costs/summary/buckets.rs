//! Cuts a range of time at the hours, days or months of a time zone's clock.

use chrono::{DateTime, Datelike as _, NaiveDate, Offset as _, TimeDelta, Timelike as _, Utc};
use chrono_tz::Tz;
use schemars::JsonSchema;
use serde::Deserialize;

/// What the read tables keep sums by. No clock on Earth is off UTC by anything but a multiple of it, nor was any since
/// 1972, so each hour, day and month of any of them is a number of whole quarters.
pub(super) const QUARTER: TimeDelta = TimeDelta::minutes(15);

/// What the rows of a summary are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(super) enum Bucket {
    Hour,
    Day,
    Month,
}

/// What the clock shows, as far as it tells buckets apart.
#[derive(PartialEq, Eq)]
enum Label {
    /// An hour that is set back is two: their offsets differ.
    Hour(NaiveDate, u32, i32),
    Day(NaiveDate),
    Month(i32, u32),
}

impl Bucket {
    fn at(self, time: DateTime<Utc>, zone: Tz) -> Label {
        let local = time.with_timezone(&zone);
        match self {
            Self::Hour => Label::Hour(local.date_naive(), local.hour(), local.offset().fix().local_minus_utc()),
            Self::Day => Label::Day(local.date_naive()),
            Self::Month => Label::Month(local.year(), local.month()),
        }
    }

    /// Where the bucket ends in which `time` lies, the beginning of a quarter.
    fn end(self, time: DateTime<Utc>, zone: Tz) -> DateTime<Utc> {
        let label = self.at(time, zone);
        let mut last = time;
        // What a clock shows once it shows for a while: nothing is missed between two steps with the same label.
        for step in [TimeDelta::days(1), TimeDelta::hours(1), QUARTER] {
            while self.at(last + step, zone) == label {
                last += step;
            }
        }
        last + QUARTER
    }

    /// The edges of all buckets from `from` to `to`, these two included; `None` when there are more than `most` buckets.
    pub(super) fn edges(
        self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        zone: Tz,
        most: usize,
    ) -> Option<Vec<DateTime<Utc>>> {
        let mut edges = vec![from];
        let mut edge = from;
        while edge < to {
            if edges.len() > most {
                return None;
            }
            edge = self.end(edge, zone).min(to);
            edges.push(edge);
        }
        Some(edges)
    }
}

/// Where the month begins in which `now` lies, and where it ends.
pub(super) fn month_of(now: DateTime<Utc>, zone: Tz) -> (DateTime<Utc>, DateTime<Utc>) {
    let mut first = now - since_quarter(now);
    let month = Bucket::Month.at(first, zone);
    for step in [TimeDelta::days(1), TimeDelta::hours(1), QUARTER] {
        while Bucket::Month.at(first - step, zone) == month {
            first -= step;
        }
    }
    (first, Bucket::Month.end(first, zone))
}

/// How long the quarter of an hour lasts by then; zero at its beginning.
pub(super) fn since_quarter(time: DateTime<Utc>) -> TimeDelta {
    let seconds = time.timestamp().rem_euclid(QUARTER.num_seconds());
    TimeDelta::seconds(seconds) + TimeDelta::nanoseconds(i64::from(time.timestamp_subsec_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    /// The edges as `day hour:minute` in UTC.
    fn cut(bucket: Bucket, zone: &str, from: &str, to: &str) -> Vec<String> {
        let edges = bucket.edges(utc(from), utc(to), zone.parse().unwrap(), 1000).unwrap();
        edges.iter().map(|edge| edge.format("%d %H:%M").to_string()).collect()
    }

    #[test]
    fn a_day_has_23_24_or_25_hours() {
        let days = cut(Bucket::Day, "Europe/Berlin", "2026-03-27T23:00:00Z", "2026-03-30T22:00:00Z");
        assert_eq!(days, ["27 23:00", "28 23:00", "29 22:00", "30 22:00"]);
        let days = cut(Bucket::Day, "America/New_York", "2026-10-31T04:00:00Z", "2026-11-03T05:00:00Z");
        assert_eq!(days, ["31 04:00", "01 04:00", "02 05:00", "03 05:00"]);
    }

    #[test]
    fn an_hour_that_is_set_back_is_two_and_one_that_is_left_out_is_none() {
        let hours = cut(Bucket::Hour, "Europe/Berlin", "2026-10-24T23:00:00Z", "2026-10-25T03:00:00Z");
        assert_eq!(hours, ["24 23:00", "25 00:00", "25 01:00", "25 02:00", "25 03:00"]);
        let hours = cut(Bucket::Hour, "Europe/Berlin", "2026-03-29T00:00:00Z", "2026-03-29T02:00:00Z");
        assert_eq!(hours, ["29 00:00", "29 01:00", "29 02:00"]);
    }

    #[test]
    fn where_a_clock_is_set_by_half_an_hour_two_hours_are_halves() {
        // 01:00 to 02:00, back to 01:30, 02:00.
        let hours = cut(Bucket::Hour, "Australia/Lord_Howe", "2026-04-04T14:00:00Z", "2026-04-04T16:30:00Z");
        assert_eq!(hours, ["04 14:00", "04 15:00", "04 15:30", "04 16:30"]);
        // 01:00 to 02:00, forward to 02:30, 03:00.
        let hours = cut(Bucket::Hour, "Australia/Lord_Howe", "2026-10-03T14:30:00Z", "2026-10-03T17:00:00Z");
        assert_eq!(hours, ["03 14:30", "03 15:30", "03 16:00", "03 17:00"]);
    }

    #[test]
    fn a_day_begins_at_the_first_of_two_midnights_and_without_one_at_one_o_clock() {
        // At 01:00 back to 00:00.
        let days = cut(Bucket::Day, "America/Havana", "2026-10-31T04:00:00Z", "2026-11-02T05:00:00Z");
        assert_eq!(days, ["31 04:00", "01 04:00", "02 05:00"]);
        // At 00:00 forward to 01:00.
        let days = cut(Bucket::Day, "Asia/Beirut", "2026-03-27T22:00:00Z", "2026-03-29T21:00:00Z");
        assert_eq!(days, ["27 22:00", "28 22:00", "29 21:00"]);
    }

    #[test]
    fn a_zone_may_be_off_by_half_an_hour_or_a_quarter() {
        let days = cut(Bucket::Day, "Asia/Kathmandu", "2026-11-01T18:15:00Z", "2026-11-03T18:15:00Z");
        assert_eq!(days, ["01 18:15", "02 18:15", "03 18:15"]);
        let hours = cut(Bucket::Hour, "Asia/Kathmandu", "2026-11-01T18:00:00Z", "2026-11-01T20:00:00Z");
        assert_eq!(hours, ["01 18:00", "01 18:15", "01 19:15", "01 20:00"]);
        let months = cut(Bucket::Month, "Australia/Adelaide", "2026-01-15T00:00:00Z", "2026-05-01T00:00:00Z");
        assert_eq!(months, ["15 00:00", "31 13:30", "28 13:30", "31 13:30", "30 14:30", "01 00:00"]);
    }

    #[test]
    fn more_buckets_than_wanted_are_none_and_not_made() {
        let (from, to) = (utc("2000-01-01T00:00:00Z"), utc("2200-01-01T00:00:00Z"));
        assert_eq!(Bucket::Month.edges(from, to, Tz::UTC, 2400).unwrap().len(), 2401);
        assert_eq!(Bucket::Month.edges(from, to, Tz::UTC, 2399), None);
        assert_eq!(Bucket::Hour.edges(from, to, Tz::UTC, 1000), None);
        assert_eq!(Bucket::Hour.edges(from, from + QUARTER, Tz::UTC, 1), Some(vec![from, from + QUARTER]));
    }

    #[test]
    fn the_month_of_a_time_is_that_of_the_zone() {
        let month = |now: &str, zone: &str| {
            let (from, to) = month_of(utc(now), zone.parse().unwrap());
            [from, to].map(|edge| edge.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
        };
        assert_eq!(month("2026-11-22T23:59:59.999999Z", "UTC"), ["2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"]);
        assert_eq!(month("2026-11-30T18:15:00Z", "Asia/Kathmandu"), ["2026-11-30T18:15:00Z", "2026-12-31T18:15:00Z"]);
        assert_eq!(month("2026-11-30T18:14:59Z", "Asia/Kathmandu"), ["2026-10-31T18:15:00Z", "2026-11-30T18:15:00Z"]);
        assert_eq!(month("2026-03-31T22:00:00Z", "Europe/Berlin"), ["2026-03-31T22:00:00Z", "2026-04-30T22:00:00Z"]);
    }
}
