//! The one round trip to PostgreSQL: `append_one` for a single event, `append_batch` for everything else.

use std::collections::{HashMap, HashSet};

use domain::{EventMeta, TenantId};
use sqlx::Row as _;
use sqlx::postgres::{PgConnection, PgRow};
use uuid::Uuid;

use super::CommandContext;
use super::arrays::Arrays;
use super::batch::{Batch, Entry};
use super::cache::StreamKey;
use super::unit::{Claim, NewEvent, Touched};
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

    /// The number of the last event, when the events are stored now.
    pub(crate) fn stored(&self) -> Option<u64> {
        match self {
            Self::Stored { seq, .. } => Some(*seq),
            Self::Replayed { .. }
            | Self::KeyReused
            | Self::Claimed(_)
            | Self::Conflict
            | Self::Held
            | Self::UnknownTenant => None,
        }
    }
}

/// What has come of a batch.
pub(super) struct Answers {
    /// One per command, in order.
    pub(super) commands: Vec<Appended>,
    /// The heads that were moved, and how they were found; empty when nothing was stored.
    pub(super) heads: Vec<(TenantId, Found)>,
}

/// A head before it was moved: the last number of the tenant's log, and who had moved it there.
pub(super) type Found = (u64, Option<Uuid>);

/// Appends the batch and commits.
pub(super) async fn append(connection: &mut PgConnection, batch: &Batch, commit: Uuid) -> Result<Answers, sqlx::Error> {
    if let [entry] = batch.entries.as_slice()
        && let ([_], [touched]) = (entry.events.as_slice(), entry.touched.as_slice())
    {
        let last_commit = batch.tenants.get(&entry.tenant()).copied().flatten();
        return append_one(connection, entry, touched, (commit, last_commit)).await;
    }
    let commands: Vec<Command<'_>> = batch.entries.iter().map(Entry::as_command).collect();
    append_batch(connection, &commands, &batch.streams, Some((commit, &batch.tenants))).await
}

async fn append_one(
    connection: &mut PgConnection,
    entry: &Entry,
    touched: &Touched,
    (commit, last_commit): (Uuid, Option<Uuid>),
) -> Result<Answers, sqlx::Error> {
    let context = entry.job.context();
    let key = context.key.as_ref();
    let event = &entry.events[0];
    let expected = touched.expected.map(u64::cast_signed);
    let sql =
        "select * from append_one($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)";
    let row = sqlx::query(sql)
        .bind(commit)
        .bind(last_commit)
        .bind(expected.filter(|_| touched.vouched_for))
        .bind(entry.tenant().0)
        .bind(context.caller.actor().id)
        .bind(key.map(|key| key.key.as_str()))
        .bind(key.map(|key| key.request_hash.as_slice()))
        .bind(entry.job.receipt())
        .bind(expected)
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
    let answer = Appended::from_row(&row)?;
    let heads = match answer.stored() {
        Some(seq) => vec![(entry.tenant(), (seq.saturating_sub(1), row.try_get("last_commit")?))],
        None => vec![],
    };
    Ok(Answers { commands: vec![answer], heads })
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

/// A stream that a batch has decided on.
#[derive(Clone, Copy)]
pub(super) struct DecidedOn {
    pub(super) expected: u64,
    /// As [`Touched::vouched_for`].
    pub(super) vouched_for: bool,
    pub(super) group: i32,
}

/// What each stream of a batch was decided on, `None` for those that accumulate.
pub(super) type Streams = HashMap<StreamKey, Option<DecidedOn>>;

/// The tenants of a batch, with the last commit that this process knows of.
pub(super) type LastCommits = HashMap<TenantId, Option<Uuid>>;

/// The set-based form: either all are stored or none. With the id of the commit, when this process is to remember it, and the
/// last commits of the tenants that it knows of.
pub(super) async fn append_batch(
    connection: &mut PgConnection,
    commands: &[Command<'_>],
    touched: &Streams,
    remembered: Option<(Uuid, &LastCommits)>,
) -> Result<Answers, sqlx::Error> {
    let (commit, last_commits) = remembered.unzip();
    let arrays = Arrays::of(commands, touched, last_commits);
    let rows = arrays.query(commit).fetch_all(connection).await?;
    match rows.as_slice() {
        [row] if row.try_get::<&str, _>("status")? == "stored" => arrays.stored(row),
        in_the_way => Ok(Answers { commands: obstacles(in_the_way, commands, &arrays.groups)?, heads: vec![] }),
    }
}

/// One answer per command when some were in the way.
fn obstacles(rows: &[PgRow], commands: &[Command<'_>], groups: &[Option<i32>]) -> Result<Vec<Appended>, sqlx::Error> {
    let mut answers: Vec<Option<Appended>> = commands.iter().map(|_| None).collect();
    let mut spoilt = HashSet::new();
    for row in rows {
        let at = usize::try_from(row.try_get::<i32, _>("nth")? - 1).unwrap_or(usize::MAX);
        if row.try_get::<&str, _>("status")? == "moved" {
            spoilt.extend(groups.get(at).copied().flatten());
        } else if let Some((command, answer @ None)) = commands.get(at).zip(answers.get_mut(at)) {
            spoilt.insert(command.group);
            *answer = Some(Appended::from_row(row)?);
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
