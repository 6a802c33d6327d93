//! A body as text: JSON all the way to its end, not too deep, and made of characters that PostgreSQL stores.

use serde::de::IgnoredAny;

use crate::error::{Code, Error};

/// Deepest nesting of arrays and objects.
pub const MAX_DEPTH: usize = 64;

/// What is wrong with a text that has JSON's grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    TooDeep,
    LoneSurrogate,
    Nul,
}

/// The bytes as text, when they are JSON that every part of the service can hold.
pub fn checked(bytes: &[u8]) -> Result<&str, Error> {
    let text = std::str::from_utf8(bytes).map_err(|broken| {
        Error::new(Code::InvalidJson, format!("not UTF-8{}", position(bytes, broken.valid_up_to())))
    })?;
    // Ignoring is iterative: no nesting is too deep for it. It also finds errors of grammar behind errors of type, so
    // that what is not JSON is always 400.
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| Error::new(Code::InvalidJson, error.to_string()))?;
    match find_flaw(bytes) {
        None => Ok(text),
        Some((flaw, offset)) => Err(refusal(flaw, &position(bytes, offset))),
    }
}

fn refusal(flaw: Flaw, position: &str) -> Error {
    match flaw {
        Flaw::TooDeep => Error::new(Code::InvalidJson, format!("nested deeper than {MAX_DEPTH} levels{position}")),
        Flaw::LoneSurrogate => Error::new(Code::InvalidJson, format!("half of a surrogate pair{position}")),
        Flaw::Nul => Error::new(Code::NulCharacter, format!("the escape \\u0000{position}")),
    }
}

/// In the words of serde_json: the column counts bytes, both from 1.
fn position(bytes: &[u8], offset: usize) -> String {
    let before = bytes.get(..offset).unwrap_or(bytes);
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    format!(" at line {line} column {column}")
}

/// The first flaw and its offset; `json` has JSON's grammar.
fn find_flaw(json: &[u8]) -> Option<(Flaw, usize)> {
    let (mut depth, mut in_string, mut at) = (0_usize, false, 0);
    while let Some(byte) = json.get(at) {
        let mut length = 1;
        match (in_string, byte) {
            (_, b'"') => in_string = !in_string,
            (true, b'\\') => match escape_length(json, at) {
                Ok(escape) => length = escape,
                Err(flaw) => return Some((flaw, at)),
            },
            (false, b'[' | b'{') => depth += 1,
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Some((Flaw::TooDeep, at));
        }
        at += length;
    }
    None
}

/// Bytes of the escape that begins here; both halves of a surrogate pair are one.
fn escape_length(json: &[u8], at: usize) -> Result<usize, Flaw> {
    match code_unit(json, at) {
        None => Ok(2),
        Some(0) => Err(Flaw::Nul),
        Some(0xd800..=0xdbff) => match code_unit(json, at + 6) {
            Some(0xdc00..=0xdfff) => Ok(12),
            Some(_) | None => Err(Flaw::LoneSurrogate),
        },
        Some(0xdc00..=0xdfff) => Err(Flaw::LoneSurrogate),
        Some(_) => Ok(6),
    }
}

/// The UTF-16 unit of the escape `\uXXXX` that begins here.
fn code_unit(json: &[u8], at: usize) -> Option<u16> {
    let digits = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(json: impl AsRef<[u8]>) -> Option<Code> {
        checked(json.as_ref()).err().map(|error| error.code())
    }

    #[test]
    fn what_is_not_json_says_where() {
        for (json, place) in [
            ("", "line 1 column 0"),
            ("{", "line 1 column 1"),
            ("{\n\"a\": 1,\n}", "line 3 column 1"),
            ("{\"a\":1} x", "line 1 column 9"),
            ("\u{feff}{}", "line 1 column 1"),
            ("{\"a\":NaN}", "line 1 column 6"),
            ("{\"a\":01}", "line 1 column 7"),
            ("{'a':1}", "line 1 column 2"),
            ("{\"a\":\"\u{0}\"}", "line 1 column 6"),
            ("{\"a\":\"\\x\"}", "line 1 column 8"),
            ("{\"a\":\"\\ud800\"}", "line 1 column 7"),
        ] {
            let error = checked(json.as_bytes()).unwrap_err();
            assert_eq!(error.code(), Code::InvalidJson, "{json}");
            assert!(error.detail().ends_with(place), "{json:?}: {}", error.detail());
        }
        let error = checked(b"{\n\"a\":\"\xff\"}").unwrap_err();
        assert_eq!((error.code(), error.detail()), (Code::InvalidJson, "not UTF-8 at line 2 column 6"));
    }

    #[test]
    fn nesting_is_limited_in_arrays_and_objects_without_recursion() {
        let arrays = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let objects = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        assert_eq!(code(arrays(MAX_DEPTH)), None);
        assert_eq!(code(objects(MAX_DEPTH)), None);
        for depth in [MAX_DEPTH + 1, 10_000, 200_000] {
            assert_eq!(code(arrays(depth)), Some(Code::InvalidJson), "{depth}");
            assert_eq!(code(objects(depth)), Some(Code::InvalidJson), "{depth}");
        }
        assert_eq!(code("[".repeat(500_000)), Some(Code::InvalidJson));
        assert_eq!(code(format!("[{}]", vec!["[[]]"; 1000].join(","))), None);
        assert_eq!(code(format!("\"{}\"", "[".repeat(1000))), None);
    }

    #[test]
    fn surrogates_come_in_pairs() {
        for good in [r#""\ud83d\ude00""#, r#""\uD83D\uDE00x""#, r#""\\ud800""#, r#""\ue000\ud7ff""#] {
            assert_eq!(code(good), None, "{good}");
        }
        for lone in [
            r#""\ud800""#,
            r#""\ude00""#,
            r#""\ud83dx""#,
            r#""\ud83d\ud83d""#,
            r#""\ud83d\n""#,
            r#"{"\udfff":1}"#,
            r#""\\\ud800""#,
        ] {
            assert_eq!(code(lone), Some(Code::InvalidJson), "{lone}");
        }
    }

    #[test]
    fn nul_is_refused_wherever_it_is_an_escape() {
        for nul in [r#""\u0000""#, r#"{"\u0000":1}"#, r#""\\\u0000""#, r#"{"a":{"b":["x\u0000"]}}"#] {
            assert_eq!(code(nul), Some(Code::NulCharacter), "{nul}");
        }
        for good in [r#""\\u0000""#, r#""\\\\u0000""#, r#""u0000""#, r#""\u0001""#] {
            assert_eq!(code(good), None, "{good}");
        }
    }
}
