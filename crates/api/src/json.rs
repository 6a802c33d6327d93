//! JSON that passes through unread: clients' objects on the way in, stored JSON on the way out.

use domain::JsonObject;
use serde_json::value::RawValue;

use crate::{error::Error, violation::Violation};

/// 422 when a client's object is longer than allowed.
pub(crate) fn object(object: Option<&JsonObject>, member: &str, most: usize) -> Result<(), Error> {
    at_most(member, object.map_or(0, |object| object.as_str().len()), most, "bytes")
}

/// 422 when something is longer than allowed.
pub(crate) fn at_most(member: &str, found: usize, most: usize, unit: &str) -> Result<(), Error> {
    if found <= most {
        return Ok(());
    }
    let detail = format!("has {found} {unit}, at most {most} are allowed");
    Err(Error::invalid(Violation::in_body(member.split('/'), "too_long", &detail)))
}

/// Stored JSON as it goes into an answer.
pub(crate) fn raw(text: Option<String>) -> Result<Option<Box<RawValue>>, Error> {
    text.map(RawValue::from_string).transpose().map_err(Error::internal)
}
