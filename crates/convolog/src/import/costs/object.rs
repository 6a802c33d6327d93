//! A cost export as JSON lines: one object per line, of the same members as a table has columns.

use std::fmt;
use std::io::BufRead;

use chrono::{DateTime, Utc};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use super::columns::{Fields, choose};
use super::identity::Seen;
use super::row::Row;
use crate::import::line::{LeftOut, LineError, json_of};
use crate::import::lines::{Lines, read_with};
use crate::import::told::Told;

/// Reads the rows on a thread of their own; `now` is what no cost may lie far behind.
pub(super) fn rows(source: impl BufRead + Send + 'static, now: DateTime<Utc>) -> Lines<Row> {
    let mut seen = Seen::default();
    read_with(source, move |line| parse(line, now, &mut seen))
}

/// Reads one line, without its line feed.
pub(super) fn parse(line: &[u8], now: DateTime<Utc>, seen: &mut Seen) -> Result<Row, LineError> {
    let line = line.trim_ascii();
    let Members(members) = serde_json::from_str(json_of(line)?).map_err(|error| {
        let message = error.to_string();
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
        LineError::whole("wrong_type", message)
    })?;
    let (names, values): (Vec<String>, Vec<Option<Told>>) = members.into_iter().unzip();
    let (mut fields, mut left_out) = (Fields::default(), LeftOut::default());
    for ((name, value), column) in names.iter().zip(values).zip(choose(&names)?) {
        match (column, value) {
            (Some(column), Some(told)) if told != Told::Text(String::new()) => fields.add(column, name, told),
            (Some(_), _) | (None, None) => {}
            (None, Some(_)) => left_out.add(name),
        }
    }
    Row::new(fields, left_out, now, || seen.identify([line]))
}

/// The members of an object in their order; `None` for `null`.
struct Members(Vec<(String, Option<Told>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor).map(Self)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Vec<(String, Option<Told>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}
