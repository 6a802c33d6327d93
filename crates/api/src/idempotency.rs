//! The header `Idempotency-Key`, checked for form only; what a key means is the log's business.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, request::Parts},
};

use serde_json::{Value, json};

use crate::{
    error::{Code, Error},
    openapi::{Operation, Part},
};

/// Longest key in characters.
pub const MAX_KEY: usize = 200;

/// The header's name.
pub(crate) const HEADER: &str = "idempotency-key";

/// The client's name for this very request; `None` when it gave none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(pub Option<String>);

impl Part for IdempotencyKey {
    fn describe(operation: &mut Operation<'_>) {
        operation.takes_parameter(Self::NAME);
        operation.fails(&[Code::InvalidHeader, Code::IdempotencyKeyReused]);
    }
}

impl IdempotencyKey {
    /// Its name in the document.
    pub(crate) const NAME: &'static str = "Idempotency-Key";

    /// How the document describes it.
    pub(crate) fn parameter() -> Value {
        json!({
            "name": Self::NAME, "in": "header", "required": false,
            "description": "Makes the request safe to repeat: the same request under the same key is done once and \
                gets the first answer again, with `Idempotency-Replayed: true`. Kept for ever, per tenant and user.",
            "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY, "pattern": "^[ -~]*$",
                "examples": ["order-17"]},
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        parse(&parts.headers).map(Self)
    }
}

fn parse(headers: &HeaderMap) -> Result<Option<String>, Error> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Error::new(Code::InvalidHeader, "Idempotency-Key was sent more than once."));
    }
    let bytes = value.as_bytes();
    let printable = bytes.iter().all(|byte| (0x20..=0x7e).contains(byte));
    match std::str::from_utf8(bytes) {
        Ok(key) if printable && (1..=MAX_KEY).contains(&bytes.len()) => Ok(Some(key.to_owned())),
        Ok(_) | Err(_) => {
            Err(Error::new(Code::InvalidHeader, "Idempotency-Key must be 1 to 200 printable ASCII characters."))
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn with(values: &[&[u8]]) -> Result<Option<String>, Code> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("Idempotency-Key", HeaderValue::from_bytes(value).unwrap());
        }
        parse(&headers).map_err(|error| error.code())
    }

    #[test]
    fn a_key_is_up_to_200_printable_characters_and_none_is_fine() {
        assert_eq!(with(&[]), Ok(None));
        assert_eq!(with(&[b"order 17 ~!"]), Ok(Some("order 17 ~!".into())));
        assert_eq!(with(&[&[b'k'; MAX_KEY]]), Ok(Some("k".repeat(MAX_KEY))));
    }

    #[test]
    fn an_empty_long_foreign_or_doubled_key_is_refused() {
        for values in
            [&[b"".as_slice()][..], &[&[b'k'; MAX_KEY + 1]], &["schlüssel".as_bytes()], &[b"a\tb"], &[b"a", b"a"]]
        {
            assert_eq!(with(values), Err(Code::InvalidHeader), "{values:?}");
        }
    }
}
