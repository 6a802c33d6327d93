//! `GET /v1/costs` and `GET /v1/costs/{id}`: the costs, line by line.

use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::ledger::Service;
use domain::{CURRENCY_PATTERN, Currency};
use form_urlencoded::Serializer;
use schemars::JsonSchema;
use serde::Deserialize;
use sqlx::query_builder::QueryBuilder;
use uuid::Uuid;

use super::moment::Moment;
use super::row::{COLUMNS, CostRow};
use crate::{
    caller::Caller,
    cursor::{Cursor, Scope, mismatch},
    error::{Code, Error},
    openapi::{About, Tag, domain_types},
    paging::{Limit, Page, Query},
    path::PathParams,
    reads::{Answer, Read, Versioned},
    sessions::ReadOne,
    state::Api,
};

/// Parameters of `GET /v1/costs`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListCosts {
    /// Most rows of the page.
    #[serde(default)]
    limit: Limit,
    /// `next_cursor` of the page before, with the same filters.
    #[schemars(with = "Option<Cursor>")]
    cursor: Option<String>,
    /// What occurred then or later.
    from: Option<Moment>,
    /// What occurred before.
    to: Option<Moment>,
    #[schemars(with = "Option<domain_types::Service>")]
    service: Option<Service>,
    provider: Option<String>,
    model: Option<String>,
    session_id: Option<Uuid>,
    message_id: Option<Uuid>,
    #[schemars(with = "Option<String>", regex(pattern = CURRENCY_PATTERN))]
    currency: Option<Currency>,
    /// Only those that are voided, or only those that are not.
    voided: Option<bool>,
    /// Wait until the answer reflects this number of the log.
    min_seq: Option<u64>,
}

impl ListCosts {
    /// In one spelling per meaning.
    fn filters(&self) -> String {
        let filters = [
            ("from", self.from.map(|from| from.0.timestamp_micros().to_string())),
            ("to", self.to.map(|to| to.0.timestamp_micros().to_string())),
            ("service", self.service.map(|service| service.as_str().to_owned())),
            ("provider", self.provider.clone()),
            ("model", self.model.clone()),
            ("session_id", self.session_id.map(|id| id.to_string())),
            ("message_id", self.message_id.map(|id| id.to_string())),
            ("currency", self.currency.map(|currency| currency.as_str().to_owned())),
            ("voided", self.voided.map(|voided| voided.to_string())),
        ];
        let given = filters.into_iter().filter_map(|(name, value)| Some((name, value?)));
        Serializer::new(String::new()).extend_pairs(given).finish()
    }

    /// A statement per set of filters: `$2 is null or …` would keep the planner from the index.
    fn select(&self, tenant: Uuid, before: Option<(DateTime<Utc>, i64)>) -> QueryBuilder<sqlx::Postgres> {
        let mut sql = QueryBuilder::new(format!("select {COLUMNS} from cost_events c where c.tenant_id = "));
        sql.push_bind(tenant);
        if let Some((occurred_at, seq)) = before {
            sql.push(" and (c.occurred_at, c.seq) < (").push_bind(occurred_at).push(", ").push_bind(seq).push(")");
        }
        if let Some(Moment(from)) = self.from {
            sql.push(" and c.occurred_at >= ").push_bind(from);
        }
        if let Some(Moment(to)) = self.to {
            sql.push(" and c.occurred_at < ").push_bind(to);
        }
        let service = self.service.map(|service| service.as_str().to_owned());
        let currency = self.currency.map(|currency| currency.as_str().to_owned());
        let texts = [
            ("service", service),
            ("provider", self.provider.clone()),
            ("model", self.model.clone()),
            ("currency", currency),
        ];
        for (column, text) in texts.into_iter().filter_map(|(column, text)| Some((column, text?))) {
            sql.push(format!(" and c.{column} = ")).push_bind(text);
        }
        let ids = [("session_id", self.session_id), ("message_id", self.message_id)];
        for (column, id) in ids.into_iter().filter_map(|(column, id)| Some((column, id?))) {
            sql.push(format!(" and c.{column} = ")).push_bind(id);
        }
        match self.voided {
            Some(true) => sql.push(" and c.voided_at is not null"),
            Some(false) => sql.push(" and c.voided_at is null"),
            None => &mut sql,
        };
        sql.push(" order by c.occurred_at desc, c.seq desc limit ").push_bind(self.limit.and_one());
        sql
    }
}

/// What the document says of [`list`].
pub(crate) const LIST: About = About {
    id: "listCosts",
    tag: Tag::Costs,
    summary: "List costs",
    text: "Those that occurred last come first. `from` and `to` are bounds of the time when they occurred.",
    codes: &[Code::CursorMismatch, Code::ReadModelBehind, Code::NewerEvent],
    links: &[],
};

pub(crate) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Query(query): Query<ListCosts>,
) -> Result<Answer<Page<CostRow>>, Error> {
    let filters = query.filters();
    let tenant = caller.context.tenant();
    let scope = Scope { route: "GET /v1/costs", tenant, filters: &filters, order: "desc" };
    let before = query.cursor.as_ref().map(|cursor| {
        let [occurred_at, seq] = scope.decode(cursor)?;
        Ok::<_, Error>((Moment::of_micros(occurred_at).ok_or_else(mismatch)?.0, seq))
    });
    let before = before.transpose()?;

    let mut read = Read::projected(&api, &caller, query.min_seq).await?;
    let rows = query.select(tenant.0, before).build().fetch_all(read.connection()).await?;
    let rows = rows.iter().map(CostRow::from_row).collect::<Result<Vec<_>, _>>()?;
    let page = Page::new(rows, query.limit, |row| scope.encode([row.occurred_at.timestamp_micros(), row.seq]));
    read.answer(&page).await
}

/// What the document says of [`read`].
pub(crate) const READ: About = About {
    id: "readCost",
    tag: Tag::Costs,
    summary: "Read a cost",
    text: "",
    codes: &[Code::ReadModelBehind, Code::NewerEvent],
    links: &[],
};

pub(crate) async fn read(
    State(api): State<Api>,
    caller: Caller,
    PathParams(id): PathParams<Uuid>,
    Query(query): Query<ReadOne>,
) -> Result<Versioned<CostRow>, Error> {
    let mut read = Read::projected(&api, &caller, query.min_seq).await?;
    let tenant = read.tenant();
    let sql = format!("select {COLUMNS} from cost_events c where c.tenant_id = $1 and c.id = $2");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant).bind(id).fetch_optional(read.connection()).await?;
    let cost = CostRow::from_row(&row.ok_or_else(Error::not_found)?)?;
    read.answer_version(cost.version.cast_unsigned(), &cost).await
}
