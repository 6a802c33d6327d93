//! What is wrong with one value of a request: where it stands, a code and a sentence, never the value at length.

use schemars::JsonSchema;
use serde::Serialize;

/// Longest detail and longest pointer in characters: a client gets its own input back only in part.
pub const MAX_DETAIL: usize = 300;

/// One entry of a problem's `errors`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Violation {
    #[serde(flatten)]
    place: Place,
    /// For programs, for example `missing_field`.
    code: &'static str,
    /// For people.
    detail: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Place {
    /// RFC 6901, into the body; the empty pointer is the body itself.
    Pointer(String),
    /// The name of a query parameter.
    Parameter(String),
}

impl Violation {
    /// A value of the body, named by the steps that lead to it.
    pub fn in_body<'a>(path: impl IntoIterator<Item = &'a str>, code: &'static str, detail: &str) -> Self {
        let mut pointer = String::new();
        for token in path {
            let token = token.replace('~', "~0").replace('/', "~1");
            // Cut between tokens: a pointer to something around the value still points to something.
            if pointer.chars().count() + 1 + token.chars().count() > MAX_DETAIL {
                break;
            }
            pointer.push('/');
            pointer.push_str(&token);
        }
        Self { place: Place::Pointer(pointer), code, detail: shortened(detail) }
    }

    /// The same of a value that is read by itself and stands at `parent` in the body.
    #[must_use]
    pub fn below(mut self, parent: &str) -> Self {
        if let Place::Pointer(pointer) = &mut self.place {
            pointer.insert_str(0, parent);
        }
        self
    }

    /// A parameter of the query string.
    pub fn in_query(parameter: &str, code: &'static str, detail: &str) -> Self {
        Self { place: Place::Parameter(shortened(parameter)), code, detail: shortened(detail) }
    }

    /// The JSON pointer; `None` when it is about the query string.
    pub fn pointer(&self) -> Option<&str> {
        match &self.place {
            Place::Pointer(pointer) => Some(pointer),
            Place::Parameter(_) => None,
        }
    }

    /// The query parameter; `None` when it is about the body.
    pub fn parameter(&self) -> Option<&str> {
        match &self.place {
            Place::Parameter(name) => Some(name),
            Place::Pointer(_) => None,
        }
    }

    /// Its code.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// Its sentence.
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

/// What serde's message says: a code, and the field that it is about where the path ends before it (an unknown field
/// is already the path's last step).
///
/// serde has no typed errors, so its sentences are read; the tests of bodies and queries hold each of them.
pub(crate) fn classify(message: &str) -> (&'static str, Option<&str>) {
    let named = |prefix: &str| message.strip_prefix(prefix).and_then(|rest| rest.split_once('`')).map(|(name, _)| name);
    if let Some(field) = named("missing field `") {
        ("missing_field", Some(field))
    } else if let Some(field) = named("duplicate field `") {
        ("duplicate_field", Some(field))
    } else if message.starts_with("unknown field ") {
        ("unknown_field", None)
    } else if message.starts_with("invalid type: ") {
        ("wrong_type", None)
    } else {
        ("invalid_value", None)
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_DETAIL) {
        None => text.to_owned(),
        Some(_) => text.chars().take(MAX_DETAIL - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_escaped_as_rfc_6901_wants_it() {
        let violation = Violation::in_body(["metadata", "a/b~c", "0"], "invalid_value", "x");
        assert_eq!(violation.pointer(), Some("/metadata/a~1b~0c/0"));
        assert_eq!(Violation::in_body([], "wrong_type", "x").pointer(), Some(""));
        assert_eq!(violation.below("/items/3").pointer(), Some("/items/3/metadata/a~1b~0c/0"));
    }

    #[test]
    fn huge_names_and_sentences_are_cut() {
        let huge = "ä".repeat(10_000);
        let violation = Violation::in_body(["items", &huge], "unknown_field", &huge);
        assert_eq!(violation.pointer(), Some("/items"));
        assert_eq!(violation.detail().chars().count(), MAX_DETAIL);
        assert_eq!(Violation::in_query(&huge, "unknown_field", "x").parameter().unwrap().chars().count(), MAX_DETAIL);
        assert_eq!(shortened(&"x".repeat(MAX_DETAIL)), "x".repeat(MAX_DETAIL));
    }

    #[test]
    fn a_violation_says_pointer_for_the_body_and_parameter_for_the_query() {
        let body = serde_json::to_string(&Violation::in_body(["a"], "wrong_type", "b")).unwrap();
        assert_eq!(body, r#"{"pointer":"/a","code":"wrong_type","detail":"b"}"#);
        let query = serde_json::to_string(&Violation::in_query("limit", "invalid_value", "b")).unwrap();
        assert_eq!(query, r#"{"parameter":"limit","code":"invalid_value","detail":"b"}"#);
    }
}
