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

/// Most numbers that a row's place in a list is made of.
const MAX_NUMBERS: usize = 2;

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
        json_schema!({"type": "string", "pattern": "^[A-Za-z0-9_-]{22}([A-Za-z0-9_-]{10})?$"})
    }
}

/// The one refusal of cursors.
pub(crate) fn mismatch() -> Error {
    Error::new(Code::CursorMismatch, "Use next_cursor of the same list with the same filters, or none.")
}

impl Scope<'_> {
    /// The cursor after the row at this position: the numbers, at most two, by which the list is ordered.
    pub fn encode<const N: usize>(&self, position: [i64; N]) -> String {
        let mut bytes: Vec<u8> = position.into_iter().flat_map(i64::to_be_bytes).collect();
        bytes.extend(self.binding(&bytes));
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The position of a cursor of this list; 400 `cursor_mismatch` for any other text.
    pub fn decode<const N: usize>(&self, cursor: &str) -> Result<[i64; N], Error> {
        const { assert!(N <= MAX_NUMBERS) };
        // Two more than there can be: the decoder wants to see them before it knows how many bytes the letters are.
        let mut bytes = [0; 8 * (MAX_NUMBERS + 1) + 2];
        let length = BASE64_URL_SAFE_NO_PAD.decode_slice(cursor, &mut bytes);
        let (numbers, binding) = bytes.split_at(8 * N);
        if length == Ok(8 * (N + 1)) && binding[..8] == self.binding(numbers) {
            let number = |at: usize| i64::from_be_bytes(std::array::from_fn(|byte| numbers[8 * at + byte]));
            return Ok(std::array::from_fn(number));
        }
        Err(mismatch())
    }

    /// First 8 bytes of SHA-256 over everything that a cursor is bound to. Lengths keep neighbours apart.
    fn binding(&self, position: &[u8]) -> [u8; 8] {
        let mut hash = Sha256::new();
        for part in [self.route, self.filters, self.order] {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        hash.update(self.tenant.0.as_bytes());
        hash.update(position);
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
            assert_eq!(LIST.decode(&LIST.encode([position])).unwrap(), [position]);
            for second in [0, 42, i64::MIN] {
                assert_eq!(LIST.decode(&LIST.encode([position, second])).unwrap(), [position, second]);
            }
        }
        assert_eq!((LIST.encode([1]).len(), LIST.encode([1, 2]).len()), (22, 32));
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
            let refused = LIST.decode::<1>(&other.encode([42])).unwrap_err();
            assert_eq!(refused.code(), Code::CursorMismatch, "{other:?}");
        }
        assert!(LIST.decode::<1>(&LIST.encode([1, 2])).is_err() && LIST.decode::<2>(&LIST.encode([1])).is_err());
    }

    #[test]
    fn a_changed_byte_and_garbage_are_refused() {
        refuses_changes::<1>(&LIST.encode([42]));
        refuses_changes::<2>(&LIST.encode([42, -1]));
    }

    fn refuses_changes<const N: usize>(good: &str) {
        for index in 0..good.len() {
            for letter in ['A', 'B', '_', '=', '\u{e4}'] {
                let mut letters: Vec<char> = good.chars().collect();
                letters[index] = letter;
                let changed: String = letters.into_iter().collect();
                assert_eq!(LIST.decode::<N>(&changed).is_ok(), changed == good, "{changed}");
            }
        }
        for garbage in ["", "x", "null", &good[1..], &format!("{good}A"), &format!("{good}=="), &"A".repeat(100_000)] {
            assert_eq!(LIST.decode::<N>(garbage).unwrap_err().code(), Code::CursorMismatch);
        }
    }
}
