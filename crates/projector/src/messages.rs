//! Projection `messages`: one row per message posted.

use chrono::{DateTime, Utc};
use domain::Fact;
use domain::session::{Event, Posted};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::projection::{Projected, Projection, Table, Write};

/// See the module.
pub(crate) struct Messages;

#[derive(Default)]
struct Rows<'a> {
    tenants: Vec<Uuid>,
    ids: Vec<Uuid>,
    sessions: Vec<Uuid>,
    versions: Vec<i64>,
    roles: Vec<&'a str>,
    contents: Vec<&'a str>,
    attachments: Vec<String>,
    metadata: Vec<Option<&'a str>>,
    posted: Vec<DateTime<Utc>>,
}

impl<'a> Rows<'a> {
    fn of(events: &'a [Projected<'a>]) -> Self {
        let mut rows = Self::default();
        for Projected { event, fact } in events {
            let posted = match fact {
                Fact::Session(Event::MessagePosted(posted)) => posted,
                Fact::Session(Event::SessionStarted(_) | Event::SessionEnded)
                | Fact::Tenant(_)
                | Fact::Ledger(_)
                | Fact::Operations(_)
                | Fact::User(_) => continue,
            };
            let Posted { message_id, role, content, attachments, metadata } = posted;
            rows.tenants.push(event.tenant.0);
            rows.ids.push(message_id.0);
            rows.sessions.push(event.stream);
            rows.versions.push(event.version.cast_signed());
            rows.roles.push(role.as_str());
            rows.contents.push(content);
            // Strings and numbers: this cannot fail.
            rows.attachments.push(serde_json::to_string(attachments).unwrap_or_default());
            rows.metadata.push(metadata.as_ref().map(domain::JsonObject::as_str));
            rows.posted.push(event.occurred_at);
        }
        rows
    }
}

impl Projection for Messages {
    fn name(&self) -> &'static str {
        "messages"
    }

    fn version(&self) -> i32 {
        1
    }

    fn tables(&self) -> &'static [Table] {
        &[Table { name: "messages", key: &["id"] }]
    }

    fn write<'a>(&'a self, connection: &'a mut PgConnection, events: &'a [Projected<'a>]) -> Write<'a> {
        Box::pin(async move {
            let rows = Rows::of(events);
            if rows.ids.is_empty() {
                return Ok(());
            }
            sqlx::query(
                "insert into messages (tenant_id, id, session_id, version, role, content, attachments, metadata,
                                       posted_at)
                 select tenant, id, session, version, role, content, attachments::json, metadata::json, posted
                 from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[], $5::text[], $6::text[], $7::text[],
                             $8::text[], $9::timestamptz[])
                   as r (tenant, id, session, version, role, content, attachments, metadata, posted)",
            )
            .bind(rows.tenants)
            .bind(rows.ids)
            .bind(rows.sessions)
            .bind(rows.versions)
            .bind(rows.roles)
            .bind(rows.contents)
            .bind(rows.attachments)
            .bind(rows.metadata)
            .bind(rows.posted)
            .execute(connection)
            .await?;
            Ok(())
        })
    }
}
