//! A tenant's ledgers folded from the JSON of its events, by nothing of the product: numbers are counts of 10^-12.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;

/// Seconds of a quarter of an hour.
pub(crate) const QUARTER: i64 = 900;

/// What stands for nothing in a key.
pub(crate) const NONE: &str = "∅";

/// One event of a ledger.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Where the quarter of an hour begins in which the cost occurred, in seconds.
    pub(crate) quarter: i64,
    pub(crate) period: String,
    pub(crate) version: i64,
    /// 1 for a cost, -1 for a void.
    pub(crate) sign: i128,
    pub(crate) service: String,
    pub(crate) provider: String,
    pub(crate) model: String,
    pub(crate) session: String,
    pub(crate) message: String,
    pub(crate) currency: String,
    pub(crate) amount: Option<i128>,
    /// Type, unit, quantity.
    pub(crate) usage: Vec<(String, String, i128)>,
}

/// What costs come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Money {
    pub(crate) amount: Option<i128>,
    pub(crate) recorded: i64,
    pub(crate) voided: i64,
    pub(crate) unpriced: i64,
}

/// The ledgers' lines among a tenant's CloudEvents.
pub(crate) fn lines(events: &[Value]) -> Vec<Line> {
    events.iter().filter_map(line).collect()
}

fn line(event: &Value) -> Option<Line> {
    let data = &event["data"];
    let (sign, time) = match event["type"].as_str()? {
        "convolog.ledger.cost_recorded.v1" => (1, &event["time"]),
        "convolog.ledger.cost_voided.v1" => (-1, &data["occurred_at"]),
        _ => return None,
    };
    let time: DateTime<Utc> = time.as_str().unwrap().parse().unwrap();
    let charge = &data["charge"];
    let text = |name: &str| charge[name].as_str().unwrap_or(NONE).to_owned();
    let period = event["subject"].as_str().unwrap().strip_prefix("ledger/").unwrap().to_owned();
    assert_eq!(period, time.format("%Y-%m").to_string(), "a line stands in the ledger of its cost");
    let usage = charge["usage"].as_array().into_iter().flatten().map(|line| {
        let member = |name: &str| line[name].as_str().unwrap().to_owned();
        (member("type"), member("unit"), pico(&member("quantity")))
    });
    Some(Line {
        quarter: time.timestamp().div_euclid(QUARTER) * QUARTER,
        period,
        version: event["streamversion"].as_i64().unwrap(),
        sign,
        service: text("service"),
        provider: text("provider"),
        model: text("model"),
        session: text("session_id"),
        message: text("message_id"),
        currency: text("currency"),
        amount: charge["amount"].as_str().map(pico),
        usage: usage.collect(),
    })
}

/// What lines with the same key come to.
pub(crate) fn sums<'a>(
    lines: impl IntoIterator<Item = &'a Line>,
    key: impl Fn(&Line) -> String,
) -> BTreeMap<String, Money> {
    let mut sums: BTreeMap<String, Money> = BTreeMap::new();
    for line in lines {
        let sum = sums.entry(key(line)).or_default();
        sum.recorded += i64::from(line.sign > 0);
        sum.voided += i64::from(line.sign < 0);
        match line.amount {
            Some(amount) => sum.amount = Some(sum.amount.unwrap_or(0) + line.sign * amount),
            None => sum.unpriced += if line.sign > 0 { 1 } else { -1 },
        }
    }
    sums
}

/// What was used in lines with the same key, by type and unit.
pub(crate) fn usage<'a>(
    lines: impl IntoIterator<Item = &'a Line>,
    key: impl Fn(&Line) -> String,
) -> BTreeMap<String, i128> {
    let mut sums = BTreeMap::new();
    for line in lines {
        for (r#type, unit, quantity) in &line.usage {
            *sums.entry(format!("{}|{type}|{unit}", key(line))).or_default() += line.sign * quantity;
        }
    }
    sums
}

/// Reads a decimal number of at most 12 places.
pub(crate) fn pico(text: &str) -> i128 {
    let (digits, sign) = text.strip_prefix('-').map_or((text, 1), |digits| (digits, -1));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    assert!(fraction.len() <= 12 && !whole.is_empty(), "{text}");
    sign * format!("{whole}{fraction:0<12}").parse::<i128>().unwrap()
}

/// Writes it without trailing zeros.
pub(crate) fn decimal(pico: i128) -> String {
    let (sign, digits) = (if pico < 0 { "-" } else { "" }, pico.unsigned_abs());
    let one = 1_000_000_000_000;
    let fraction = format!("{:012}", digits % one);
    format!("{sign}{}.{fraction}", digits / one).trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Reads a sum as the API writes it, which has one spelling.
pub(crate) fn canonical(text: &str) -> i128 {
    let number = pico(text);
    assert_eq!(decimal(number), text, "a sum has no trailing zeros");
    number
}

/// Totals as the API tells them, by currency.
pub(crate) fn totals(told: &Value) -> BTreeMap<String, Money> {
    let rows = told.as_array().unwrap().iter().map(|total| {
        let count = |name: &str| total[name].as_i64().unwrap();
        let money = Money {
            amount: total["amount"].as_str().map(canonical),
            recorded: count("recorded"),
            voided: count("voided"),
            unpriced: count("unpriced"),
        };
        (total["currency"].as_str().unwrap_or(NONE).to_owned(), money)
    });
    let totals: BTreeMap<String, Money> = rows.collect();
    assert_eq!(totals.len(), told.as_array().unwrap().len(), "a currency has one total: {told}");
    totals
}
