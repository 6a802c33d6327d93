//! Conditional changes: the `ETag` of a version and the header `If-Match`; versions are compared by whoever writes.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderValue, header, request::Parts},
};

use serde_json::{Value, json};

use crate::{
    error::{Code, Error},
    openapi::{Operation, Part},
};

/// The header `If-Match` of a change.
///
/// A weak tag never matches (RFC 9110 compares strongly here), and neither does a tag that we never gave out: both
/// become [`IfMatch::Version`] 0, which no resource has, so they end in 412 like any outdated one. A list of tags is
/// refused with 400: a resource has one version, so a list only hides a mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// Not sent: any version will do.
    Absent,
    /// `*`: any version will do, provided there is one.
    Exists,
    /// This version; 0 matches none.
    Version(u64),
}

impl IfMatch {
    /// The version that is asked for, if one is.
    pub fn version(self) -> Option<u64> {
        match self {
            Self::Version(version) => Some(version),
            Self::Absent | Self::Exists => None,
        }
    }

    /// 412 unless the existing resource's version fits.
    pub fn check(self, current: u64) -> Result<(), Error> {
        match self {
            Self::Version(version) if version != current || version == 0 => Err(mismatch(current)),
            Self::Absent | Self::Exists | Self::Version(_) => Ok(()),
        }
    }
}

/// The one 412.
pub fn mismatch(current: u64) -> Error {
    Error::new(Code::VersionMismatch, format!("The current version is {current}.")).with_current_version(current)
}

/// The strong tag of a version.
pub fn etag(version: u64) -> HeaderValue {
    // Digits between quotes are always a valid header value.
    HeaderValue::from_str(&format!("\"{version}\"")).unwrap_or_else(|_| HeaderValue::from_static("\"0\""))
}

impl IfMatch {
    /// Its name in the document.
    pub(crate) const NAME: &'static str = "If-Match";

    /// How the document describes it.
    pub(crate) fn parameter() -> Value {
        json!({
            "name": Self::NAME, "in": "header", "required": false,
            "description": "The `ETag` that the resource must still have, or `*`; else 412 `version_mismatch`.",
            "schema": {"type": "string", "anyOf": [{"const": "*"}, {"pattern": "^\"[1-9][0-9]{0,18}\"$"}],
                "examples": ["\"1\""]},
        })
    }
}

impl Part for IfMatch {
    fn describe(operation: &mut Operation<'_>) {
        operation.takes_parameter(Self::NAME);
        operation.fails(&[Code::InvalidHeader, Code::VersionMismatch]);
    }
}

/// Stands for `If-Match` in requests about what has no version that a condition could name, as what is being created: one is
/// refused with 400.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoCondition;

impl Part for NoCondition {
    fn describe(operation: &mut Operation<'_>) {
        operation.fails(&[Code::InvalidHeader]);
    }
}

impl<S: Send + Sync> FromRequestParts<S> for NoCondition {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        match parse(&parts.headers)? {
            IfMatch::Absent => Ok(Self),
            IfMatch::Exists | IfMatch::Version(_) => {
                Err(Error::new(Code::InvalidHeader, "This has no version that If-Match could name."))
            }
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        parse(&parts.headers)
    }
}

fn parse(headers: &HeaderMap) -> Result<IfMatch, Error> {
    let refuse = |detail: &'static str| Err(Error::new(Code::InvalidHeader, detail));
    let mut values = headers.get_all(header::IF_MATCH).iter();
    let Some(value) = values.next() else { return Ok(IfMatch::Absent) };
    if values.next().is_some() {
        return refuse("If-Match must name one entity tag: it was sent more than once.");
    }
    let text = value.as_bytes().trim_ascii();
    if text == b"*" {
        return Ok(IfMatch::Exists);
    }
    let (weak, tag) = match text.strip_prefix(b"W/") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let Some(opaque) = tag.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) else {
        return refuse("If-Match must be an entity tag in quotation marks, such as \"7\", or *.");
    };
    if opaque.contains(&b'"') {
        return refuse("If-Match must name one entity tag: lists are not supported.");
    }
    let version = std::str::from_utf8(opaque).ok().and_then(|text| {
        let version: u64 = text.parse().ok()?;
        // Tags are compared as text: `007` and `+7` are not the tag of version 7.
        (version.to_string() == text).then_some(version)
    });
    Ok(IfMatch::Version(if weak { 0 } else { version.unwrap_or(0) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(values: &[&str]) -> Result<IfMatch, Code> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::IF_MATCH, value.parse().unwrap());
        }
        parse(&headers).map_err(|error| error.code())
    }

    #[test]
    fn the_tag_of_a_version_names_that_version() {
        for version in [1, 7, u64::MAX] {
            assert_eq!(with(&[etag(version).to_str().unwrap()]), Ok(IfMatch::Version(version)));
        }
        assert_eq!(with(&[]), Ok(IfMatch::Absent));
        assert_eq!(with(&[" * "]), Ok(IfMatch::Exists));
    }

    #[test]
    fn weak_and_foreign_tags_match_no_version() {
        for tag in ["W/\"7\"", "\"abc\"", "\"007\"", "\"+7\"", "\"\"", "\"18446744073709551616\"", "\"0\""] {
            let condition = with(&[tag]).unwrap();
            assert_eq!(condition, IfMatch::Version(0), "{tag}");
            assert!(condition.check(0).is_err() && condition.check(7).is_err(), "{tag}");
        }
    }

    #[test]
    fn lists_and_what_is_no_tag_are_refused() {
        for values in
            [&["7"][..], &["\"7"], &["\"7\", \"8\""], &["\"7\",*"], &["\"7\"", "\"7\""], &[""], &["w/\"7\""], &["\""]]
        {
            assert_eq!(with(values), Err(Code::InvalidHeader), "{values:?}");
        }
    }

    #[test]
    fn a_mismatch_tells_the_current_version() {
        assert!(IfMatch::Version(7).check(7).is_ok() && IfMatch::Exists.check(7).is_ok());
        assert!(IfMatch::Absent.check(7).is_ok());
        let error = IfMatch::Version(6).check(7).unwrap_err();
        assert_eq!(error.code(), Code::VersionMismatch);
        assert!(serde_json::to_string(error.members()).unwrap().contains(r#""current_version":7"#));
    }
}
