//! The fields of a line as they are written: what is required, of which type, and how a time may look.

use std::collections::BTreeMap;

use api::body::{NewAttachment, Object, Word};
use chrono::{DateTime, Utc};
use domain::JsonObject;
use domain::session::Mode;
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use serde_json::value::{RawValue, to_raw_value};
use uuid::Uuid;

use super::content::Content;
use crate::import::told::Told;
use crate::import::usage::Tokens;

/// Numbers below this are seconds since 1970, others milliseconds.
const MILLISECONDS_FROM: i64 = 100_000_000_000;
/// The year 2100 in seconds since 1970: no conversation is younger.
const END_OF_TIME: i64 = 4_102_444_800;

#[derive(Deserialize)]
pub(super) struct Line {
    pub(super) messages: Vec<Object<LineMessage>>,
    pub(super) id: Option<Id>,
    pub(super) created: Option<Time>,
    pub(super) ended: Option<Time>,
    pub(super) model: Option<String>,
    pub(super) metadata: Option<JsonObject>,
    pub(super) mode: Option<Word<Mode>>,
    pub(super) widget_id: Option<Uuid>,
    pub(super) meeting_id: Option<Uuid>,
    pub(super) personality_id: Option<Uuid>,
    pub(super) usage: Option<Object<Tokens>>,
    pub(super) cost: Option<Told>,
    pub(super) amount: Option<Told>,
    pub(super) currency: Option<Told>,
    pub(super) provider: Option<Told>,
}

#[derive(Deserialize)]
pub(super) struct LineMessage {
    pub(super) role: Word<Speaker>,
    pub(super) content: Option<Content>,
    pub(super) created: Option<Time>,
    #[serde(default)]
    pub(super) attachments: Vec<Object<NewAttachment>>,
    pub(super) metadata: Option<JsonObject>,
    pub(super) model: Option<Told>,
    pub(super) usage: Option<Object<Tokens>>,
    pub(super) cost: Option<Told>,
    pub(super) amount: Option<Told>,
    pub(super) currency: Option<Told>,
    pub(super) provider: Option<Told>,
}

/// Who speaks, in the words of the common formats.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Speaker {
    User,
    Assistant,
    System,
    Developer,
    Tool,
    Function,
}

/// A string or a whole number.
pub(super) struct Id(pub(super) String);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IdVisitor)
    }
}

struct IdVisitor;

impl Visitor<'_> for IdVisitor {
    type Value = Id;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a string or a whole number")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Id, E> {
        Ok(Id(text.to_owned()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Id, E> {
        Ok(Id(number.to_string()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Id, E> {
        Ok(Id(number.to_string()))
    }
}

/// A time between 1970 and 2100, in microseconds: RFC 3339, or seconds or milliseconds since 1970.
pub(super) struct Time(pub(super) DateTime<Utc>);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TimeVisitor)
    }
}

struct TimeVisitor;

impl TimeVisitor {
    fn from_micros<E: de::Error>(micros: i64) -> Result<Time, E> {
        let known = (0..END_OF_TIME * 1_000_000).contains(&micros);
        let time = known.then(|| DateTime::from_timestamp_micros(micros)).flatten();
        time.map(Time).ok_or_else(|| E::custom("the time lies before 1970 or after 2099"))
    }

    /// `fraction` in microseconds, when the number is one of seconds.
    fn from_number<E: de::Error>(whole: i64, fraction: i64) -> Result<Time, E> {
        let micros = match whole {
            MILLISECONDS_FROM.. => whole.checked_mul(1_000),
            _ => whole.checked_mul(1_000_000).map(|micros| micros + fraction),
        };
        Self::from_micros(micros.unwrap_or(i64::MAX))
    }
}

impl Visitor<'_> for TimeVisitor {
    type Value = Time;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a time: RFC 3339, or seconds or milliseconds since 1970")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Time, E> {
        let time =
            DateTime::parse_from_rfc3339(text).map_err(|_why| E::invalid_value(de::Unexpected::Str(text), &self))?;
        Self::from_micros(time.timestamp_micros())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Time, E> {
        Self::from_number(i64::try_from(number).unwrap_or(i64::MAX), 0)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Time, E> {
        Self::from_number(number, 0)
    }

    #[expect(clippy::disallowed_types, reason = "a JSON number with a fraction; serde reads it as this")]
    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Time, E> {
        // Its decimals are what was written: no arithmetic on it.
        let text = format!("{number:.6}");
        let parts =
            text.split_once('.').and_then(|(whole, fraction)| Some((whole.parse().ok()?, fraction.parse().ok()?)));
        let (whole, fraction) = parts.unwrap_or((i64::MAX, 0));
        Self::from_number(if text.starts_with('-') { -1 } else { whole }, fraction)
    }
}

/// The metadata of an assistant's message with the line's model first, unless it names one itself.
pub(super) fn with_model(own: Option<JsonObject>, model: &str) -> Result<JsonObject, serde_json::Error> {
    let model = to_raw_value(model)?;
    let members = match &own {
        None => "",
        Some(own) => {
            if serde_json::from_str::<BTreeMap<String, &RawValue>>(own.as_str())?.contains_key("model") {
                return Ok(own.clone());
            }
            own.as_str().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or_default()
        }
    };
    let comma = if members.trim().is_empty() { "" } else { "," };
    let merged = RawValue::from_string(format!("{{\"model\":{model}{comma}{members}}}"))?;
    JsonObject::try_from(merged).map_err(de::Error::custom)
}

/// The model that the metadata of an assistant's message names.
pub(super) fn model_in(metadata: &JsonObject) -> Option<String> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(metadata.as_str()).ok()?;
    serde_json::from_str(members.get("model")?.get()).ok()
}
