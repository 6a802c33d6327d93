//! `GET /v1/events`: the tenant's own log, straight from PostgreSQL.

use axum::extract::State;
use domain::Category;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};
use store::MAX_PAGE_BYTES;

use crate::{
    caller::Caller,
    error::Error,
    event_page::{EventPage, Wanted, read_page},
    openapi::{About, Tag, domain_types},
    paging::{Limit, Query},
    reads::{Answer, Read},
    state::Api,
};

/// Parameters.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListEvents {
    /// Number of the last event that has been seen.
    #[serde(default, deserialize_with = "crate::event_page::seq")]
    #[schemars(range(max = i64::MAX))]
    after: u64,
    /// Most events of the page.
    #[serde(default)]
    limit: Limit,
    /// Only events of streams of this category.
    #[serde(default, deserialize_with = "crate::event_page::category")]
    #[schemars(with = "Option<domain_types::StreamCategory>")]
    category: Option<Category>,
    /// Fail unless the log has this number.
    min_seq: Option<u64>,
}

/// A page of the log.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "EventPage", example = json!({"data": [domain_types::example_event()], "next_after": 4, "head": 5}))]
pub(crate) struct LogPage {
    /// CloudEvents in the order of `sequence`, the bytes of NATS.
    #[schemars(with = "Vec<domain_types::CloudEvent>")]
    data: Vec<Box<RawValue>>,
    /// What to ask for next; equal to `head` when everything has been seen.
    next_after: u64,
    /// Number of the log's last event.
    head: u64,
}

/// What the document says of [`list`].
pub(crate) const LIST: About = About {
    id: "listEvents",
    tag: Tag::Events,
    summary: "Read the log",
    text: "Go on with `after=<next_after>` until it equals `head`. A page may have fewer events \
           than `limit`, or none, before the head is reached.",
    codes: &[],
    links: &[],
};

pub(crate) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Query(query): Query<ListEvents>,
) -> Result<Answer<LogPage>, Error> {
    let mut read = Read::committed(&api, &caller, query.min_seq).await?;
    let ListEvents { after, limit, category, .. } = query;
    let wanted = Wanted { after, category, events: limit.get(), bytes: MAX_PAGE_BYTES };
    let EventPage { events, next_after, head } = read_page(&mut read, wanted).await?;
    let texts = events.into_iter().map(|event| RawValue::from_string(event.json));
    let data = texts.collect::<Result<_, _>>().map_err(Error::internal)?;
    read.answer(&LogPage { data, next_after, head }).await
}
