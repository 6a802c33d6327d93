//! The one round trip to PostgreSQL: `append_one` for a single event, `append_batch` for everything else.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::EventMeta;
use sqlx::Row as _;
use sqlx::postgres::{PgConnection, PgRow};
use uuid::Uuid;

use super::CommandContext;
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
    /// Its group was not stored because a stream has moved on or another command of it was answered differently.
    Conflict,
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

/// One array per parameter of `append_batch`.
#[derive(Default)]
struct Arrays<'a> {
    tenants: Vec<Uuid>,
    groups: Vec<i32>,
    primaries: Vec<Uuid>,
    actors: Vec<Uuid>,
    keys: Vec<Option<&'a str>>,
    hashes: Vec<Option<&'a [u8]>>,
    receipts: Vec<&'a str>,
    claim_commands: Vec<i32>,
    claim_backs: Vec<i32>,
    claims: Vec<&'a str>,
    event_commands: Vec<i32>,
    categories: Vec<&'a str>,
    streams: Vec<Uuid>,
    ids: Vec<Uuid>,
    names: Vec<&'a str>,
    schemas: Vec<i16>,
    data: Vec<&'a str>,
    metas: Vec<String>,
    occurred: Vec<DateTime<Utc>>,
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

impl<'a> Arrays<'a> {
    fn push(&mut self, number: i32, command: &Command<'a>) {
        let Command { context, events, claims, .. } = *command;
        let key = context.key.as_ref();
        self.tenants.push(context.caller.tenant().0);
        self.groups.push(command.group);
        self.primaries.push(command.primary);
        self.actors.push(context.caller.actor().id);
        self.keys.push(key.map(|key| key.key.as_str()));
        self.hashes.push(key.map(|key| key.request_hash.as_slice()));
        self.receipts.push(command.receipt);
        for claim in claims {
            self.claim_commands.push(number);
            self.claim_backs.push(count(events.len().saturating_sub(claim.event + 1)));
            self.claims.push(&claim.name);
        }
        let meta = meta(context);
        for event in events {
            self.event_commands.push(number);
            self.categories.push(event.category);
            self.streams.push(event.stream);
            self.ids.push(event.id);
            self.names.push(event.event_type.name);
            self.schemas.push(event.event_type.schema.cast_signed());
            self.data.push(event.data.get());
            self.metas.push(meta.clone());
            self.occurred.push(event.occurred_at.unwrap_or(context.occurred_at));
        }
    }
}

/// Of a batch, which is bounded.
fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// The events' metadata as JSON, the same for all events of a command.
fn meta(context: &CommandContext) -> String {
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

/// The set-based form; one answer per command, in order.
pub(super) async fn append_batch(
    connection: &mut PgConnection,
    commands: &[Command<'_>],
    touched: &Streams,
) -> Result<Vec<Appended>, sqlx::Error> {
    let mut arrays = Arrays::default();
    for (number, command) in (1..).zip(commands) {
        arrays.push(number, command);
    }
    let (mut groups, mut tenants, mut streams, mut expected) = (vec![], vec![], vec![], vec![]);
    for (key, decided) in touched {
        groups.push(decided.map_or(0, |(_, group)| group));
        tenants.push(key.tenant.0);
        streams.push(key.stream);
        expected.push(decided.map(|(version, _)| version.cast_signed()));
    }
    let rows = sqlx::query(
        "select * from append_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
                                    $19, $20, $21, $22, $23)",
    )
    .bind(arrays.tenants)
    .bind(arrays.groups)
    .bind(arrays.primaries)
    .bind(arrays.actors)
    .bind(arrays.keys)
    .bind(arrays.hashes)
    .bind(arrays.receipts)
    .bind(groups)
    .bind(tenants)
    .bind(streams)
    .bind(expected)
    .bind(arrays.claim_commands)
    .bind(arrays.claims)
    .bind(arrays.claim_backs)
    .bind(arrays.event_commands)
    .bind(arrays.categories)
    .bind(arrays.streams)
    .bind(arrays.ids)
    .bind(arrays.names)
    .bind(arrays.schemas)
    .bind(arrays.data)
    .bind(arrays.metas)
    .bind(arrays.occurred)
    .fetch_all(connection)
    .await?;
    let mut answers: Vec<Appended> = commands.iter().map(|_| Appended::UnknownTenant).collect();
    for row in &rows {
        let number: i32 = row.try_get("command")?;
        if let Some(answer) = usize::try_from(number - 1).ok().and_then(|at| answers.get_mut(at)) {
            *answer = Appended::from_row(row)?;
        }
    }
    Ok(answers)
}

/// An append's failure as the waiting command is told.
pub(super) fn failure(error: sqlx::Error) -> Error {
    if crate::error::is_connection_end(&error) { Error::OutcomeUnknown } else { error.into() }
}
