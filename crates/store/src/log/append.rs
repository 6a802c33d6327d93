//! The one round trip to PostgreSQL: `append_one` for a single event, `append_batch` for everything else.

use std::collections::{HashMap, HashSet};

use domain::EventMeta;
use sqlx::Row as _;
use sqlx::postgres::{PgConnection, PgRow};
use uuid::Uuid;

use super::CommandContext;
use super::arrays::Arrays;
use super::batch::{Batch, Entry};
use super::cache::StreamKey;
use super::unit::{Claim, NewEvent};
use crate::Error;

/// What PostgreSQL did with one command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Appended {
    Stored {
        seq: u64,
        version: u64,
    },
    Replayed {
        seq: u64,
        version: u64,
        receipt: String,
    },
    KeyReused,
    Claimed(String),
    /// A stream of its group has moved on, or another command of its group was answered differently: decide again.
    Conflict,
    /// Nothing is in its way, but something was in the way of another command of the batch: append it again as it is.
    Held,
    UnknownTenant,
}

impl Appended {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let number = |column| row.try_get::<i64, _>(column).map(i64::cast_unsigned);
        Ok(match row.try_get::<Option<&str>, _>("status")? {
            Some("stored") => Self::Stored { seq: number("seq")?, version: number("version")? },
            Some("replayed") => {
                Self::Replayed { seq: number("seq")?, version: number("version")?, receipt: row.try_get("receipt")? }
            }
            Some("key_reused") => Self::KeyReused,
            Some("claimed") => Self::Claimed(row.try_get("claim")?),
            Some("conflict") => Self::Conflict,
            _ => Self::UnknownTenant,
        })
    }
}

/// Appends the batch and commits; one answer per entry, in order.
pub(super) async fn append(connection: &mut PgConnection, batch: &Batch) -> Result<Vec<Appended>, sqlx::Error> {
    if let [entry] = batch.entries.as_slice()
        && let ([_], [touched]) = (entry.events.as_slice(), entry.touched.as_slice())
    {
        return Ok(vec![append_one(connection, entry, touched.expected).await?]);
    }
    let commands: Vec<Command<'_>> = batch.entries.iter().map(Entry::as_command).collect();
    append_batch(connection, &commands, &batch.streams).await
}

async fn append_one(
    connection: &mut PgConnection,
    entry: &Entry,
    expected: Option<u64>,
) -> Result<Appended, sqlx::Error> {
    let context = entry.job.context();
    let key = context.key.as_ref();
    let event = &entry.events[0];
    let row = sqlx::query("select * from append_one($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)")
        .bind(entry.tenant().0)
        .bind(context.caller.actor().id)
        .bind(key.map(|key| key.key.as_str()))
        .bind(key.map(|key| key.request_hash.as_slice()))
        .bind(entry.job.receipt())
        .bind(expected.map(u64::cast_signed))
        .bind(entry.claims.iter().map(|claim| claim.name.as_str()).collect::<Vec<_>>())
        .bind(event.category)
        .bind(event.stream)
        .bind(event.id)
        .bind(event.event_type.name)
        .bind(event.event_type.schema.cast_signed())
        .bind(event.data.get())
        .bind(meta(context))
        .bind(event.occurred_at.unwrap_or(context.occurred_at))
        .fetch_one(connection)
        .await?;
    Appended::from_row(&row)
}

/// A command as `append_batch` takes it.
pub(super) struct Command<'a> {
    pub(super) context: &'a CommandContext,
    pub(super) group: i32,
    /// The stream whose version is answered.
    pub(super) primary: Uuid,
    pub(super) receipt: &'a str,
    pub(super) claims: &'a [Claim],
    pub(super) events: &'a [NewEvent],
}

/// The events' metadata as JSON, the same for all events of a command.
pub(super) fn meta(context: &CommandContext) -> String {
    let meta = EventMeta {
        actor: context.caller.actor(),
        correlation_id: context.correlation_id,
        causation_id: context.causation_id,
        traceparent: context.traceparent.clone(),
    };
    // Ids and strings: this cannot fail.
    serde_json::to_string(&meta).unwrap_or_default()
}

/// Expected version and group of each stream, `None` for those that accumulate.
pub(super) type Streams = HashMap<StreamKey, Option<(u64, i32)>>;

/// The set-based form; one answer per command, in order. Either all are stored or none.
pub(super) async fn append_batch(
    connection: &mut PgConnection,
    commands: &[Command<'_>],
    touched: &Streams,
) -> Result<Vec<Appended>, sqlx::Error> {
    let mut arrays = Arrays::of(commands, touched);
    let groups = std::mem::take(&mut arrays.groups);
    let rows = arrays.into_query().fetch_all(connection).await?;
    answers(&rows, commands, &groups)
}

/// One answer per command from the rows of `append_batch`: either they are all stored, or some are in the way of the others.
fn answers(rows: &[PgRow], commands: &[Command<'_>], groups: &[Option<i32>]) -> Result<Vec<Appended>, sqlx::Error> {
    let mut answers: Vec<Option<Appended>> = commands.iter().map(|_| None).collect();
    let mut spoilt = HashSet::new();
    for row in rows {
        let at = usize::try_from(row.try_get::<i32, _>("nth")? - 1).unwrap_or(usize::MAX);
        if row.try_get::<&str, _>("status")? == "moved" {
            spoilt.extend(groups.get(at).copied().flatten());
        } else if let Some((command, answer @ None)) = commands.get(at).zip(answers.get_mut(at)) {
            let appended = Appended::from_row(row)?;
            if !matches!(appended, Appended::Stored { .. }) {
                spoilt.insert(command.group);
            }
            *answer = Some(appended);
        }
    }
    let or_not = |group| if spoilt.contains(&group) { Appended::Conflict } else { Appended::Held };
    let answers = answers.into_iter().zip(commands);
    Ok(answers.map(|(answer, command)| answer.unwrap_or_else(|| or_not(command.group))).collect())
}

/// An append's failure as the waiting command is told.
pub(super) fn failure(error: sqlx::Error) -> Error {
    if crate::error::is_connection_end(&error) { Error::OutcomeUnknown } else { error.into() }
}
