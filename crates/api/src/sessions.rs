//! `/v1/sessions`: start, list, read and end AI conversations.

use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::session::{Command, MAX_METADATA, Mode, Rejection, Session, Started};
use domain::{JsonObject, Period};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use store::{ExecuteError, Stop};
use uuid::Uuid;

use crate::{
    body::{JsonBody, NoFields, Word},
    caller::Caller,
    command::{self, Changed, Created, changed, created, id_taken, refused},
    conditions::{IfMatch, NoCondition, mismatch},
    costs::Total,
    cursor::{Cursor, Scope},
    error::{Code, Error},
    idempotency::IdempotencyKey,
    json::{object, raw},
    openapi::{About, AnyObject, Tag, domain_types},
    paging::{Limit, Page, Query},
    path::PathParams,
    reads::{Answer, Read, Versioned},
    state::Api,
    statements::{self, session_columns},
    trace_context::Origin,
};

/// What a new session is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"mode": "text", "metadata": {"channel": "web"}}))]
pub(crate) struct StartSession {
    /// Chosen here, or made by us.
    id: Option<Uuid>,
    #[schemars(with = "domain_types::Mode")]
    mode: Word<Mode>,
    /// The widget it is opened in.
    widget_id: Option<Uuid>,
    /// The meeting it belongs to.
    meeting_id: Option<Uuid>,
    /// The AI personality that speaks.
    personality_id: Option<Uuid>,
    /// Free-form, at most 16 KiB of JSON; comes back byte for byte.
    #[schemars(with = "Option<AnyObject>")]
    metadata: Option<JsonObject>,
}

impl StartSession {
    pub(crate) fn check(&self) -> Result<(), Error> {
        object(self.metadata.as_ref(), "metadata", MAX_METADATA)
    }
}

/// A session.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Session", example = example())]
pub(crate) struct SessionRow {
    id: Uuid,
    #[schemars(with = "Status")]
    status: String,
    #[schemars(with = "domain_types::Mode")]
    mode: String,
    /// The widget it was opened in.
    widget_id: Option<Uuid>,
    /// The meeting it belongs to.
    meeting_id: Option<Uuid>,
    /// The AI personality that speaks.
    personality_id: Option<Uuid>,
    /// As it was sent.
    #[schemars(with = "Option<AnyObject>")]
    metadata: Option<Box<RawValue>>,
    /// How many messages it has.
    #[schemars(range(min = 0))]
    message_count: i64,
    started_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
    last_message_at: Option<DateTime<Utc>>,
    /// Version of its own last change; messages do not change it. The same as in `ETag`.
    #[schemars(range(min = 1))]
    version: i64,
    /// What was recorded with its id, by currency; empty when no cost was.
    cost: Vec<Total>,
    #[serde(skip)]
    seq: i64,
}

fn example() -> serde_json::Value {
    json!({
        "id": "01a2046a-b446-7000-8000-000000000003", "status": "open", "mode": "text",
        "widget_id": null, "meeting_id": null, "personality_id": null, "metadata": {"channel": "web"},
        "message_count": 1, "started_at": "2026-11-22T18:00:31.558001Z", "ended_at": null,
        "last_message_at": "2026-11-22T18:00:32.166256Z", "version": 1,
        "cost": [{"currency": "USD", "amount": "0.000123", "recorded": 1, "voided": 0, "unpriced": 0}],
    })
}

/// `open` takes messages, `ended` takes none any more.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum Status {
    Open,
    Ended,
}

/// Parameters of `GET /v1/sessions`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListSessions {
    /// Most rows of the page.
    #[serde(default)]
    limit: Limit,
    /// `next_cursor` of the page before, with the same filters.
    #[schemars(with = "Option<Cursor>")]
    cursor: Option<String>,
    status: Option<Status>,
    #[schemars(with = "Option<domain_types::Mode>")]
    mode: Option<Mode>,
    /// Wait until the answer reflects this number of the log.
    min_seq: Option<u64>,
}

/// Parameters of a read of one thing.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadOne {
    /// Wait until the answer reflects this number of the log.
    pub(crate) min_seq: Option<u64>,
}

/// What the document says of [`start`].
pub(crate) const START: About = About {
    id: "startSession",
    tag: Tag::Sessions,
    summary: "Start a session",
    text: "Begins a conversation, which then takes messages until it is ended.",
    codes: &[Code::IdTaken],
    links: &["readSession", "endSession", "postMessage", "listMessages"],
};

pub(crate) async fn start(
    State(api): State<Api>,
    caller: Caller,
    origin: Origin,
    key: IdempotencyKey,
    _: NoCondition,
    JsonBody { value: body, received }: JsonBody<StartSession>,
) -> Result<Created, Error> {
    body.check()?;
    let StartSession { id, mode: Word(mode), widget_id, meeting_id, personality_id, metadata } = body;
    let started = Started { mode, widget_id, meeting_id, personality_id, metadata };
    // Nothing but costs is written into a ledger, also into one that has not begun; nor sessions among operations or sign-ins.
    let tenant = caller.context.tenant();
    let ours = [domain::operations::stream(tenant), domain::user::stream(tenant)];
    let is_reserved = id.is_some_and(|id| Period::is_stream(tenant, id) || ours.contains(&id));
    let id = id.unwrap_or_else(Uuid::now_v7);
    let context = command::context(&api, &caller, origin, key, received);
    let outcome = api.inner.log.execute(context, move |unit| {
        if is_reserved {
            return Err(Stop::reject(Rejection::AlreadyStarted));
        }
        unit.start::<Session, Rejection>(id, Command::Start(started.clone()))?;
        Ok(id)
    });
    let outcome = outcome.await.map_err(|error| match error {
        ExecuteError::Store(store::Error::OtherCategory) => id_taken(),
        error @ (ExecuteError::Rejected(_)
        | ExecuteError::Claimed(_)
        | ExecuteError::KeyReused
        | ExecuteError::Store(_)) => refused(error, rejected),
    })?;
    Ok(created(&outcome, format!("/v1/sessions/{}", outcome.receipt)))
}

