//! Projection `cost_sums`: what costs and usage add up to, by quarter of an hour, session, message and period.
//!
//! Every row is a sum to which events add in any order. PostgreSQL adds, exactly.

use chrono::{DateTime, Utc};
use domain::{Amount, Currency};
use rust_decimal::Decimal;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::ledger_entry::Entry;
use crate::projection::{Projected, Projection, Table, Write};

/// See the module.
pub(crate) struct CostSums;

/// Seconds of a bucket: what the offsets of all of today's time zones are multiples of.
const BUCKET: i64 = 15 * 60;

impl Projection for CostSums {
    fn name(&self) -> &'static str {
        "cost_sums"
    }

    fn version(&self) -> i32 {
        1
    }

    fn tables(&self) -> &'static [Table] {
        &[
            Table {
                name: "cost_summaries",
                key: &["bucket", "service", "provider", "model", "session_id", "currency"],
            },
            Table {
                name: "usage_summaries",
                key: &["bucket", "service", "provider", "model", "session_id", "type", "unit"],
            },
            Table { name: "session_costs", key: &["session_id", "currency"] },
            Table { name: "message_costs", key: &["message_id", "currency"] },
            Table { name: "cost_periods", key: &["period"] },
            Table { name: "cost_period_totals", key: &["period", "currency"] },
        ]
    }

    fn write<'a>(&'a self, connection: &'a mut PgConnection, events: &'a [Projected<'a>]) -> Write<'a> {
        Box::pin(async move {
            let entries = Entry::of(events);
            if entries.is_empty() {
                return Ok(());
            }
            add_costs(connection, &entries).await?;
            add_usage(connection, &entries).await
        })
    }
}

/// The beginning of the bucket in which a cost occurred.
fn bucket(entry: &Entry<'_>) -> DateTime<Utc> {
    let occurred_at = entry.occurred_at();
    let seconds = occurred_at.timestamp();
    DateTime::from_timestamp(seconds - seconds.rem_euclid(BUCKET), 0).unwrap_or(occurred_at)
}

async fn add_costs(connection: &mut PgConnection, entries: &[Entry<'_>]) -> Result<(), sqlx::Error> {
    let charges = || entries.iter().map(Entry::charge);
    sqlx::query(include_str!("cost_sums/costs.sql"))
        .bind(entries.iter().map(Entry::tenant).collect::<Vec<_>>())
        .bind(entries.iter().map(Entry::period).collect::<Vec<_>>())
        .bind(entries.iter().map(|entry| entry.event.version.cast_signed()).collect::<Vec<_>>())
        .bind(entries.iter().map(bucket).collect::<Vec<_>>())
        .bind(entries.iter().map(Entry::sign).collect::<Vec<_>>())
        .bind(charges().map(|charge| charge.service.as_str()).collect::<Vec<_>>())
        .bind(charges().map(|charge| charge.provider.as_str()).collect::<Vec<_>>())
        .bind(charges().map(|charge| charge.model.as_deref()).collect::<Vec<_>>())
        .bind(charges().map(|charge| charge.session_id).collect::<Vec<_>>())
        .bind(charges().map(|charge| charge.message_id).collect::<Vec<_>>())
        .bind(charges().map(|charge| charge.currency.as_ref().map(Currency::as_str)).collect::<Vec<_>>())
        .bind(charges().map(|charge| charge.amount.map(Amount::decimal)).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}

/// A column for each part of a line's key, and what the line adds.
#[derive(Default)]
struct Usage<'a> {
    tenants: Vec<Uuid>,
    buckets: Vec<DateTime<Utc>>,
    signs: Vec<i64>,
    services: Vec<&'static str>,
    providers: Vec<&'a str>,
    models: Vec<Option<&'a str>>,
    sessions: Vec<Option<Uuid>>,
    types: Vec<&'a str>,
    units: Vec<&'a str>,
    quantities: Vec<Decimal>,
}

impl<'a> Usage<'a> {
    fn of(entries: &[Entry<'a>]) -> Self {
        let mut usage = Self::default();
        for entry in entries {
            let charge = entry.charge();
            for line in &charge.usage {
                usage.tenants.push(entry.tenant());
                usage.buckets.push(bucket(entry));
                usage.signs.push(entry.sign());
                usage.services.push(charge.service.as_str());
                usage.providers.push(&charge.provider);
                usage.models.push(charge.model.as_deref());
                usage.sessions.push(charge.session_id);
                usage.types.push(&line.r#type);
                usage.units.push(&line.unit);
                usage.quantities.push(line.quantity.decimal());
            }
        }
        usage
    }
}

async fn add_usage(connection: &mut PgConnection, entries: &[Entry<'_>]) -> Result<(), sqlx::Error> {
    let usage = Usage::of(entries);
    if usage.tenants.is_empty() {
        return Ok(());
    }
    sqlx::query(include_str!("cost_sums/usage.sql"))
        .bind(usage.tenants)
        .bind(usage.buckets)
        .bind(usage.signs)
        .bind(usage.services)
        .bind(usage.providers)
        .bind(usage.models)
        .bind(usage.sessions)
        .bind(usage.types)
        .bind(usage.units)
        .bind(usage.quantities)
        .execute(connection)
        .await?;
    Ok(())
}
