//! The ledger: what a tenant's AI has cost, line by line. It decides nothing and only accumulates, one stream per tenant
//! and calendar month, so that whoever counts its versions knows that nothing is missing.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use uuid::Uuid;

use crate::{Amount, Currency, DecodeError, EventData, EventType, JsonObject, Period, Quantity};

/// Most lines of usage of a cost.
pub const MAX_USAGE: usize = 32;
/// Longest name of a provider or model, of a type or unit of usage, in characters.
pub const MAX_NAME: usize = 200;
/// Longest reason of a void in characters.
pub const MAX_REASON: usize = 500;
/// Largest metadata of a cost in bytes of JSON.
pub const MAX_METADATA: usize = 16 * 1024;

/// What happened in a ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(strum::VariantNames), strum(serialize_all = "snake_case"))]
pub enum Event {
    /// Something was used and is to be paid for, at the event's `occurred_at`.
    CostRecorded(Recorded),
    /// A cost was a mistake: it counts no more.
    CostVoided(Voided),
}

/// A cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// Its id, unique within the tenant.
    pub cost_id: Uuid,
    /// The month in which it occurred: the ledger that it stands in.
    pub period: Period,
    /// For what.
    pub charge: Charge,
    /// Free-form, at most [`MAX_METADATA`] bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<JsonObject>,
}

/// The end of a cost. It stands in the ledger of the cost, whenever that is, and says all that is needed to take the
/// cost out of any sum, at the time when the cost occurred.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voided {
    /// The cost that counts no more.
    pub cost_id: Uuid,
    /// The name of its ledger, for example `ledger/2026-11`.
    pub stream: String,
    /// The month of its ledger.
    pub period: Period,
    /// When the cost occurred.
    pub occurred_at: DateTime<Utc>,
    /// What the cost was for.
    pub charge: Charge,
    /// Why, at most [`MAX_REASON`] characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a cost is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// What kind of service.
    pub service: Service,
    /// Who provides it, for example `openai`.
    pub provider: String,
    /// Which model of theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What was used; nothing is in two lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub usage: Vec<Usage>,
    /// How much it costs; unpriced without, which is not the same as nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Amount>,
    /// In which currency; always there when the amount is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<Currency>,
    /// The session that it was used in, known to us or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<Uuid>,
    /// The message that it was used for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<Uuid>,
    /// The meeting that it was used in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meeting_id: Option<Uuid>,
}

/// A kind of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// Text from a language model.
    Llm,
    /// Vectors for texts.
    Embedding,
    /// Speech, in either direction.
    Voice,
    /// Images, in either direction.
    Vision,
    /// Rooms for voice and video.
    Livekit,
    /// Something else.
    Other,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Llm, Self::Embedding, Self::Voice, Self::Vision, Self::Livekit, Self::Other];

    /// Its name in JSON and in the read tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Llm => "llm",
            Self::Embedding => "embedding",
            Self::Voice => "voice",
            Self::Vision => "vision",
            Self::Livekit => "livekit",
            Self::Other => "other",
        }
    }
}

/// A line of usage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// What was used, for example `output_text`, see [`unit_of`].
    pub r#type: String,
    /// How much of it.
    pub quantity: Quantity,
    /// In which unit, for example `tokens`.
    pub unit: String,
}

/// Tokens of the input that the provider had not cached.
pub const INPUT_UNCACHED: &str = "input_uncached";
/// Tokens of the input that came from the provider's cache.
pub const INPUT_CACHE_READ: &str = "input_cache_read";
/// Tokens of the input that went into the provider's cache.
pub const INPUT_CACHE_WRITE: &str = "input_cache_write";
/// Tokens that were answered.
pub const OUTPUT_TEXT: &str = "output_text";
/// Tokens that were thought.
pub const OUTPUT_REASONING: &str = "output_reasoning";

/// The unit of a well-known type of usage; `None` for a type of the client's own.
pub fn unit_of(usage: &str) -> Option<&'static str> {
    match usage {
        INPUT_UNCACHED | INPUT_CACHE_READ | INPUT_CACHE_WRITE | OUTPUT_TEXT | OUTPUT_REASONING => Some("tokens"),
        "audio_seconds" | "participant_seconds" => Some("seconds"),
        "characters" => Some("characters"),
        "images" => Some("images"),
        "requests" => Some("requests"),
        _ => None,
    }
}

/// How a client counts the tokens of its input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageConvention {
    /// Each token in one line: `input_uncached` is what was not cached.
    #[default]
    Disjoint,
    /// `input_uncached` is the total of the input, what was cached included, as several providers report it.
    Inclusive,
}

