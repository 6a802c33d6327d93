//! `/v1/sessions/{id}/messages`: say something in a session, read what was said.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::session::{
    Attachment, Command, MAX_ATTACHMENTS, MAX_CONTENT, MAX_METADATA, Posted, Rejection, Role, Session,
};
use domain::{JsonObject, MessageId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::{
    body::{JsonBody, Object, Word},
    caller::Caller,
    command::{self, created, refused},
    conditions::IfMatch,
    cursor::Scope,
    error::Error,
    idempotency::IdempotencyKey,
    json::{at_most, object, raw},
    paging::{Limit, Page, Query},
    path::PathParams,
    reads::Read,
    sessions::rejected,
    state::Api,
    trace_context::Origin,
};

/// `POST /v1/sessions/{id}/messages`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PostMessage {
    id: Option<Uuid>,
    role: Word<Role>,
    content: String,
    #[serde(default)]
    attachments: Vec<Object<Attachment>>,
    metadata: Option<JsonObject>,
}

impl PostMessage {
    pub(crate) fn check(&self) -> Result<(), Error> {
        at_most("content", self.content.len(), MAX_CONTENT, "bytes")?;
        at_most("attachments", self.attachments.len(), MAX_ATTACHMENTS, "entries")?;
        object(self.metadata.as_ref(), "metadata", MAX_METADATA)
    }
}

/// A message as it is listed.
#[derive(Debug, Serialize)]
pub(crate) struct MessageRow {
    id: Uuid,
    session_id: Uuid,
    role: String,
    content: String,
    attachments: Option<Box<RawValue>>,
    metadata: Option<Box<RawValue>>,
    posted_at: DateTime<Utc>,
    version: i64,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Order {
    #[default]
    Asc,
    Desc,
}

/// Parameters of the list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListMessages {
    #[serde(default)]
    limit: Limit,
    cursor: Option<String>,
    #[serde(default)]
    order: Order,
    min_seq: Option<u64>,
}

pub(crate) async fn post(
    State(api): State<Api>,
    caller: Caller,
    PathParams(session): PathParams<Uuid>,
    origin: Origin,
    key: IdempotencyKey,
    if_match: IfMatch,
    JsonBody { value: body, received }: JsonBody<PostMessage>,
) -> Result<Response, Error> {
    body.check()?;
    if_match.absent()?;
    let id = body.id.unwrap_or_else(Uuid::now_v7);
    let posted = Posted {
        message_id: MessageId(id),
        role: body.role.0,
        content: body.content,
        attachments: body.attachments.into_iter().map(|Object(attachment)| attachment).collect(),
        metadata: body.metadata,
    };
    let context = command::context(&api, &caller, origin, key, received);
    let outcome = api.inner.log.execute(context, move |unit| {
        // One that we made too: it is unique, but once a client has read it, it may be chosen for another message of
        // any session, and two messages of one id stop the projector.
        unit.claim(format!("message/{id}"));
        unit.run::<Session, Rejection>(session, Command::PostMessage(posted.clone()))?;
        Ok(id)
    });
    let outcome = outcome.await.map_err(|error| refused(error, rejected))?;
    Ok(created(&outcome, format!("/v1/sessions/{session}/messages")))
}

impl MessageRow {
    fn from_row(row: &PgRow) -> Result<Self, Error> {
        Ok(Self {
            id: row.try_get("id")?,
            session_id: row.try_get("session_id")?,
            role: row.try_get("role")?,
            content: row.try_get("content")?,
            attachments: raw(row.try_get("attachments")?)?,
            metadata: raw(row.try_get("metadata")?)?,
            posted_at: row.try_get("posted_at")?,
            version: row.try_get("version")?,
        })
    }
}

pub(crate) async fn list(
    State(api): State<Api>,
    caller: Caller,
    PathParams(session): PathParams<Uuid>,
    Query(query): Query<ListMessages>,
) -> Result<Response, Error> {
    let (order, comparison, start) = match query.order {
        Order::Asc => ("asc", ">", 0),
        Order::Desc => ("desc", "<", i64::MAX),
    };
    let tenant = caller.context.tenant();
    let filters = format!("session={session}");
    let scope = Scope { route: "GET /v1/sessions/{id}/messages", tenant, filters: &filters, order };
    let from = query.cursor.map(|cursor| scope.decode(&cursor)).transpose()?.unwrap_or(start);

    let mut read = Read::projected(&api, &caller, query.min_seq).await?;
    let exists: Option<i32> = sqlx::query_scalar("select 1 from sessions where tenant_id = $1 and id = $2")
        .bind(tenant.0)
        .bind(session)
        .fetch_optional(read.connection())
        .await?;
    if exists.is_none() {
        return Err(Error::not_found());
    }
    let sql = format!(
        "select id, session_id, role, content, attachments::text as attachments, metadata::text as metadata,
                posted_at, version
         from messages where tenant_id = $1 and session_id = $2 and version {comparison} $3
         order by version {order} limit $4"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(tenant.0)
        .bind(session)
        .bind(from)
        .bind(query.limit.and_one())
        .fetch_all(read.connection())
        .await?;
    let rows = rows.iter().map(MessageRow::from_row).collect::<Result<Vec<_>, _>>()?;
    let page = Page::new(rows, query.limit, |row| scope.encode(row.version));
    read.answer(HeaderMap::new(), &page).await
}
