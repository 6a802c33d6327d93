//! How a tenant's own pages and reports are to look; what no setting says is left to the client.

use serde::{Deserialize, Serialize};

use crate::Currency;

/// Longest language tag or time zone name in characters.
pub const MAX_SETTING: usize = 64;

/// The settings. They are kept as a whole: `version` says which members there are, and whoever reads an older version
/// brings it up to today's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Which members there are.
    pub version: SettingsVersion,
    /// The language of people who have not chosen one, as in BCP 47, for example `de-AT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// By which clock days begin, a name of the IANA database, for example `Europe/Berlin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// In which currency costs are shown first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<Currency>,
}

/// The versions of [`Settings`] that there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SettingsVersion {
    /// The first.
    #[default]
    One,
}

impl Serialize for SettingsVersion {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::One => serializer.serialize_u16(1),
        }
    }
}

impl<'de> Deserialize<'de> for SettingsVersion {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u16::deserialize(deserializer)? {
            1 => Ok(Self::One),
            other => Err(serde::de::Error::custom(format_args!("settings of version {other} are not known"))),
        }
    }
}

/// Whether it is shaped like a language tag: parts of one to eight letters and digits, the first of two or more letters.
pub fn is_language_tag(text: &str) -> bool {
    let mut parts = text.split('-');
    let is_part = |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let first =
        parts.next().is_some_and(|part| (2..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphabetic()));
    first && parts.all(is_part) && text.len() <= MAX_SETTING
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_say_which_version_they_are_and_nothing_that_was_not_set() {
        assert_eq!(serde_json::to_string(&Settings::default()).unwrap(), r#"{"version":1}"#);
        assert!(serde_json::from_str::<Settings>(r#"{"version":2}"#).is_err());
        assert!(serde_json::from_str::<Settings>("{}").is_err());
    }

    #[test]
    fn a_language_tag_is_parts_of_letters_and_digits() {
        for good in ["de", "de-AT", "zh-Hant-TW", "es-419", "en-x-twain"] {
            assert!(is_language_tag(good), "{good}");
        }
        for bad in ["", "d", "-de", "de-", "de--AT", "de_AT", "deutschland", "1de", "d\u{e9}", &"de-".repeat(30)] {
            assert!(!is_language_tag(bad), "{bad}");
        }
    }
}
