//! What must be true whatever has gone wrong, compared on what is stored, what was acknowledged and what was heard.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::postgres::{PgPool, PgRow};
use sqlx::{FromRow, Row as _};
use uuid::Uuid;

use super::books::Books;
use super::memory::{Fact, Kind, Memory};
use super::report::Violation;
use crate::lag;

/// What the read tables must hold, worked out from the log by plain SQL.
const ORACLES: [&str; 2] = [
    include_str!("../../../tests/integration/faults/oracle.sql"),
    include_str!("../../../tests/integration/faults/oracle_ledger.sql"),
];
/// Lines of a check that are told; the others are counted.
const TOLD: usize = 5;

/// An event of the log.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) tenant_id: Uuid,
    pub(crate) seq: i64,
    pub(crate) version: i64,
    pub(crate) name: String,
    pub(crate) marker: Option<String>,
    pub(crate) id: Uuid,
    pub(crate) period: Option<String>,
    pub(crate) amount: Option<Decimal>,
    pub(crate) currency: Option<String>,
    pub(crate) event_id: Uuid,
}

impl<'r> FromRow<'r, PgRow> for Row {
    fn from_row(row: &'r PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            tenant_id: row.try_get("tenant_id")?,
            seq: row.try_get("seq")?,
            version: row.try_get("version")?,
            name: row.try_get("name")?,
            marker: row.try_get("marker")?,
            id: row.try_get("id")?,
            period: row.try_get("period")?,
            amount: row.try_get("amount")?,
            currency: row.try_get("currency")?,
            event_id: row.try_get("event_id")?,
        })
    }
}

/// Collects what is wrong; many lines of one kind become a few and a number.
#[derive(Default)]
pub(crate) struct Found(BTreeMap<&'static str, Vec<String>>);

impl Found {
    pub(crate) fn add(&mut self, check: &'static str, what: String) {
        self.0.entry(check).or_default().push(what);
    }

    fn all(self) -> Vec<Violation> {
        let mut violations = Vec::new();
        for (check, lines) in self.0 {
            let more = lines.len().saturating_sub(TOLD);
            violations.extend(lines.into_iter().take(TOLD).map(|what| Violation { check, what }));
            if more > 0 {
                violations.push(Violation { check, what: format!("and {more} more") });
            }
        }
        violations
    }
}

/// All that can be compared while nothing is under way.
pub(crate) async fn all(
    database: &PgPool,
    tenants: &[Uuid],
    memory: &Memory,
    books: &Books,
) -> anyhow::Result<Vec<Violation>> {
    let mut found = Found::default();
    let gaps: Vec<(String, String)> = sqlx::query_as(include_str!("gaps.sql")).fetch_all(database).await?;
    for (what, line) in gaps {
        found.add(if what == "gap" { "gap" } else { "stream" }, line);
    }
    for line in lag(database).await? {
        found.add("lag", line);
    }
    for oracle in ORACLES {
        for line in sqlx::query_scalar::<_, String>(oracle).fetch_all(database).await? {
            found.add("oracle", line);
        }
    }
    let log: Vec<Row> = sqlx::query_as(include_str!("log.sql")).fetch_all(database).await?;
    remembered(&log, tenants, memory, &mut found);
    sums(database, &log, tenants, memory, &mut found).await?;
    booked(&log, books, &mut found);
    Ok(found.all())
}

/// Events of all logs that are not in the read tables, and that the relay has yet to publish.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Behind {
    pub(crate) unprojected: u64,
    pub(crate) unpublished: u64,
}

/// How far read tables and relay are behind.
pub(crate) async fn behind(database: &PgPool) -> anyhow::Result<Behind> {
    let unprojected = lag::of(lag::PROJECTOR, database).await?.into();
    let unpublished = lag::of(lag::RELAY, database).await?.into();
    Ok(Behind { unprojected, unpublished })
}

/// Tenants that are behind.
async fn lag(database: &PgPool) -> anyhow::Result<Vec<String>> {
    Ok(sqlx::query_scalar(include_str!("lag.sql")).fetch_all(database).await?)
}

/// Every acknowledged event is there as it was said, none twice, and none that nobody has sent for.
fn remembered(log: &[Row], tenants: &[Uuid], memory: &Memory, found: &mut Found) {
    let mut seen: HashMap<&str, &Row> = HashMap::new();
    for row in log {
        let place = format!("tenant {} seq {} {}", row.tenant_id, row.seq, row.name);
        let fact = row.marker.as_deref().and_then(|marker| Some((marker, memory.facts.get(marker)?)));
        let Some((marker, fact)) = fact else {
            found.add("invented", format!("{place}: nobody has sent for {:?}", row.marker));
            continue;
        };
        if let Some(first) = seen.insert(marker, row) {
            found.add("twice", format!("{place}: {marker} is at {} already", first.seq));
        }
        if tenants.get(fact.tenant) != Some(&row.tenant_id) || fact.kind.event_name() != row.name {
            found.add("changed", format!("{place}: {marker} was {fact:?}"));
        }
        let amount = fact.amount.map(exact);
        if is_money(fact.kind) && (row.amount != amount || row.currency.as_deref() != fact.currency) {
            found.add("changed", format!("{place}: {:?} {:?} was sent as {fact:?}", row.amount, row.currency));
        }
        let Some(told) = fact.told else { continue };
        let (seq, version) = (row.seq.cast_unsigned(), row.version.cast_unsigned());
        let same = told.seq.is_none_or(|it| it == seq) && told.version.is_none_or(|it| it == version);
        if !same || told.id.is_some_and(|id| id != row.id) {
            found.add(
                "changed",
                format!("{place} version {version} id {}: {marker} was acknowledged as {told:?}", row.id),
            );
        }
    }
    for (marker, fact) in &memory.facts {
        if fact.told.is_some() && !seen.contains_key(marker.as_str()) {
            let tenant = tenants.get(fact.tenant);
            found.add("lost", format!("tenant {tenant:?}: {marker} was acknowledged: {fact:?}"));
        }
    }
}

