//! When a cost occurred, in the spellings of the common exports; without a zone it is UTC.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, SubsecRound as _, Utc};

use super::super::told::Told;

/// Numbers from here on are milliseconds since 1970, others seconds.
const MILLISECONDS_FROM: i64 = 100_000_000_000;
/// What it must look like.
const EXPECTED: &str = "must be a time: RFC 3339, `2026-11-02 09:30:00` or `2026-11-02` in UTC, or seconds or \
                        milliseconds since 1970";

/// Reads a time, down to microseconds.
pub(super) fn read(told: &Told) -> Result<DateTime<Utc>, String> {
    let time = match told {
        Told::Number(text) => of_number(text),
        Told::Text(text) => of_text(text.trim()).or_else(|| of_number(text.trim())),
        Told::Other(_) => None,
    };
    time.map(|time| time.trunc_subsecs(6)).ok_or_else(|| EXPECTED.to_owned())
}

fn of_text(text: &str) -> Option<DateTime<Utc>> {
    let text = text.strip_suffix(" UTC").unwrap_or(text);
    let zoned = || {
        let formats = ["%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f %#z"];
        formats.iter().find_map(|format| DateTime::parse_from_str(text, format).ok())
    };
    let zoneless = || {
        let formats = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M"];
        formats.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
    };
    let day = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().map(|day| day.and_time(NaiveTime::MIN));
    let rfc_3339 = DateTime::parse_from_rfc3339(text).ok();
    rfc_3339
        .or_else(zoned)
        .map(|time| time.with_timezone(&Utc))
        .or_else(|| zoneless().or_else(day).map(|time| time.and_utc()))
}

/// Digits, perhaps a point and digits again: no arithmetic on fractions.
fn of_number(text: &str) -> Option<DateTime<Utc>> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let all = whole.bytes().chain(fraction.bytes());
    if whole.is_empty() || !all.into_iter().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    let digits = |count: usize| format!("{:0<count$}", fraction.get(..count).unwrap_or(fraction)).parse::<i64>().ok();
    let micros = match whole {
        MILLISECONDS_FROM.. => whole.checked_mul(1_000)?.checked_add(digits(3)?)?,
        _ => whole.checked_mul(1_000_000)?.checked_add(digits(6)?)?,
    };
    DateTime::from_timestamp_micros(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_in_any_common_spelling() {
        for (text, expected) in [
            ("2026-11-02T09:30:00Z", "2026-11-02T09:30:00+00:00"),
            ("2026-11-02T09:30:00.1234567+01:00", "2026-11-02T08:30:00.123456+00:00"),
            ("2026-11-02 09:30:00", "2026-11-02T09:30:00+00:00"),
            ("2026-11-02 09:30:00.25", "2026-11-02T09:30:00.250+00:00"),
            ("2026-11-02T09:30:00", "2026-11-02T09:30:00+00:00"),
            ("2026-11-02 09:30", "2026-11-02T09:30:00+00:00"),
            ("2026-11-02 09:30:00.5+02", "2026-11-02T07:30:00.500+00:00"),
            ("2026-11-02 09:30:00 +0200", "2026-11-02T07:30:00+00:00"),
            ("2026-11-02 09:30:00 UTC", "2026-11-02T09:30:00+00:00"),
            (" 2026-11-02 ", "2026-11-02T00:00:00+00:00"),
            ("1762075800", "2025-11-02T09:30:00+00:00"),
            ("1762075800.1234569", "2025-11-02T09:30:00.123456+00:00"),
            ("1762075800123", "2025-11-02T09:30:00.123+00:00"),
            ("1762075800123.5", "2025-11-02T09:30:00.123500+00:00"),
        ] {
            assert_eq!(read(&Told::Text(text.to_owned())).unwrap().to_rfc3339(), expected, "{text}");
        }
        let number = Told::Number("1762075800.5".to_owned());
        assert_eq!(read(&number).unwrap().to_rfc3339(), "2025-11-02T09:30:00.500+00:00");
    }

    #[test]
    fn anything_else_is_no_time() {
        for text in
            ["", "Total", "02/11/2026", "2026-13-01", "2026-02-30", "-5", "1e9", "1.2.3", "9223372036854775807", "."]
        {
            assert!(read(&Told::Text(text.to_owned())).is_err(), "{text}");
        }
        assert!(read(&Told::Other("true".to_owned())).is_err());
    }
}
