//! A cost as a client sends it, and what is checked before it goes into a ledger.

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, SubsecRound as _, Utc};
use domain::ledger::{self, Charge, MAX_METADATA, MAX_NAME, MAX_USAGE, Recorded, Service, UsageConvention};
use domain::{AMOUNT_PATTERN, Amount, CURRENCY_PATTERN, Currency, JsonObject, Period, QUANTITY_PATTERN, Quantity};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use serde_json::json;
use uuid::Uuid;

use super::Cost;
use crate::{
    body::{Object, Word},
    openapi::{AnyObject, domain_types},
    violation::Violation,
};

/// What somebody is to pay for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = example())]
pub(crate) struct NewCost {
    /// Chosen here, or made by us; unique within the tenant.
    pub(super) id: Option<Uuid>,
    #[schemars(with = "domain_types::Service")]
    service: Word<Service>,
    /// Who provides it.
    #[schemars(length(min = 1, max = MAX_NAME))]
    provider: String,
    /// Which model of theirs.
    #[schemars(length(min = 1, max = MAX_NAME))]
    model: Option<String>,
    /// What was used, nothing in two lines.
    #[serde(default)]
    #[schemars(with = "Vec<UsageLine>", length(max = MAX_USAGE))]
    usage: Vec<Object<UsageLine>>,
    /// `inclusive`: the line `input_uncached` is the total of the input and what was cached is taken out of it here.
    #[serde(default)]
    #[schemars(with = "Option<domain_types::UsageConvention>")]
    usage_convention: Option<Word<UsageConvention>>,
    /// A decimal number, negative for a credit. Without it the cost is unpriced, which is not the same as nothing.
    #[schemars(with = "Option<String>", regex(pattern = AMOUNT_PATTERN))]
    amount: Option<Amount>,
    /// Three capital letters; `USD` for an amount without one.
    #[schemars(with = "Option<String>", regex(pattern = CURRENCY_PATTERN))]
    currency: Option<Currency>,
    /// Now, when left out.
    occurred_at: Option<DateTime<Utc>>,
    /// The session that it was used in, known to us or not.
    session_id: Option<Uuid>,
    /// The message that it was used for.
    message_id: Option<Uuid>,
    /// The meeting that it was used in.
    meeting_id: Option<Uuid>,
    /// Free-form, at most 16 KiB of JSON; comes back byte for byte.
    #[schemars(with = "Option<AnyObject>")]
    metadata: Option<JsonObject>,
}

fn example() -> serde_json::Value {
    json!({
        "service": "llm", "provider": "openai", "model": "gpt-4o", "amount": "0.000123", "currency": "USD",
        "usage": [{"type": "input_uncached", "quantity": "420", "unit": "tokens"},
                  {"type": "output_text", "quantity": "96", "unit": "tokens"}],
        "session_id": "01a2046a-b446-7000-8000-000000000003",
    })
}

/// A line of usage.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UsageLine {
    /// `input_uncached`, `input_cache_read`, `input_cache_write`, `output_text`, `output_reasoning`, `audio_seconds`,
    /// `participant_seconds`, `characters`, `images`, `requests`, or a name of your own.
    #[schemars(regex(pattern = "^[a-z0-9_]{1,200}$"))]
    r#type: String,
    quantity: Count,
    /// For example `tokens`; the types above have theirs, one of your own needs it.
    #[schemars(regex(pattern = "^[a-z0-9_]{1,200}$"))]
    unit: Option<String>,
}

/// A quantity as a decimal number in a string, or as a whole number.
#[derive(Clone, Copy, Debug)]
struct Count(Quantity);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CountVisitor).map(Self)
    }
}

struct CountVisitor;

impl de::Visitor<'_> for CountVisitor {
    type Value = Quantity;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number or a decimal number in a string")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Quantity, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Quantity, E> {
        text.parse().map_err(E::custom)
    }
}

impl JsonSchema for Count {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [
            {"type": "string", "pattern": QUANTITY_PATTERN},
            {"type": "integer", "minimum": 0, "maximum": 999_999_999_999_u64},
        ]})
    }
}

impl NewCost {
    /// The cost of a message: what it says of the message and its session may be left out.
    pub(crate) fn of_message(mut self, session: Uuid, message: Uuid, now: DateTime<Utc>) -> Result<Cost, Violation> {
        let id = ledger::cost_of_message(message);
        let ids = [
            ("id", &mut self.id, id),
            ("session_id", &mut self.session_id, session),
            ("message_id", &mut self.message_id, message),
        ];
        for (member, told, made) in ids {
            if told.is_some_and(|told| told != made) {
                let detail = format!("must be {made} for this message, or left out");
                return Err(Violation::in_body([member], "invalid_value", &detail));
            }
            *told = Some(made);
        }
        self.check(now)
    }

    /// The cost as it goes into its ledger, of the time `now` when it has none of its own. Whether that time is one at
    /// which it may be recorded is another question, see [`Cost::is_timely`].
    pub(crate) fn check(self, now: DateTime<Utc>) -> Result<Cost, Violation> {
        let occurred_at = self.occurred_at.map_or(now, |time| time.trunc_subsecs(6));
        let period = Period::of(occurred_at);
        let period =
            period.map_err(|error| Violation::in_body(["occurred_at"], "invalid_value", &error.to_string()))?;
        if self.metadata.as_ref().is_some_and(|metadata| metadata.as_str().len() > MAX_METADATA) {
            let detail = format!("at most {MAX_METADATA} bytes are allowed");
            return Err(Violation::in_body(["metadata"], "too_long", &detail));
        }
        let lines = self.usage.into_iter().map(|Object(line)| (line.r#type, line.quantity.0, line.unit));
        let convention = self.usage_convention.map_or_else(UsageConvention::default, |word| word.0);
        let charge = Charge {
            service: self.service.0,
            provider: self.provider,
            model: self.model,
            usage: ledger::lines(lines, convention).map_err(|error| invalid(&error))?,
            amount: self.amount,
            currency: self.currency.or(self.amount.map(|_| Currency::USD)),
            session_id: self.session_id,
            message_id: self.message_id,
            meeting_id: self.meeting_id,
        };
        charge.check().map_err(|error| invalid(&error))?;
        let cost_id = self.id.unwrap_or_else(Uuid::now_v7);
        let recorded = Recorded { cost_id, period, charge, metadata: self.metadata };
        Ok(Cost { occurred_at, has_own_time: self.occurred_at.is_some(), recorded })
    }
}

fn invalid(error: &ledger::InvalidCharge) -> Violation {
    let path = error.pointer().split('/').skip(1);
    Violation::in_body(path, "invalid_value", &error.to_string())
}
