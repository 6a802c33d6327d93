//! `/v1/sessions/{id}/messages`: say something in a session, read what was said.

use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::session::{Command, MAX_ATTACHMENTS, MAX_CONTENT, MAX_METADATA, Posted, Rejection, Role, Session};
use domain::{JsonObject, MessageId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use store::Stop;
use uuid::Uuid;

use crate::{
    body::{JsonBody, NewAttachment, Object, Word},
    caller::Caller,
    command::{self, Created, created, refused},
    conditions::NoCondition,
    costs::{NewCost, Total},
    cursor::{Cursor, Scope},
    error::{Code, Error},
    idempotency::IdempotencyKey,
    json::{at_most, object, raw},
    openapi::{About, AnyObject, Tag, domain_types},
    paging::{Limit, Page, Query},
    path::PathParams,
    reads::{Answer, Read},
    sessions::rejected,
    state::Api,
    statements,
    trace_context::Origin,
    violation::Violation,
};

/// What is said.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"role": "user", "content": "Do you ship to Portugal?"}), example = with_attachment())]
pub(crate) struct PostMessage {
    /// Chosen here, or made by us; unique within the tenant.
    id: Option<Uuid>,
    #[schemars(with = "domain_types::Speaker")]
    role: Word<Role>,
    /// At most 256 KiB in UTF-8.
    #[schemars(length(max = MAX_CONTENT))]
    content: String,
    /// Files that go with it.
    #[serde(default)]
    #[schemars(with = "Vec<NewAttachment>", length(max = MAX_ATTACHMENTS))]
    attachments: Vec<Object<NewAttachment>>,
    /// Free-form, for example model and latency; at most 16 KiB of JSON; comes back byte for byte.
    #[schemars(with = "Option<AnyObject>")]
    metadata: Option<JsonObject>,
    /// What it has cost, recorded with it or not at all. Its id is the UUIDv5 of `cost` in the name space of the message's
    /// id; that and the ids of session and message are best left out.
    #[schemars(with = "Option<NewCost>")]
    cost: Option<Object<NewCost>>,
}

fn with_attachment() -> serde_json::Value {
    json!({
        "role": "assistant", "content": "Yes, within three days. Here is the price list.",
        "attachments": [{"kind": "file", "url": "https://files.example.com/prices.pdf", "name": "prices.pdf",
            "media_type": "application/pdf", "size": 48213}],
        "metadata": {"model": "gpt-4o", "latency_ms": 830},
        "cost": {"service": "llm", "provider": "openai", "model": "gpt-4o", "amount": "0.000123", "usage": [
            {"type": "input_uncached", "quantity": 420}, {"type": "output_text", "quantity": 96}]},
    })
}

impl PostMessage {
    pub(crate) fn check(&self) -> Result<(), Error> {
        at_most("content", self.content.len(), MAX_CONTENT, "bytes")?;
        at_most("attachments", self.attachments.len(), MAX_ATTACHMENTS, "entries")?;
        object(self.metadata.as_ref(), "metadata", MAX_METADATA)
    }
}

/// A message.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Message", example = example())]
pub(crate) struct MessageRow {
    id: Uuid,
    session_id: Uuid,
    #[schemars(with = "domain_types::Speaker")]
    role: String,
    content: String,
    #[schemars(with = "Vec<domain_types::Attachment>")]
    attachments: Option<Box<RawValue>>,
    /// As it was sent.
    #[schemars(with = "Option<AnyObject>")]
    metadata: Option<Box<RawValue>>,
    posted_at: DateTime<Utc>,
    /// Its place in the session; the start and the end of the session are counted too.
    #[schemars(range(min = 2))]
    version: i64,
    /// What the message has cost, by currency; empty when no cost was recorded.
    cost: Vec<Total>,
}

fn example() -> serde_json::Value {
    json!({
        "id": "01a2046a-b6a6-7000-8000-000000000006", "session_id": "01a2046a-b446-7000-8000-000000000003",
        "role": "user", "content": "Do you ship to Portugal?", "attachments": [], "metadata": null,
        "posted_at": "2026-11-22T18:00:32.166256Z", "version": 2, "cost": [],
    })
}

/// `asc` for the oldest first, `desc` for the newest.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum Order {
    #[default]
    Asc,
    Desc,
}

