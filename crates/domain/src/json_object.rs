//! A JSON object kept as the text it arrived in: numbers, key order and spelling survive unread.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// Free-form metadata of a client: one JSON object, byte for byte as it was sent.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct JsonObject(Box<RawValue>);

/// The value is JSON, but not an object.
#[derive(Debug, thiserror::Error)]
#[error("not a JSON object")]
pub struct NotAnObject;

impl JsonObject {
    /// The object as JSON text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }
}

impl TryFrom<Box<RawValue>> for JsonObject {
    type Error = NotAnObject;

    fn try_from(raw: Box<RawValue>) -> Result<Self, NotAnObject> {
        if raw.get().starts_with('{') { Ok(Self(raw)) } else { Err(NotAnObject) }
    }
}

impl<'de> Deserialize<'de> for JsonObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::try_from(raw).map_err(serde::de::Error::custom)
    }
}

impl PartialEq for JsonObject {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for JsonObject {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_keeps_its_bytes_and_anything_else_is_refused() {
        let text = r#"{"b":1.0,"a":123456789012345678901234567890,"c":1e400}"#;
        let object: JsonObject = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&object).unwrap(), text);
        for other in ["[]", "1", "null", "\"{}\""] {
            assert!(serde_json::from_str::<JsonObject>(other).is_err(), "{other}");
        }
    }
}
