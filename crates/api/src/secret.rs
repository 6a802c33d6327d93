//! Text that must not be seen: no log, error or debug output ever contains it.

use serde::{Deserialize, Deserializer, de};

use crate::error::Error;

/// A password, token or key as it came in.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text; for hashing and comparing, never for display.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<'de> Deserialize<'de> for Secret {
    #[expect(clippy::map_err_ignore, reason = "serde's message for a number where a text should be repeats the number")]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self).map_err(|_| de::Error::custom("invalid type: expected a string"))
    }
}

/// What a new token or key is good for.
pub(crate) fn random() -> Result<[u8; 32], Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(Error::internal)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_debug_output_nor_an_error_shows_it() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "[redacted]");
        assert_eq!(serde_json::from_str::<Secret>(r#""hunter2""#).unwrap().expose(), "hunter2");
        for wrong in ["4711", "true", "[4711]", "{\"4711\":1}"] {
            let message = serde_json::from_str::<Secret>(wrong).unwrap_err().to_string();
            assert!(message.starts_with("invalid type: expected a string") && !message.contains("4711"), "{message}");
        }
    }
}
