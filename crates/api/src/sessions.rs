//! `/v1/sessions`: start, list, read and end AI conversations.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::JsonObject;
use domain::session::{Command, MAX_METADATA, Mode, Rejection, Session, Started};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use store::ExecuteError;
use uuid::Uuid;

use crate::{
    body::{JsonBody, NoFields, Word},
    caller::Caller,
    command::{self, changed, created, id_taken, refused},
    conditions::{IfMatch, etag, mismatch},
    cursor::Scope,
    error::{Code, Error},
    idempotency::IdempotencyKey,
    json::{object, raw},
    paging::{Limit, Page, Query},
    path::PathParams,
    reads::Read,
    state::Api,
    trace_context::Origin,
};

/// `POST /v1/sessions`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StartSession {
    id: Option<Uuid>,
    mode: Word<Mode>,
    widget_id: Option<Uuid>,
    meeting_id: Option<Uuid>,
    personality_id: Option<Uuid>,
    metadata: Option<JsonObject>,
}

impl StartSession {
    pub(crate) fn check(&self) -> Result<(), Error> {
        object(self.metadata.as_ref(), "metadata", MAX_METADATA)
    }
}

/// A session as it is listed and read.
#[derive(Debug, Serialize)]
pub(crate) struct SessionRow {
    id: Uuid,
    status: String,
    mode: String,
    widget_id: Option<Uuid>,
    meeting_id: Option<Uuid>,
    personality_id: Option<Uuid>,
    metadata: Option<Box<RawValue>>,
    message_count: i64,
    started_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
    last_message_at: Option<DateTime<Utc>>,
    version: i64,
    #[serde(skip)]
    seq: i64,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Open,
    Ended,
}

/// Parameters of `GET /v1/sessions`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListSessions {
    #[serde(default)]
    limit: Limit,
    cursor: Option<String>,
    status: Option<Status>,
    mode: Option<Mode>,
    min_seq: Option<u64>,
}

/// Parameters of a read of one thing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadOne {
    pub(crate) min_seq: Option<u64>,
}

pub(crate) async fn start(
    State(api): State<Api>,
    caller: Caller,
    origin: Origin,
    key: IdempotencyKey,
    if_match: IfMatch,
    JsonBody { value: body, received }: JsonBody<StartSession>,
) -> Result<Response, Error> {
    if_match.absent()?;
    body.check()?;
    let StartSession { id, mode: Word(mode), widget_id, meeting_id, personality_id, metadata } = body;
    let started = Started { mode, widget_id, meeting_id, personality_id, metadata };
    let id = id.unwrap_or_else(Uuid::now_v7);
    let context = command::context(&api, &caller, origin, key, received);
    let outcome = api.inner.log.execute(context, move |unit| {
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

pub(crate) async fn end(
    State(api): State<Api>,
    caller: Caller,
    PathParams(id): PathParams<Uuid>,
    origin: Origin,
    key: IdempotencyKey,
    if_match: IfMatch,
    JsonBody { value: NoFields {}, received }: JsonBody<NoFields>,
) -> Result<Response, Error> {
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

const COLUMNS: &str = "s.id, s.status, s.mode, s.widget_id, s.meeting_id, s.personality_id, s.metadata::text as metadata, \
     s.message_count, s.started_at, s.ended_at, s.last_message_at, s.version, s.seq";

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
            seq: row.try_get("seq")?,
        })
    }
}

pub(crate) async fn read(
    State(api): State<Api>,
    caller: Caller,
    PathParams(id): PathParams<Uuid>,
    Query(query): Query<ReadOne>,
) -> Result<Response, Error> {
    let mut read = Read::projected(&api, &caller, query.min_seq).await?;
    let tenant = read.tenant();
    let row = sqlx::query(sqlx::AssertSqlSafe(format!(
        "select {COLUMNS} from sessions s where s.tenant_id = $1 and s.id = $2"
    )))
    .bind(tenant)
    .bind(id)
    .fetch_optional(read.connection())
    .await?;
    let session = SessionRow::from_row(&row.ok_or_else(Error::not_found)?)?;
    let headers = HeaderMap::from_iter([(header::ETAG, etag(session.version.cast_unsigned()))]);
    read.answer(headers, &session).await
}

pub(crate) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Query(query): Query<ListSessions>,
) -> Result<Response, Error> {
    let status = query.status.map(|status| match status {
        Status::Open => "open",
        Status::Ended => "ended",
    });
    let mode = query.mode.map(Mode::as_str);
    let filters = format!("status={}&mode={}", status.unwrap_or(""), mode.unwrap_or(""));
    let tenant = caller.context.tenant();
    let scope = Scope { route: "GET /v1/sessions", tenant, filters: &filters, order: "desc" };
    let before = query.cursor.map(|cursor| scope.decode(&cursor)).transpose()?.unwrap_or(i64::MAX);

    let mut read = Read::projected(&api, &caller, query.min_seq).await?;
    // A statement per set of filters: `$2 is null or …` would keep the planner from the index.
    let mut sql = format!("select {COLUMNS} from sessions s where s.tenant_id = $1 and s.seq < $2");
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
    let page = Page::new(rows, query.limit, |row| scope.encode(row.seq));
    read.answer(HeaderMap::new(), &page).await
}
