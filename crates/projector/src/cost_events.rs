//! Projection `cost_events`: one row per cost, with its end when it was voided.

use chrono::{DateTime, Utc};
use domain::ledger::{Recorded, Voided};
use domain::{Amount, Currency, JsonObject, RecordedEvent};
use sqlx::PgConnection;

use crate::ledger_entry::{Entry, Kind};
use crate::projection::{Projected, Projection, Table, Write};

/// See the module.
pub(crate) struct CostEvents;

impl Projection for CostEvents {
    fn name(&self) -> &'static str {
        "cost_events"
    }

    fn version(&self) -> i32 {
        1
    }

    fn tables(&self) -> &'static [Table] {
        &[Table { name: "cost_events", key: &["id"] }]
    }

    fn write<'a>(&'a self, connection: &'a mut PgConnection, events: &'a [Projected<'a>]) -> Write<'a> {
        Box::pin(async move {
            let (mut recorded, mut voided) = (Vec::new(), Vec::new());
            for entry in Entry::of(events) {
                match entry.kind {
                    Kind::Recorded(cost) => recorded.push((entry.event, cost)),
                    Kind::Voided(void) => voided.push((entry.event, void)),
                }
            }
            insert(connection, &recorded).await?;
            end(connection, &voided).await
        })
    }
}

async fn insert(connection: &mut PgConnection, costs: &[(&RecordedEvent, &Recorded)]) -> Result<(), sqlx::Error> {
    if costs.is_empty() {
        return Ok(());
    }
    let charges = || costs.iter().map(|(_, cost)| &cost.charge);
    // Strings alone: this cannot fail.
    let usage = charges().map(|charge| serde_json::to_string(&charge.usage).unwrap_or_default());
    let metadata = costs.iter().map(|(_, cost)| cost.metadata.as_ref().map(JsonObject::as_str));
    sqlx::query(
        "insert into cost_events (tenant_id, id, seq, period, version, service, provider, model, usage, amount, currency,
                                  session_id, message_id, meeting_id, metadata, occurred_at, recorded_at)
         select tenant, id, seq, period, version, service, provider, model, usage::json, amount, currency, session,
                message, meeting, metadata::json, occurred, recorded
         from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[],
                     $9::text[], $10::numeric[], $11::text[], $12::uuid[], $13::uuid[], $14::uuid[], $15::text[],
                     $16::timestamptz[], $17::timestamptz[])
           as r (tenant, id, seq, period, version, service, provider, model, usage, amount, currency, session, message,
                 meeting, metadata, occurred, recorded)",
    )
    .bind(costs.iter().map(|(event, _)| event.tenant.0).collect::<Vec<_>>())
    .bind(costs.iter().map(|(_, cost)| cost.cost_id).collect::<Vec<_>>())
    .bind(costs.iter().map(|(event, _)| event.seq.cast_signed()).collect::<Vec<_>>())
    .bind(costs.iter().map(|(_, cost)| cost.period.to_string()).collect::<Vec<_>>())
    .bind(costs.iter().map(|(event, _)| event.version.cast_signed()).collect::<Vec<_>>())
    .bind(charges().map(|charge| charge.service.as_str()).collect::<Vec<_>>())
    .bind(charges().map(|charge| charge.provider.as_str()).collect::<Vec<_>>())
    .bind(charges().map(|charge| charge.model.as_deref()).collect::<Vec<_>>())
    .bind(usage.collect::<Vec<_>>())
    .bind(charges().map(|charge| charge.amount.map(Amount::decimal)).collect::<Vec<_>>())
    .bind(charges().map(|charge| charge.currency.as_ref().map(Currency::as_str)).collect::<Vec<_>>())
    .bind(charges().map(|charge| charge.session_id).collect::<Vec<_>>())
    .bind(charges().map(|charge| charge.message_id).collect::<Vec<_>>())
    .bind(charges().map(|charge| charge.meeting_id).collect::<Vec<_>>())
    .bind(metadata.collect::<Vec<_>>())
    .bind(costs.iter().map(|(event, _)| event.occurred_at).collect::<Vec<_>>())
    .bind(costs.iter().map(|(event, _)| event.recorded_at).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

async fn end(connection: &mut PgConnection, voids: &[(&RecordedEvent, &Voided)]) -> Result<(), sqlx::Error> {
    if voids.is_empty() {
        return Ok(());
    }
    let times: Vec<DateTime<Utc>> = voids.iter().map(|(event, _)| event.occurred_at).collect();
    sqlx::query(
        "update cost_events c set version = v.version, voided_at = v.at, void_id = v.id, void_reason = v.reason
         from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::timestamptz[], $5::uuid[], $6::text[])
           as v (tenant, cost, version, at, id, reason)
         where c.tenant_id = v.tenant and c.id = v.cost",
    )
    .bind(voids.iter().map(|(event, _)| event.tenant.0).collect::<Vec<_>>())
    .bind(voids.iter().map(|(_, void)| void.cost_id).collect::<Vec<_>>())
    .bind(voids.iter().map(|(event, _)| event.version.cast_signed()).collect::<Vec<_>>())
    .bind(times)
    .bind(voids.iter().map(|(event, _)| event.event_id).collect::<Vec<_>>())
    .bind(voids.iter().map(|(_, void)| void.reason.as_deref()).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
