//! A cost as it is read.

use chrono::{DateTime, Utc};
use domain::{AMOUNT_PATTERN, CURRENCY_PATTERN, PERIOD_PATTERN};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{json, value::RawValue};
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::{
    error::Error,
    json::raw,
    openapi::{AnyObject, domain_types},
};

/// A cost.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Cost", example = example())]
pub(crate) struct CostRow {
    id: Uuid,
    #[schemars(with = "domain_types::Service")]
    service: String,
    /// Who provides it.
    provider: String,
    /// Which model of theirs.
    model: Option<String>,
    /// What was used; input that was cached stands in lines of its own and nowhere else.
    #[schemars(with = "Vec<domain_types::Usage>")]
    usage: Option<Box<RawValue>>,
    /// A decimal number without trailing zeros; `null` for an unpriced cost.
    #[schemars(regex(pattern = AMOUNT_PATTERN))]
    amount: Option<String>,
    #[schemars(regex(pattern = CURRENCY_PATTERN))]
    currency: Option<String>,
    pub(super) occurred_at: DateTime<Utc>,
    /// The session that it was used in, known to us or not.
    session_id: Option<Uuid>,
    /// The message that it was used for.
    message_id: Option<Uuid>,
    /// The meeting that it was used in.
    meeting_id: Option<Uuid>,
    /// As it was sent.
    #[schemars(with = "Option<AnyObject>")]
    metadata: Option<Box<RawValue>>,
    /// The calendar month in UTC in which it occurred: the ledger that it stands in.
    #[schemars(regex(pattern = PERIOD_PATTERN))]
    period: String,
    recorded_at: DateTime<Utc>,
    /// Number of its event in the tenant's log.
    #[schemars(range(min = 1))]
    pub(super) seq: i64,
    /// Number of its last event in its ledger: of its recording, or of its void. The same as in `ETag`.
    #[schemars(range(min = 1))]
    pub(super) version: i64,
    /// Since when it counts no more; `null` while it does.
    voided_at: Option<DateTime<Utc>>,
    /// The event that voided it.
    void_id: Option<Uuid>,
    /// Why, if somebody has said so.
    void_reason: Option<String>,
}

/// The columns that [`CostRow::from_row`] reads, of a table or alias `c`.
pub(super) const COLUMNS: &str = "c.id, c.service, c.provider, c.model, c.usage::text as usage, \
     trim_scale(c.amount)::text as amount, c.currency, c.occurred_at, c.session_id, c.message_id, c.meeting_id, \
     c.metadata::text as metadata, c.period, c.recorded_at, c.seq, c.version, c.voided_at, c.void_id, c.void_reason";

impl CostRow {
    pub(super) fn from_row(row: &PgRow) -> Result<Self, Error> {
        Ok(Self {
            id: row.try_get("id")?,
            service: row.try_get("service")?,
            provider: row.try_get("provider")?,
            model: row.try_get("model")?,
            usage: raw(row.try_get("usage")?)?,
            amount: row.try_get("amount")?,
            currency: row.try_get("currency")?,
            occurred_at: row.try_get("occurred_at")?,
            session_id: row.try_get("session_id")?,
            message_id: row.try_get("message_id")?,
            meeting_id: row.try_get("meeting_id")?,
            metadata: raw(row.try_get("metadata")?)?,
            period: row.try_get("period")?,
            recorded_at: row.try_get("recorded_at")?,
            seq: row.try_get("seq")?,
            version: row.try_get("version")?,
            voided_at: row.try_get("voided_at")?,
            void_id: row.try_get("void_id")?,
            void_reason: row.try_get("void_reason")?,
        })
    }
}

fn example() -> serde_json::Value {
    json!({
        "id": "01a2046a-c0a1-7000-8000-000000000008", "service": "llm", "provider": "openai", "model": "gpt-4o",
        "usage": [{"type": "input_uncached", "quantity": "420", "unit": "tokens"},
                  {"type": "output_text", "quantity": "96", "unit": "tokens"}],
        "amount": "0.000123", "currency": "USD", "occurred_at": "2026-11-22T18:00:33.101122Z",
        "session_id": "01a2046a-b446-7000-8000-000000000003", "message_id": null, "meeting_id": null, "metadata": null,
        "period": "2026-11", "recorded_at": "2026-11-22T18:00:33.102011Z", "seq": 5, "version": 1,
        "voided_at": null, "void_id": null, "void_reason": null,
    })
}
