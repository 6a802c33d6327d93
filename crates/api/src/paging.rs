//! Query strings and pages: a parameter that is unknown, doubled or out of range is refused, never ignored.

use std::borrow::Cow;

use axum::{
    extract::FromRequestParts,
    http::{Uri, request::Parts},
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_path_to_error::Segment;

use crate::{
    cursor::Cursor,
    error::{Code, Error},
    openapi::{Operation, Part},
    violation::{Violation, classify},
};

/// The query string as `T`, which must carry `#[serde(deny_unknown_fields)]`; 422 with `errors: [{parameter, …}]`.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<T: JsonSchema> Part for Query<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.takes_query::<T>();
        operation.fails(&[Code::ValidationFailed, Code::NulCharacter]);
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        parse(&parts.uri).map(Self)
    }
}

pub(crate) fn parse<T: DeserializeOwned>(uri: &Uri) -> Result<T, Error> {
    let query = uri.query().unwrap_or("").as_bytes();
    if let Some((name, _)) =
        form_urlencoded::parse(query).find(|(name, value)| name.contains('\0') || value.contains('\0'))
    {
        let violation = Violation::in_query(&name, "nul_character", "the value contains NUL");
        return Err(Error::new(Code::NulCharacter, "the query string contains NUL").with_violations(vec![violation]));
    }
    let deserializer = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query));
    serde_path_to_error::deserialize(deserializer).map_err(|failed| {
        let message = failed.inner().to_string();
        let (code, field) = classify(&message);
        let named = failed.path().iter().next().and_then(|segment| match segment {
            Segment::Map { key } => Some(key.as_str()),
            Segment::Seq { .. } | Segment::Enum { .. } | Segment::Unknown => None,
        });
        Error::invalid(Violation::in_query(named.or(field).unwrap_or(""), code, &message))
    })
}

/// The parameter `limit`: how many rows a page has at the most, 1 to 200, 50 when not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(u16);

impl Limit {
    /// The largest page.
    pub const MAX: u16 = 200;

    /// The number of rows.
    pub fn get(self) -> u16 {
        self.0
    }

    /// One row more: how many to ask for in order to know whether there is a next page.
    pub fn and_one(self) -> i64 {
        i64::from(self.0) + 1
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(50)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| plain && (1..=Self::MAX).contains(number));
        number.map(Self).ok_or_else(|| serde::de::Error::custom("must be a whole number from 1 to 200"))
    }
}

impl JsonSchema for Limit {
    fn schema_name() -> Cow<'static, str> {
        "Limit".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "minimum": 1, "maximum": Self::MAX, "default": Self::default().get()})
    }
}

impl<T: JsonSchema> JsonSchema for Page<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("PageOf{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let rows = generator.subschema_for::<Vec<T>>();
        let cursor = generator.subschema_for::<Option<Cursor>>();
        let row = generator.definitions().get(T::schema_name().as_ref()).map(|row| row["examples"][0].clone());
        json_schema!({
            "description": "A page of a list; `next_cursor` is where the next one begins, `null` on the last.",
            "type": "object",
            "properties": {"data": rows, "next_cursor": cursor},
            "required": ["data", "next_cursor"],
            "examples": [{"data": row.as_slice(), "next_cursor": null}],
        })
    }
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Page<T> {
    /// Its rows.
    pub data: Vec<T>,
    /// Where the next page begins; `null` on the last one.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// A page of rows of which [`Limit::and_one`] were asked for; `cursor` is called for the last row that is shown.
    pub fn new(mut rows: Vec<T>, limit: Limit, cursor: impl FnOnce(&T) -> String) -> Self {
        let more = rows.len() > usize::from(limit.get());
        rows.truncate(usize::from(limit.get()));
        let next_cursor = rows.last().filter(|_| more).map(cursor);
        Self { data: rows, next_cursor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct List {
        #[serde(default)]
        limit: Limit,
        cursor: Option<String>,
        min_seq: Option<u64>,
        after: Option<Mode>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Mode {
        Text,
    }

    fn query(query: &str) -> Result<List, Error> {
        parse(&format!("/v1/things{query}").parse().unwrap())
    }

    #[test]
    fn a_limit_is_1_to_200_and_50_when_not_given() {
        assert_eq!(query("").unwrap().limit.get(), 50);
        for limit in [1, 50, 200] {
            assert_eq!(query(&format!("?limit={limit}")).unwrap().limit, Limit(limit));
        }
        for limit in ["0", "201", "abc", "", "-1", "%2B5", "1.0", "99999999999999999999", "%205"] {
            let error = query(&format!("?limit={limit}")).unwrap_err();
            assert_eq!(error.code(), Code::ValidationFailed, "{limit}");
            assert_eq!(error.violations()[0].parameter(), Some("limit"), "{limit}");
            assert_eq!(error.detail(), "must be a whole number from 1 to 200");
        }
    }

    #[test]
    fn unknown_doubled_and_malformed_parameters_are_refused_by_name() {
        let list = query("?cursor=a%20b&min_seq=7&after=text").unwrap();
        assert_eq!((list.cursor.as_deref(), list.min_seq), (Some("a b"), Some(7)));
        assert!(matches!(list.after, Some(Mode::Text)));
        for (text, parameter, code) in [
            ("?limt=5", "limt", "unknown_field"),
            ("?limit=5&limit=6", "limit", "duplicate_field"),
            ("?cursor=a&cursor=a", "cursor", "duplicate_field"),
            ("?min_seq=-1", "min_seq", "invalid_value"),
            ("?min_seq=x", "min_seq", "invalid_value"),
            ("?after=voice", "after", "invalid_value"),
            ("?=", "", "unknown_field"),
        ] {
            let error = query(text).unwrap_err();
            assert_eq!(error.code(), Code::ValidationFailed, "{text}");
            let violation = &error.violations()[0];
            assert_eq!(
                (violation.parameter(), violation.code()),
                (Some(parameter), code),
                "{text}: {}",
                violation.detail()
            );
        }
    }

    #[test]
    fn nul_in_a_query_is_refused_and_its_spelling_is_not() {
        assert_eq!(query("?cursor=a%00").unwrap_err().code(), Code::NulCharacter);
        assert_eq!(query("?a%00=1").unwrap_err().code(), Code::NulCharacter);
        assert_eq!(query("?cursor=%2500").unwrap().cursor.as_deref(), Some("%00"));
    }

    #[test]
    fn a_page_has_a_next_one_only_when_there_was_a_row_more() {
        let limit = Limit(2);
        assert_eq!(limit.and_one(), 3);
        let page = |rows: &[i64]| Page::new(rows.to_vec(), limit, |row| format!("after {row}"));
        assert_eq!(page(&[1, 2, 3]), Page { data: vec![1, 2], next_cursor: Some("after 2".into()) });
        assert_eq!(page(&[1, 2]), Page { data: vec![1, 2], next_cursor: None });
        assert_eq!(serde_json::to_string(&page(&[])).unwrap(), r#"{"data":[],"next_cursor":null}"#);
    }
}
