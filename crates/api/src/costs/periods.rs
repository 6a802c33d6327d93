//! `/v1/costs/periods`: the ledgers by month, each with the number of its last event and what it comes to, so that who
//! follows the events can prove to have them all.

use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use domain::{Category, Period};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::Row as _;

use super::total::Total;
use crate::{
    caller::Caller,
    cursor::{Cursor, Scope},
    error::{Code, Error},
    openapi::{About, Operation, Part, Tag, domain_types},
    paging::{Limit, Page, Query},
    path,
    reads::{Answer, Read},
    sessions::ReadOne,
    state::Api,
};

/// A ledger.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "CostPeriod", example = example())]
pub(crate) struct PeriodRow {
    /// The month, in UTC, in which its costs occurred.
    #[schemars(with = "domain_types::Month")]
    period: String,
    /// The `subject` of its events.
    stream: String,
    /// The `streamversion` of its last event, 0 when it has none: all events from 1 to this one are its events.
    #[schemars(range(min = 0))]
    last_version: i64,
    /// The number of the log that this reflects: events behind it are not counted yet.
    as_of_seq: u64,
    /// How many costs were recorded, those included that were voided since. With `voided` it makes `last_version`.
    #[schemars(range(min = 0))]
    recorded: i64,
    /// How many of them were voided.
    #[schemars(range(min = 0))]
    voided: i64,
    /// How many have no amount and were not voided.
    #[schemars(range(min = 0))]
    unpriced: i64,
    /// A total per currency.
    totals: Vec<Total>,
}

fn example() -> serde_json::Value {
    json!({
        "period": "2026-11", "stream": "ledger/2026-11", "last_version": 4, "as_of_seq": 17,
        "recorded": 3, "voided": 1, "unpriced": 0,
        "totals": [{"currency": "USD", "amount": "0.000246", "recorded": 3, "voided": 1, "unpriced": 0}],
    })
}

/// Parameters of the list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListPeriods {
    /// Most rows of the page.
    #[serde(default)]
    limit: Limit,
    /// `next_cursor` of the page before.
    #[schemars(with = "Option<Cursor>")]
    cursor: Option<String>,
    /// Wait until the answer reflects this number of the log.
    min_seq: Option<u64>,
}

/// The month in a route's path; what is none is 404 `not_found`, like an id that is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InPath(Period);

impl Part for InPath {
    fn describe(operation: &mut Operation<'_>) {
        operation.takes_path::<domain_types::Month>(
            "A month in UTC; what is none is answered like an id that does not exist.",
        );
        operation.fails(&[Code::NotFound]);
    }
}

impl<S: Send + Sync> FromRequestParts<S> for InPath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let Path(text): Path<String> = Path::from_request_parts(parts, state).await.map_err(path::refusal)?;
        Period::parse(&text).map(Self).map_err(|_other| Error::not_found())
    }
}

impl PeriodRow {
    fn new(period: String, last_version: i64, as_of_seq: u64) -> Self {
        let stream = format!("{}/{period}", Category::Ledger.as_str());
        Self { period, stream, last_version, as_of_seq, recorded: 0, voided: 0, unpriced: 0, totals: Vec::new() }
    }
}

/// What the document says of [`read`].
pub(crate) const READ: About = About {
    id: "readCostPeriod",
    tag: Tag::Costs,
    summary: "Read what a month comes to",
    text: "Whoever has all events of `stream`, `streamversion` 1 to `last_version`, has all that this adds up to. A \
           month without costs is all zeros.",
    codes: &[Code::ReadModelBehind, Code::NewerEvent],
    links: &[],
};

pub(crate) async fn read(
    State(api): State<Api>,
    caller: Caller,
    InPath(period): InPath,
    Query(query): Query<ReadOne>,
) -> Result<Answer<PeriodRow>, Error> {
    let mut read = Read::projected(&api, &caller, query.min_seq).await?;
    let last_version: Option<i64> =
        sqlx::query_scalar("select last_version from cost_periods where tenant_id = $1 and period = $2")
            .bind(read.tenant())
            .bind(period.to_string())
            .fetch_optional(read.connection())
            .await?;
    let mut row = PeriodRow::new(period.to_string(), last_version.unwrap_or(0), read.seq());
    add_totals(&mut read, std::slice::from_mut(&mut row)).await?;
    read.answer(&row).await
}

/// What the document says of [`list`].
pub(crate) const LIST: About = About {
    id: "listCostPeriods",
    tag: Tag::Costs,
    summary: "List the months that have costs",
    text: "The newest first.",
    codes: &[Code::CursorMismatch, Code::ReadModelBehind, Code::NewerEvent],
    links: &[],
};

pub(crate) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Query(query): Query<ListPeriods>,
) -> Result<Answer<Page<PeriodRow>>, Error> {
    let tenant = caller.context.tenant();
    let scope = Scope { route: "GET /v1/costs/periods", tenant, filters: "", order: "desc" };
    let [year, month] = query.cursor.map(|cursor| scope.decode(&cursor)).transpose()?.unwrap_or(AFTER_ALL);

    let mut read = Read::projected(&api, &caller, query.min_seq).await?;
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "select period, last_version from cost_periods where tenant_id = $1 and period < $2
         order by period desc limit $3",
    )
    .bind(tenant.0)
    .bind(format!("{year:04}-{month:02}"))
    .bind(query.limit.and_one())
    .fetch_all(read.connection())
    .await?;
    let seq = read.seq();
    let rows = rows.into_iter().map(|(period, last_version)| PeriodRow::new(period, last_version, seq)).collect();
    let mut page = Page::new(rows, query.limit, |row| scope.encode(position(&row.period)));
    add_totals(&mut read, &mut page.data).await?;
    read.answer(&page).await
}

/// The place of a period in the list: its year and month.
fn position(period: &str) -> [i64; 2] {
    let (year, month) = period.split_once('-').unwrap_or_default();
    [year, month].map(|number| number.parse().unwrap_or(0))
}

/// Behind every period.
const AFTER_ALL: [i64; 2] = [9999, 12];

async fn add_totals(read: &mut Read, periods: &mut [PeriodRow]) -> Result<(), Error> {
    let totals = sqlx::query(
        "select period, currency, recorded, voided, unpriced, trim_scale(amount)::text as amount from cost_period_totals
         where tenant_id = $1 and period = any($2) order by period, currency nulls first",
    )
    .bind(read.tenant())
    .bind(periods.iter().map(|row| row.period.as_str()).collect::<Vec<_>>())
    .fetch_all(read.connection())
    .await?;
    for row in totals {
        let period: &str = row.try_get("period")?;
        let total = Total::from_row(&row)?;
        if let Some(row) = periods.iter_mut().find(|row| row.period == period) {
            row.recorded += total.recorded;
            row.voided += total.voided;
            row.unpriced += total.unpriced;
            row.totals.push(total);
        }
    }
    Ok(())
}
