//! `GET /v1/costs/summary`: what the costs and the usage of a range of time come to, in the buckets of any time zone.

mod buckets;
mod query;
mod range;

use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::ledger::Service;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::total::{Total, Used};
use crate::{
    caller::Caller,
    error::{Code, Error},
    openapi::{About, Tag, domain_types},
    paging::Query,
    reads::{Answer, Read},
    state::Api,
};
use buckets::Bucket;
use query::{Filters, Grouping};
use range::Range;
pub(crate) use range::time_zone;

/// Most buckets of a range, and most rows of an answer.
const MAX_ROWS: usize = 1_000;
/// Most totals and lines of usage of an answer, each.
const MAX_LINES: usize = 20_000;

/// Parameters.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Summarise {
    /// The first time of the range, on a quarter of an hour; when left out, the beginning of the current month in
    /// `timezone`.
    from: Option<DateTime<Utc>>,
    /// The first time after the range, on a quarter of an hour; when left out, the end of the current month.
    to: Option<DateTime<Utc>>,
    /// Rows of their own for each of these; without it the range is one.
    bucket: Option<Bucket>,
    /// Whose hours, days and months: a name of the IANA database, for example `Europe/Berlin`.
    #[serde(default = "utc")]
    timezone: String,
    /// Rows of their own for each value of these, separated by commas.
    #[schemars(regex(pattern = "^(service|provider|model|session)(,(service|provider|model|session)){0,3}$"))]
    group_by: Option<String>,
    /// Only costs of this kind.
    #[schemars(with = "Option<domain_types::Service>")]
    service: Option<Service>,
    /// Only costs of this provider.
    provider: Option<String>,
    /// Only costs of this model.
    model: Option<String>,
    /// Only costs of this session.
    session_id: Option<Uuid>,
    /// Wait until the answer reflects this number of the log.
    min_seq: Option<u64>,
}

fn utc() -> String {
    "UTC".into()
}

/// What a range of time comes to.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(example = example())]
pub(crate) struct CostSummary {
    /// By time, then by group; what has no costs has no row.
    data: Vec<SummaryRow>,
    /// What all rows come to.
    totals: Vec<Total>,
}

/// What the costs of a bucket and group come to.
#[derive(Debug, Serialize, JsonSchema)]
struct SummaryRow {
    /// The bucket's first time, within the range.
    start: DateTime<Utc>,
    /// The first time after it, within the range.
    end: DateTime<Utc>,
    group: Group,
    /// A total per currency.
    totals: Vec<Total>,
    usage: Vec<Used>,
}

/// What the costs of a row have in common: a member for each part of `group_by`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[schemars(inline)]
struct Group {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "domain_types::Service")]
    service: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    provider: Option<String>,
    /// `null` for costs without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    model: Option<Option<String>>,
    /// `null` for costs without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Uuid>")]
    session_id: Option<Option<Uuid>>,
}

fn example() -> serde_json::Value {
    let total = json!({"currency": "USD", "amount": "0.000246", "recorded": 3, "voided": 1, "unpriced": 0});
    json!({
        "data": [{
            "start": "2026-10-31T23:00:00Z", "end": "2026-11-01T23:00:00Z", "group": {"model": "gpt-4o"}, "totals": [total],
            "usage": [{"type": "input_uncached", "unit": "tokens", "quantity": "840"},
                      {"type": "output_text", "unit": "tokens", "quantity": "192"}],
        }],
        "totals": [total],
    })
}

/// What the document says of [`summarise`].
pub(crate) const SUMMARISE: About = About {
    id: "summariseCosts",
    tag: Tag::Costs,
    summary: "Sum up costs",
    text: "The costs that occurred from `from` on and before `to`. Sums are exact; amounts of different currencies are \
           never added. A range has at most 1000 buckets, an answer at most 1000 rows, 20000 totals and 20000 lines of \
           usage: beyond that it is refused, ask for a shorter range, longer buckets or fewer groups.",
    codes: &[Code::ReadModelBehind, Code::NewerEvent],
    links: &[],
};

pub(crate) async fn summarise(
    State(api): State<Api>,
    caller: Caller,
    Query(asked): Query<Summarise>,
) -> Result<Answer<CostSummary>, Error> {
    let Summarise { from, to, bucket, timezone, group_by, service, provider, model, session_id, min_seq } = asked;
    let range = Range::check(from, to, bucket, &timezone, api.inner.now()).map_err(Error::invalid)?;
    let grouping = Grouping::parse(group_by.as_deref()).map_err(Error::invalid)?;
    let filters = Filters { service, provider, model, session_id };
    let mut read = Read::projected(&api, &caller, min_seq).await?;
    let summary = query::summary(&mut read, &range, &grouping, &filters).await?;
    read.answer(&summary).await
}
