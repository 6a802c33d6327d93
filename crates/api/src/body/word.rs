//! Enums of plain names as JSON strings only: serde's derived code would also take `{"text": null}` for `"text"`.

use schemars::JsonSchema;
use serde::de::{Deserialize, Deserializer, IntoDeserializer, value::StringDeserializer};

/// A name out of a closed list, read from a string and from nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(transparent)]
pub struct Word<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name: StringDeserializer<D::Error> = String::deserialize(deserializer)?.into_deserializer();
        T::deserialize(name).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Mode {
        Text,
    }

    #[test]
    fn a_word_is_a_string_and_one_of_the_list() {
        let read = |json: &str| serde_json::from_str::<Word<Mode>>(json).map_err(|error| error.to_string());
        assert_eq!(read("\"text\""), Ok(Word(Mode::Text)));
        assert!(read("\"voice\"").unwrap_err().starts_with("unknown variant `voice`, expected `text`"));
        for other in [r#"{"text":null}"#, "0", "null", r#"["text"]"#] {
            assert!(read(other).unwrap_err().starts_with("invalid type: "), "{other}");
        }
    }
}
