//! Generated histories of ledgers: extreme amounts, several currencies, voids, ids used twice, and times around the borders of
//! months and days and the changes of clocks.

use chrono::{DateTime, TimeDelta, Utc};
use domain::ledger::Service;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::{Just, Strategy, any};
use proptest::prop_oneof;
use proptest::sample::{Index, select, subsequence};
use uuid::Uuid;

use super::fold::decimal;
use super::ledger::{Cost, cost};

/// Where clocks are changed, and where months begin somewhere.
const BORDERS: [&str; 12] = [
    "2026-11-01T00:00:00Z",
    "2026-12-01T00:00:00Z",
    "2027-01-01T00:00:00Z",
    "2026-03-29T01:00:00Z", // Berlin, forward
    "2026-10-25T01:00:00Z", // Berlin, back
    "2026-03-08T07:00:00Z", // New York, forward
    "2026-11-01T06:00:00Z", // New York, back
    "2026-10-03T15:30:00Z", // Lord Howe, forward by half an hour
    "2026-04-04T15:00:00Z", // Lord Howe, back
    "2026-11-01T05:00:00Z", // Havana, back to midnight
    "2026-10-31T18:15:00Z", // midnight in Kathmandu
    "2026-09-26T14:45:00Z", // Chatham, forward, with a quarter in its offset
];

/// Zones with and without changes of the clock, of an hour and of half an hour, off by halves and quarters.
pub(super) const ZONES: [&str; 9] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "America/Havana",
    "Pacific/Chatham",
    "America/St_Johns",
];

/// Tenants of a history.
pub(super) const TENANTS: usize = 2;

/// What happens in a history.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// A cost is recorded.
    Record(Cost),
    /// One of those recorded so far is voided, unless it is already.
    Void(Index),
    /// One of those recorded so far is recorded once more, which is refused.
    Again(Index),
}

/// Whose, what, and whether the command ends with it.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) tenant: usize,
    pub(super) what: What,
    pub(super) cut: bool,
}

/// A summary that is asked for.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) zone: &'static str,
    pub(super) bucket: Option<&'static str>,
    pub(super) group_by: Vec<&'static str>,
    pub(super) from: DateTime<Utc>,
    pub(super) to: DateTime<Utc>,
}

/// What happens, how it is looked at, and where its log is cut when it is projected once more.
#[derive(Clone, Debug)]
pub(super) struct History {
    pub(super) steps: Vec<Step>,
    pub(super) views: Vec<View>,
    pub(super) cuts: Vec<Index>,
}

pub(super) fn histories() -> impl Strategy<Value = History> {
    (vec(step(), 1..40), vec(view(), 6), vec(any::<Index>(), 0..6)).prop_map(|(steps, views, cuts)| History {
        steps,
        views,
        cuts,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let what = prop_oneof![
        7 => charged().prop_map(What::Record),
        2 => any::<Index>().prop_map(What::Void),
        1 => any::<Index>().prop_map(What::Again),
    ];
    (0..TENANTS, what, any::<bool>()).prop_map(|(tenant, what, cut)| Step { tenant, what, cut })
}

/// A time near a border, often exactly there or just before.
fn time() -> impl Strategy<Value = DateTime<Utc>> {
    let away = prop_oneof![
        Just(TimeDelta::zero()),
        Just(TimeDelta::microseconds(-1)),
        (-110..110_i64).prop_map(|quarters| TimeDelta::minutes(15 * quarters)),
        (-100_000_000_000..100_000_000_000_i64).prop_map(TimeDelta::microseconds),
    ];
    (select(BORDERS.as_slice()), away).prop_map(|(border, away)| border.parse::<DateTime<Utc>>().unwrap() + away)
}

/// Counts of 10^-12, up to the largest that has 12 digits before the point.
fn quantity() -> impl Strategy<Value = i128> {
    const MOST: i128 = 10_i128.pow(24) - 1;
    prop_oneof![Just(0), Just(1), Just(MOST), 0..=MOST, 0..10_000_000_000_000_i128]
}

fn charged() -> impl Strategy<Value = Cost> {
    let ids = || option::of((1..3_u128).prop_map(Uuid::from_u128));
    let used = btree_map(select(["output_text", "audio_seconds", "frames"].as_slice()), quantity(), 0..3);
    // A price in a currency, a currency without a price, neither.
    let price =
        (option::weighted(0.8, (quantity(), any::<bool>())), option::of(select(["USD", "EUR", "JPY"].as_slice())));
    let kind =
        (select([Service::Llm, Service::Voice].as_slice()), select(["a", "b"].as_slice()), option::of(Just("m")));
    (time(), kind, price, used, ids(), ids()).prop_map(
        |(at, (service, provider, model), (amount, currency), used, session, message)| {
            let amount = amount.map(|(size, credit)| decimal(if credit { -size } else { size }));
            let currency = currency.or(amount.as_ref().map(|_| "USD"));
            let lines: Vec<_> = used.iter().map(|(name, quantity)| (*name, decimal(*quantity), "units")).collect();
            let lines: Vec<_> = lines.iter().map(|(name, quantity, unit)| (*name, quantity.as_str(), *unit)).collect();
            cost(&at.to_rfc3339(), amount.as_deref(), currency).using(&lines).with(|charge| {
                (charge.service, charge.provider, charge.model) = (service, provider.into(), model.map(str::to_owned));
                (charge.session_id, charge.message_id) = (session, message);
            })
        },
    )
}

fn view() -> impl Strategy<Value = View> {
    let edge = || (select(BORDERS.as_slice()), -200..200_i64);
    let bucket = option::weighted(0.9, select(["hour", "day", "month"].as_slice()));
    let group_by = subsequence(vec!["service", "provider", "model", "session"], 0..=4);
    (select(ZONES.as_slice()), bucket, group_by, edge(), edge()).prop_map(|(zone, bucket, group_by, one, other)| {
        let time = |(border, quarters): (&str, i64)| {
            border.parse::<DateTime<Utc>>().unwrap() + TimeDelta::minutes(15 * quarters)
        };
        let (from, to) = (time(one).min(time(other)), time(one).max(time(other)));
        // As many hours as may be told.
        let most = if bucket == Some("hour") { from + TimeDelta::hours(980) } else { to };
        View { zone, bucket, group_by, from, to: to.min(most).max(from + TimeDelta::minutes(15)) }
    })
}