fn is_money(kind: Kind) -> bool {
    matches!(kind, Kind::Cost | Kind::Void)
}

fn exact(amount: &str) -> Decimal {
    Decimal::from_str_exact(amount).unwrap_or(Decimal::MAX)
}

/// Tenant, period, currency.
type Ledger = (Uuid, String, Option<String>);

/// Recorded, voided, unpriced, amount: `None` where nothing priced was recorded.
type Sum = (i64, i64, i64, Option<Decimal>);

fn add(sums: &mut BTreeMap<Ledger, Sum>, ledger: Ledger, kind: Kind, amount: Option<Decimal>) {
    let sum = sums.entry(ledger).or_default();
    let sign = if kind == Kind::Cost { 1 } else { -1 };
    match kind {
        Kind::Cost => sum.0 += 1,
        Kind::Void => sum.1 += 1,
        Kind::Started | Kind::Ended | Kind::Message => return,
    }
    match amount {
        Some(amount) => sum.3 = Some(sum.3.unwrap_or_default() + Decimal::from(sign) * amount),
        None => sum.2 += sign,
    }
}

/// The sums of the read tables are those of what the clients have sent, not of what the log says they sent.
async fn sums(
    database: &PgPool,
    log: &[Row],
    tenants: &[Uuid],
    memory: &Memory,
    found: &mut Found,
) -> anyhow::Result<()> {
    let by_marker: HashMap<&str, &Row> = log.iter().filter_map(|row| Some((row.marker.as_deref()?, row))).collect();
    let mut sent = BTreeMap::new();
    for (marker, Fact { tenant, kind, amount, currency, told, .. }) in &memory.facts {
        // Whether it was done is known from the log when nobody was told; in which month, when the server chose it.
        let period = by_marker.get(marker.as_str()).and_then(|row| row.period.clone());
        let (true, Some(tenant)) = (is_money(*kind) && (told.is_some() || period.is_some()), tenants.get(*tenant))
        else {
            continue;
        };
        let ledger = (*tenant, period.unwrap_or_default(), currency.map(str::to_owned));
        add(&mut sent, ledger, *kind, amount.map(exact));
    }
    type Total = (Uuid, String, Option<String>, i64, i64, i64, Option<Decimal>);
    let read: Vec<Total> = sqlx::query_as(
        "select tenant_id, period, currency, recorded, voided, unpriced, amount from cost_period_totals",
    )
    .fetch_all(database)
    .await?;
    let read: BTreeMap<Ledger, Sum> = read
        .into_iter()
        .map(|(tenant, period, currency, recorded, voided, unpriced, amount)| {
            ((tenant, period, currency), (recorded, voided, unpriced, amount))
        })
        .collect();
    for ledger in sent.keys().chain(read.keys().filter(|ledger| !sent.contains_key(*ledger))) {
        let (sent, read) = (sent.get(ledger), read.get(ledger));
        if sent != read {
            found.add("sums", format!("{ledger:?}: sent {sent:?}, read {read:?}"));
        }
    }
    Ok(())
}

/// The consumer has every event of every ledger, once and as it is.
fn booked(log: &[Row], books: &Books, found: &mut Found) {
    let mut wanted = 0;
    for row in log.iter().filter(|row| row.period.is_some()) {
        wanted += 1;
        let ledger = (row.tenant_id, format!("ledger/{}", row.period.as_deref().unwrap_or_default()));
        let entry = books.ledgers.get(&ledger).and_then(|entries| entries.get(&row.version.cast_unsigned()));
        let same = entry.is_some_and(|entry| {
            entry.id == row.event_id.to_string()
                && entry.seq == row.seq.cast_unsigned()
                && entry.kind == format!("convolog.ledger.{}.v1", row.name)
                && entry.amount.as_deref().map(exact) == row.amount
                && entry.currency == row.currency
        });
        if !same {
            found.add("books", format!("{ledger:?} {} seq {}: the consumer has {entry:?}", row.version, row.seq));
        }
    }
    let kept: usize = books.ledgers.values().map(BTreeMap::len).sum();
    if kept != wanted {
        found.add("books", format!("the consumer has {kept} events, the ledgers have {wanted}"));
    }
    for contradiction in &books.contradictions {
        found.add("books", contradiction.clone());
    }
}

/// The time by the only clock that a run has.
#[expect(clippy::disallowed_methods, reason = "the benchmark has no other clock")]
pub(crate) fn now() -> DateTime<Utc> {
    Utc::now()
}
