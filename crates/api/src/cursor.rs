//! Opaque keyset cursors, each good for the one list that gave it out. They hold no secret and grant nothing.

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use domain::TenantId;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use sha2::{Digest, Sha256};

use crate::error::{Code, Error};

/// The list that a cursor belongs to: a cursor of any other is refused.
///
/// The binding catches mistakes (a cursor reused after a filter was changed); it is no signature. A forged cursor only
/// moves within rows that the caller may see anyway.
#[derive(Clone, Debug)]
pub struct Scope<'a> {
    /// The route, for example `GET /v1/sessions`.
    pub route: &'a str,
    /// Whose rows.
    pub tenant: TenantId,
    /// The filters in one canonical spelling, for example `status=open&mode=`.
    pub filters: &'a str,
    /// The order, for example `desc`.
    pub order: &'a str,
}

/// What [`Scope::encode`] gives out, for the document: `#[schemars(with = "Cursor")]`.
pub(crate) struct Cursor;

impl JsonSchema for Cursor {
    fn schema_name() -> Cow<'static, str> {
        "Cursor".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[A-Za-z0-9_-]{22}$"})
    }
}

impl Scope<'_> {
    /// The cursor after the row at this position.
    pub fn encode(&self, position: i64) -> String {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&position.to_be_bytes());
        bytes[8..].copy_from_slice(&self.binding(position));
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The position of a cursor of this list; 400 `cursor_mismatch` for any other text.
    pub fn decode(&self, cursor: &str) -> Result<i64, Error> {
        // 18 is what the decoder wants to see for 22 letters before it knows that they are 16 bytes.
        let mut bytes = [0; 18];
        let length = BASE64_URL_SAFE_NO_PAD.decode_slice(cursor, &mut bytes);
        let position = i64::from_be_bytes(std::array::from_fn(|index| bytes[index]));
        if length == Ok(16) && bytes[8..16] == self.binding(position) {
            return Ok(position);
        }
        Err(Error::new(Code::CursorMismatch, "Use next_cursor of the same list with the same filters, or none."))
    }

    /// First 8 bytes of SHA-256 over everything that a cursor is bound to. Lengths keep neighbours apart.
    fn binding(&self, position: i64) -> [u8; 8] {
        let mut hash = Sha256::new();
        for part in [self.route, self.filters, self.order] {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        hash.update(self.tenant.0.as_bytes());
        hash.update(position.to_be_bytes());
        let hash = hash.finalize();
        std::array::from_fn(|index| hash[index])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const LIST: Scope<'static> = Scope {
        route: "GET /v1/sessions",
        tenant: TenantId(Uuid::from_u128(1)),
        filters: "status=open",
        order: "desc",
    };

    #[test]
    fn a_cursor_leads_back_to_its_position() {
        for position in [0, 1, 42, i64::MAX, i64::MIN] {
            assert_eq!(LIST.decode(&LIST.encode(position)).unwrap(), position);
        }
    }

    #[test]
    fn a_cursor_of_another_list_is_refused() {
        let others = [
            Scope { route: "GET /v1/users", ..LIST },
            Scope { tenant: TenantId(Uuid::from_u128(2)), ..LIST },
            Scope { filters: "status=ended", ..LIST },
            Scope { order: "asc", ..LIST },
            Scope { filters: "status=opendes", order: "c", ..LIST },
        ];
        for other in others {
            assert_eq!(LIST.decode(&other.encode(42)).unwrap_err().code(), Code::CursorMismatch, "{other:?}");
        }
    }

    #[test]
    fn a_changed_byte_and_garbage_are_refused() {
        let good = LIST.encode(42);
        for index in 0..good.len() {
            for letter in ['A', 'B', '_', '=', '\u{e4}'] {
                let mut letters: Vec<char> = good.chars().collect();
                letters[index] = letter;
                let changed: String = letters.into_iter().collect();
                assert_eq!(LIST.decode(&changed).is_ok(), changed == good, "{changed}");
            }
        }
        for garbage in ["", "x", "null", &good[1..], &format!("{good}A"), &format!("{good}=="), &"A".repeat(100_000)] {
            assert_eq!(LIST.decode(garbage).unwrap_err().code(), Code::CursorMismatch);
        }
    }
}