/// What the document says of [`end`].
pub(crate) const END: About = About {
    id: "endSession",
    tag: Tag::Sessions,
    summary: "End a session",
    text: "The session takes no message any more.",
    codes: &[Code::SessionEnded],
    links: &["readSession"],
};

pub(crate) async fn end(
    State(api): State<Api>,
    caller: Caller,
    PathParams(id): PathParams<Uuid>,
    origin: Origin,
    key: IdempotencyKey,
    if_match: IfMatch,
    JsonBody { value: NoFields {}, received }: JsonBody<NoFields>,
) -> Result<Changed, Error> {
    let context = command::context(&api, &caller, origin, key, received);
    let outcome = api.inner.log.execute(context, move |unit| {
        unit.run::<Session, Rejection>(id, Command::End { if_version: if_match.version() })?;
        Ok(id)
    });
    Ok(changed(&outcome.await.map_err(|error| refused(error, rejected))?))
}

/// A session's rejection as the client is told.
pub(crate) fn rejected(rejection: Rejection) -> Error {
    match rejection {
        Rejection::NotFound => Error::not_found(),
        Rejection::AlreadyStarted => id_taken(),
        Rejection::Ended => Error::new(Code::SessionEnded, "A session that has ended takes nothing any more."),
        Rejection::VersionMismatch { current } => mismatch(current),
    }
}

impl SessionRow {
    fn from_row(row: &PgRow) -> Result<Self, Error> {
        Ok(Self {
            id: row.try_get("id")?,
            status: row.try_get("status")?,
            mode: row.try_get("mode")?,
            widget_id: row.try_get("widget_id")?,
            meeting_id: row.try_get("meeting_id")?,
            personality_id: row.try_get("personality_id")?,
            metadata: raw(row.try_get("metadata")?)?,
            message_count: row.try_get("message_count")?,
            started_at: row.try_get("started_at")?,
            ended_at: row.try_get("ended_at")?,
            last_message_at: row.try_get("last_message_at")?,
            version: row.try_get("version")?,
            cost: Total::of_column(row.try_get("cost")?)?,
            seq: row.try_get("seq")?,
        })
    }
}

/// What the document says of [`read`].
pub(crate) const READ: About = About {
    id: "readSession",
    tag: Tag::Sessions,
    summary: "Read a session",
    text: "",
    codes: &[Code::ReadModelBehind, Code::NewerEvent],
    links: &[],
};

pub(crate) async fn read(
    State(api): State<Api>,
    caller: Caller,
    PathParams(id): PathParams<Uuid>,
    Query(query): Query<ReadOne>,
) -> Result<Versioned<SessionRow>, Error> {
    let mut read = Read::projected(&api, &caller, query.min_seq).await?;
    let tenant = read.tenant();
    let row = sqlx::query(sqlx::AssertSqlSafe(statements::session()))
        .bind(tenant)
        .bind(id)
        .fetch_optional(read.connection())
        .await?;
    let session = SessionRow::from_row(&row.ok_or_else(Error::not_found)?)?;
    read.answer_version(session.version.cast_unsigned(), &session).await
}

/// What the document says of [`list`].
pub(crate) const LIST: About = About {
    id: "listSessions",
    tag: Tag::Sessions,
    summary: "List sessions",
    text: "The newest first.",
    codes: &[Code::CursorMismatch, Code::ReadModelBehind, Code::NewerEvent],
    links: &[],
};

pub(crate) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Query(query): Query<ListSessions>,
) -> Result<Answer<Page<SessionRow>>, Error> {
    let status = query.status.map(|status| match status {
        Status::Open => "open",
        Status::Ended => "ended",
    });
    let mode = query.mode.map(Mode::as_str);
    let filters = format!("status={}&mode={}", status.unwrap_or(""), mode.unwrap_or(""));
    let tenant = caller.context.tenant();
    let scope = Scope { route: "GET /v1/sessions", tenant, filters: &filters, order: "desc" };
    let [before] = query.cursor.map(|cursor| scope.decode(&cursor)).transpose()?.unwrap_or([i64::MAX]);

    let mut read = Read::projected(&api, &caller, query.min_seq).await?;
    // A statement per set of filters: `$2 is null or …` would keep the planner from the index.
    let mut sql = format!("select {} from sessions s where s.tenant_id = $1 and s.seq < $2", session_columns());
    for (parameter, column) in (4..).zip([status.map(|_| "status"), mode.map(|_| "mode")].into_iter().flatten()) {
        sql.push_str(&format!(" and s.{column} = ${parameter}"));
    }
    sql.push_str(" order by s.seq desc limit $3");
    let mut rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant.0).bind(before).bind(query.limit.and_one());
    for value in [status, mode].into_iter().flatten() {
        rows = rows.bind(value);
    }
    let rows = rows.fetch_all(read.connection()).await?;
    let rows = rows.iter().map(SessionRow::from_row).collect::<Result<Vec<_>, _>>()?;
    let page = Page::new(rows, query.limit, |row| scope.encode([row.seq]));
    read.answer(&page).await
}