/// Why something is no [`Charge`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCharge {
    /// A name has no or too many characters.
    #[error("must have 1 to {MAX_NAME} characters")]
    Length {
        /// Of which field.
        path: String,
    },
    /// More than [`MAX_USAGE`] lines.
    #[error("has {found} lines, at most {MAX_USAGE} are allowed")]
    Lines {
        /// How many.
        found: usize,
    },
    /// A type or unit has other characters.
    #[error("must be lower-case letters, digits and underscores")]
    Letters {
        /// Of which field.
        path: String,
    },
    /// A well-known type in another unit, or a type of the client's own without one.
    #[error("{}", known.map_or_else(|| "name the unit of this type".to_owned(), |unit| format!("must be {unit} for this type, or left out")))]
    Unit {
        /// Of which field.
        path: String,
        /// What it would have to be.
        known: Option<&'static str>,
    },
    /// Two lines of one type and unit.
    #[error("another line has the same type and unit")]
    Repeated {
        /// The second one.
        path: String,
    },
    /// With [`UsageConvention::Inclusive`], more was cached than there was input.
    #[error("by the inclusive convention the input total (input_uncached) is at least what was cached")]
    MoreCachedThanInput,
    /// An amount without a currency.
    #[error("an amount needs a currency")]
    NoCurrency,
}

impl InvalidCharge {
    /// RFC 6901, from the cost.
    pub fn pointer(&self) -> &str {
        match self {
            Self::Length { path } | Self::Letters { path } | Self::Unit { path, .. } | Self::Repeated { path } => path,
            Self::Lines { .. } | Self::MoreCachedThanInput => "/usage",
            Self::NoCurrency => "/currency",
        }
    }
}

impl Charge {
    /// Whether names are within their limits and all that has an amount has a currency. What [`lines`] has made needs
    /// no check.
    pub fn check(&self) -> Result<(), InvalidCharge> {
        length("/provider", &self.provider)?;
        if let Some(model) = &self.model {
            length("/model", model)?;
        }
        if self.amount.is_some() && self.currency.is_none() {
            return Err(InvalidCharge::NoCurrency);
        }
        Ok(())
    }
}

