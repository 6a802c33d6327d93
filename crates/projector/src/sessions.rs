//! Projection `sessions`: one row per session, with what its messages add up to.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::session::{Event, Started};
use domain::{Fact, RecordedEvent};
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, PgConnection, Postgres};
use uuid::Uuid;

use crate::projection::{Projected, Projection, Table, Write};

/// See the module.
pub(crate) struct Sessions;

/// What a batch does to one session.
#[derive(Default)]
struct Change<'a> {
    started: Option<(&'a RecordedEvent, &'a Started)>,
    messages: i64,
    last_message_at: Option<DateTime<Utc>>,
    /// When it ended, and the version of that event.
    ended: Option<(DateTime<Utc>, i64)>,
}

type Changes<'a> = BTreeMap<(Uuid, Uuid), Change<'a>>;

fn changes<'a>(events: &'a [Projected<'a>]) -> Changes<'a> {
    let mut changes = Changes::new();
    for Projected { event, fact } in events {
        let Fact::Session(fact) = fact else { continue };
        let change = changes.entry((event.tenant.0, event.stream)).or_default();
        match fact {
            Event::SessionStarted(started) => change.started = Some((event, started)),
            Event::MessagePosted(_) => {
                change.messages += 1;
                change.last_message_at = change.last_message_at.max(Some(event.occurred_at));
            }
            Event::SessionEnded => change.ended = Some((event.occurred_at, event.version.cast_signed())),
        }
    }
    changes
}

impl Projection for Sessions {
    fn name(&self) -> &'static str {
        "sessions"
    }

    fn version(&self) -> i32 {
        1
    }

    fn tables(&self) -> &'static [Table] {
        &[Table { name: "sessions", key: &["id"] }]
    }

    fn write<'a>(&'a self, connection: &'a mut PgConnection, events: &'a [Projected<'a>]) -> Write<'a> {
        Box::pin(async move {
            let changes = changes(events);
            insert(connection, &changes).await?;
            update(connection, &changes).await
        })
    }
}

#[derive(Default)]
struct NewRows<'a> {
    tenants: Vec<Uuid>,
    ids: Vec<Uuid>,
    seqs: Vec<i64>,
    modes: Vec<&'a str>,
    widgets: Vec<Option<Uuid>>,
    meetings: Vec<Option<Uuid>>,
    personalities: Vec<Option<Uuid>>,
    metadata: Vec<Option<&'a str>>,
    messages: Vec<i64>,
    started: Vec<DateTime<Utc>>,
    ended: Vec<Option<DateTime<Utc>>>,
    last_messages: Vec<Option<DateTime<Utc>>>,
    versions: Vec<i64>,
}

/// Sessions that began in this batch, in the state in which the batch leaves them.
async fn insert(connection: &mut PgConnection, changes: &Changes<'_>) -> Result<(), sqlx::Error> {
    let mut rows = NewRows::default();
    for ((tenant, id), change) in changes {
        let Some((event, started)) = change.started else { continue };
        rows.tenants.push(*tenant);
        rows.ids.push(*id);
        rows.seqs.push(event.seq.cast_signed());
        rows.modes.push(started.mode.as_str());
        rows.widgets.push(started.widget_id);
        rows.meetings.push(started.meeting_id);
        rows.personalities.push(started.personality_id);
        rows.metadata.push(started.metadata.as_ref().map(domain::JsonObject::as_str));
        rows.messages.push(change.messages);
        rows.started.push(event.occurred_at);
        rows.ended.push(change.ended.map(|(at, _)| at));
        rows.last_messages.push(change.last_message_at);
        rows.versions.push(change.ended.map_or(event.version.cast_signed(), |(_, version)| version));
    }
    if rows.ids.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into sessions (tenant_id, id, seq, status, mode, widget_id, meeting_id, personality_id, metadata,
                               message_count, started_at, ended_at, last_message_at, version)
         select tenant, id, seq, case when ended is null then 'open' else 'ended' end, mode, widget, meeting,
                personality, metadata::json, messages, started, ended, last_message, version
         from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::uuid[], $6::uuid[], $7::uuid[],
                     $8::text[], $9::bigint[], $10::timestamptz[], $11::timestamptz[], $12::timestamptz[],
                     $13::bigint[])
           as r (tenant, id, seq, mode, widget, meeting, personality, metadata, messages, started, ended,
                 last_message, version)",
    )
    .bind(rows.tenants)
    .bind(rows.ids)
    .bind(rows.seqs)
    .bind(rows.modes)
    .bind(rows.widgets)
    .bind(rows.meetings)
    .bind(rows.personalities)
    .bind(rows.metadata)
    .bind(rows.messages)
    .bind(rows.started)
    .bind(rows.ended)
    .bind(rows.last_messages)
    .bind(rows.versions)
    .execute(connection)
    .await?;
    Ok(())
}

/// Sessions that began before this batch.
async fn update(connection: &mut PgConnection, changes: &Changes<'_>) -> Result<(), sqlx::Error> {
    let old: Vec<_> = changes.iter().filter(|(_, change)| change.started.is_none()).collect();
    // Most batches are one event: its statement is planned once, that with arrays every time.
    let query = match *old {
        [] => return Ok(()),
        [((tenant, id), change)] => update_from("(select $1, $2, $3, $4, $5, $6)")
            .bind(*tenant)
            .bind(*id)
            .bind(change.messages)
            .bind(change.last_message_at)
            .bind(change.ended.map(|(at, _)| at))
            .bind(change.ended.map(|(_, version)| version)),
        _ => update_from(
            "unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::timestamptz[], $5::timestamptz[], $6::bigint[])",
        )
        .bind(old.iter().map(|((tenant, _), _)| *tenant).collect::<Vec<_>>())
        .bind(old.iter().map(|((_, id), _)| *id).collect::<Vec<_>>())
        .bind(old.iter().map(|(_, change)| change.messages).collect::<Vec<_>>())
        .bind(old.iter().map(|(_, change)| change.last_message_at).collect::<Vec<_>>())
        .bind(old.iter().map(|(_, change)| change.ended.map(|(at, _)| at)).collect::<Vec<_>>())
        .bind(old.iter().map(|(_, change)| change.ended.map(|(_, version)| version)).collect::<Vec<_>>()),
    };
    query.execute(connection).await?;
    Ok(())
}

fn update_from(changes: &str) -> Query<'static, Postgres, PgArguments> {
    sqlx::query(AssertSqlSafe(format!(
        "update sessions s set
           message_count = s.message_count + c.messages,
           last_message_at = greatest(s.last_message_at, c.last_message),
           ended_at = coalesce(c.ended, s.ended_at),
           status = case when c.ended is null then s.status else 'ended' end,
           version = coalesce(c.version, s.version)
         from {changes} as c (tenant, id, messages, last_message, ended, version)
         where s.tenant_id = c.tenant and s.id = c.id"
    )))
}