/// Parameters of the list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListMessages {
    /// Most rows of the page.
    #[serde(default)]
    limit: Limit,
    /// `next_cursor` of the page before, in the same order.
    #[schemars(with = "Option<Cursor>")]
    cursor: Option<String>,
    #[serde(default)]
    order: Order,
    /// Wait until the answer reflects this number of the log.
    min_seq: Option<u64>,
}

/// What the document says of [`post`].
pub(crate) const POST: About = About {
    id: "postMessage",
    tag: Tag::Messages,
    summary: "Post a message",
    text: "Adds to an open session what somebody has said. With a `cost` that is recorded by the same command: both or \
           neither. `version` and `ETag` are those of the message.",
    codes: &[Code::IdTaken, Code::SessionEnded],
    links: &[],
};

pub(crate) async fn post(
    State(api): State<Api>,
    caller: Caller,
    PathParams(session): PathParams<Uuid>,
    origin: Origin,
    key: IdempotencyKey,
    _: NoCondition,
    JsonBody { value: body, received }: JsonBody<PostMessage>,
) -> Result<Created, Error> {
    body.check()?;
    let chosen = body.id.map(MessageId);
    let message = chosen.unwrap_or_else(|| MessageId::make(caller.context.tenant(), Uuid::now_v7()));
    let id = message.0;
    let context = command::context(&api, &caller, origin, key, received);
    let now = context.occurred_at;
    let in_cost = |violation: Violation| Error::invalid(violation.below("/cost"));
    let cost = body.cost.map(|Object(told)| told.of_message(session, id, now)).transpose().map_err(in_cost)?;
    let posted = Posted {
        message_id: message,
        role: body.role.0,
        content: body.content,
        attachments: body.attachments.into_iter().map(|Object(attachment)| attachment.into()).collect(),
        metadata: body.metadata,
    };
    let outcome = api.inner.log.execute(context, move |unit| {
        if let Some(chosen) = chosen {
            unit.choose(chosen)?;
        }
        unit.run::<Session, Refusal>(session, Command::PostMessage(posted.clone()))?;
        if let Some(cost) = &cost {
            cost.is_timely(now).map_err(|violation| Stop::reject(Refusal(in_cost(violation))))?;
            cost.record(unit)?;
        }
        Ok(id)
    });
    let outcome = outcome.await.map_err(|error| refused(error, |Refusal(error)| error))?;
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
            cost: Total::of_column(row.try_get("cost")?)?,
        })
    }
}

/// Why a message was not posted.
struct Refusal(Error);

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Self(rejected(rejection))
    }
}

/// What the document says of [`list`].
pub(crate) const LIST: About = About {
    id: "listMessages",
    tag: Tag::Messages,
    summary: "List the messages of a session",
    text: "The oldest first, unless `order` says otherwise.",
    codes: &[Code::CursorMismatch, Code::ReadModelBehind, Code::NewerEvent],
    links: &[],
};

pub(crate) async fn list(
    State(api): State<Api>,
    caller: Caller,
    PathParams(session): PathParams<Uuid>,
    Query(query): Query<ListMessages>,
) -> Result<Answer<Page<MessageRow>>, Error> {
    let (order, newest_first, start) = match query.order {
        Order::Asc => ("asc", false, 0),
        Order::Desc => ("desc", true, i64::MAX),
    };
    let tenant = caller.context.tenant();
    let filters = format!("session={session}");
    let scope = Scope { route: "GET /v1/sessions/{id}/messages", tenant, filters: &filters, order };
    let [from] = query.cursor.map(|cursor| scope.decode(&cursor)).transpose()?.unwrap_or([start]);

    let mut read = Read::projected(&api, &caller, query.min_seq).await?;
    let rows = sqlx::query(sqlx::AssertSqlSafe(statements::messages(newest_first)))
        .bind(tenant.0)
        .bind(session)
        .bind(from)
        .bind(query.limit.and_one())
        .fetch_all(read.connection())
        .await?;
    if rows.is_empty() && !session_exists(&mut read, session).await? {
        return Err(Error::not_found());
    }
    let rows = rows.iter().map(MessageRow::from_row).collect::<Result<Vec<_>, _>>()?;
    let page = Page::new(rows, query.limit, |row| scope.encode([row.version]));
    read.answer(&page).await
}

async fn session_exists(read: &mut Read, session: Uuid) -> Result<bool, Error> {
    let sql = "select 1 from sessions where tenant_id = $1 and id = $2";
    let one = sqlx::query(sql).bind(read.tenant()).bind(session).fetch_optional(read.connection()).await?;
    Ok(one.is_some())
}