/// Lines of usage as the ledger keeps them, from type, quantity and perhaps unit as a client tells them. Lines of nothing
/// are left out.
pub fn lines(
    told: impl IntoIterator<Item = (String, Quantity, Option<String>)>,
    convention: UsageConvention,
) -> Result<Vec<Usage>, InvalidCharge> {
    let mut lines: Vec<Usage> = Vec::new();
    for (at, (r#type, quantity, unit)) in told.into_iter().enumerate() {
        let path = |member: &str| format!("/usage/{at}{member}");
        name(&path("/type"), &r#type)?;
        let unit = match (unit_of(&r#type), unit) {
            (Some(known), None) => known.to_owned(),
            (None, Some(unit)) => unit,
            (Some(known), Some(unit)) if unit == known => unit,
            (known, _) => return Err(InvalidCharge::Unit { path: path("/unit"), known }),
        };
        name(&path("/unit"), &unit)?;
        if lines.iter().any(|line| line.r#type == r#type && line.unit == unit) {
            return Err(InvalidCharge::Repeated { path: path("") });
        }
        lines.push(Usage { r#type, quantity, unit });
    }
    if lines.len() > MAX_USAGE {
        return Err(InvalidCharge::Lines { found: lines.len() });
    }
    if convention == UsageConvention::Inclusive {
        take_out_cached(&mut lines)?;
    }
    lines.retain(|line| line.quantity > Quantity::from(0));
    Ok(lines)
}

fn take_out_cached(lines: &mut [Usage]) -> Result<(), InvalidCharge> {
    for cached in [INPUT_CACHE_READ, INPUT_CACHE_WRITE] {
        let Some(part) = lines.iter().find(|line| line.r#type == cached).map(|line| line.quantity) else { continue };
        let total = lines.iter_mut().find(|line| line.r#type == INPUT_UNCACHED);
        let total = total.ok_or(InvalidCharge::MoreCachedThanInput)?;
        total.quantity = total.quantity.minus(part).ok_or(InvalidCharge::MoreCachedThanInput)?;
    }
    Ok(())
}

fn length(path: &str, text: &str) -> Result<(), InvalidCharge> {
    if (1..=MAX_NAME).contains(&text.chars().count()) {
        return Ok(());
    }
    Err(InvalidCharge::Length { path: path.to_owned() })
}

fn name(path: &str, text: &str) -> Result<(), InvalidCharge> {
    length(path, text)?;
    if text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_') {
        return Ok(());
    }
    Err(InvalidCharge::Letters { path: path.to_owned() })
}

/// The claim that keeps the id of a cost unique; the event that took it is the cost.
pub fn cost_claim(cost: Uuid) -> String {
    format!("cost/{cost}")
}

/// The claim that lets a cost be voided once.
pub fn void_claim(cost: Uuid) -> String {
    format!("void/{cost}")
}

/// The id of the cost that is recorded together with a message.
pub fn cost_of_message(message: Uuid) -> Uuid {
    Uuid::new_v5(&message, b"cost")
}

impl EventData for Event {
    fn event_type(&self) -> EventType {
        let name = match self {
            Self::CostRecorded(_) => "cost_recorded",
            Self::CostVoided(_) => "cost_voided",
        };
        EventType { name, schema: 1 }
    }

    fn encode(&self) -> Result<Box<RawValue>, serde_json::Error> {
        match self {
            Self::CostRecorded(recorded) => to_raw_value(recorded),
            Self::CostVoided(voided) => to_raw_value(voided),
        }
    }

    fn decode(name: &str, schema: u16, data: &RawValue) -> Result<Self, DecodeError> {
        let malformed = |source| DecodeError::malformed(name, schema, source);
        match (name, schema) {
            ("cost_recorded", 1) => serde_json::from_str(data.get()).map(Self::CostRecorded).map_err(malformed),
            ("cost_voided", 1) => serde_json::from_str(data.get()).map(Self::CostVoided).map_err(malformed),
            _ => Err(DecodeError::newer(name, schema)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &[(&str, &str, Option<&str>)]) -> Vec<(String, Quantity, Option<String>)> {
        let line = |(name, quantity, unit): &(&str, &str, Option<&str>)| {
            ((*name).to_owned(), quantity.parse().unwrap(), unit.map(str::to_owned))
        };
        lines.iter().map(line).collect()
    }

    fn kept(lines: &[(&str, &str, Option<&str>)], convention: UsageConvention) -> Result<Vec<String>, InvalidCharge> {
        let lines = super::lines(told(lines), convention)?;
        Ok(lines.iter().map(|Usage { r#type, quantity, unit }| format!("{type} {quantity} {unit}")).collect())
    }

    #[test]
    fn cached_tokens_are_taken_out_of_an_inclusive_total() {
        let input =
            [("input_uncached", "1000", None), ("input_cache_read", "600", None), ("input_cache_write", "400", None)];
        assert_eq!(
            kept(&input, UsageConvention::Inclusive).unwrap(),
            ["input_cache_read 600 tokens", "input_cache_write 400 tokens"]
        );
        assert_eq!(
            kept(&input[..2], UsageConvention::Inclusive).unwrap(),
            ["input_uncached 400 tokens", "input_cache_read 600 tokens"]
        );
        assert_eq!(kept(&input, UsageConvention::Disjoint).unwrap()[0], "input_uncached 1000 tokens");
    }

    #[test]
    fn more_cached_than_there_was_input_is_refused() {
        let more =
            [("input_uncached", "999", None), ("input_cache_read", "600", None), ("input_cache_write", "400", None)];
        assert_eq!(kept(&more, UsageConvention::Inclusive), Err(InvalidCharge::MoreCachedThanInput));
        assert_eq!(kept(&more[1..], UsageConvention::Inclusive), Err(InvalidCharge::MoreCachedThanInput));
        assert!(kept(&more, UsageConvention::Disjoint).is_ok());
    }

    #[test]
    fn a_well_known_type_has_its_unit_and_another_needs_one() {
        assert_eq!(kept(&[("audio_seconds", "1.5", Some("seconds"))], UsageConvention::Disjoint).unwrap().len(), 1);
        assert_eq!(kept(&[("frames", "3", Some("frames"))], UsageConvention::Disjoint).unwrap(), ["frames 3 frames"]);
        for (name, unit) in [("images", Some("tokens")), ("frames", None)] {
            let error = kept(&[("requests", "1", None), (name, "1", unit)], UsageConvention::Disjoint).unwrap_err();
            assert_eq!(error.pointer(), "/usage/1/unit");
        }
    }

    #[test]
    fn lines_of_nothing_are_left_out_and_doubled_ones_refused() {
        assert!(kept(&[("images", "0.0", None)], UsageConvention::Disjoint).unwrap().is_empty());
        let twice = kept(&[("images", "1", None), ("images", "0", None)], UsageConvention::Disjoint);
        assert_eq!(twice, Err(InvalidCharge::Repeated { path: "/usage/1".into() }));
    }

    #[test]
    fn names_and_lines_are_bounded() {
        let many: Vec<String> = (0..=MAX_USAGE).map(|n| format!("t{n}")).collect();
        let many: Vec<_> = many.iter().map(|name| (name.as_str(), "1", Some("pieces"))).collect();
        assert!(kept(&many[1..], UsageConvention::Disjoint).is_ok());
        assert_eq!(kept(&many, UsageConvention::Disjoint), Err(InvalidCharge::Lines { found: MAX_USAGE + 1 }));
        for name in ["", "Images", "im ages", "ä", &"x".repeat(MAX_NAME + 1)] {
            let error = kept(&[(name, "1", Some("x"))], UsageConvention::Disjoint).unwrap_err();
            assert_eq!(error.pointer(), "/usage/0/type", "{name}");
        }
        let charge = |provider: &str, model: &str| Charge {
            service: Service::Llm,
            provider: provider.into(),
            model: Some(model.into()),
            usage: vec![],
            amount: None,
            currency: None,
            session_id: None,
            message_id: None,
            meeting_id: None,
        };
        let longest = "ä".repeat(MAX_NAME);
        assert_eq!(charge(&longest, &longest).check(), Ok(()));
        assert_eq!(charge("", "m").check().unwrap_err().pointer(), "/provider");
        assert_eq!(charge("p", &format!("{longest}x")).check().unwrap_err().pointer(), "/model");
        let unknown_currency = Charge { amount: Some("1".parse().unwrap()), ..charge("p", "m") };
        assert_eq!(unknown_currency.check(), Err(InvalidCharge::NoCurrency));
    }
}
