//! `GET /v1/events`: the tenant's own log, straight from PostgreSQL.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use domain::Category;
use domain::tenant::Role;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use store::MAX_PAGE_BYTES;

use crate::{
    caller::Caller,
    error::Error,
    event_page::{EventPage, Wanted, read_page},
    paging::{Limit, Query},
    reads::Read,
    state::Api,
};

/// Parameters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListEvents {
    #[serde(default, deserialize_with = "crate::event_page::seq")]
    after: u64,
    #[serde(default)]
    limit: Limit,
    #[serde(default, deserialize_with = "crate::event_page::category")]
    category: Option<Category>,
    min_seq: Option<u64>,
}

/// A page of the log.
#[derive(Debug, Serialize)]
struct Answer {
    /// CloudEvents in `seq` order, the bytes of NATS.
    data: Vec<Box<RawValue>>,
    /// What to ask for next; equal to `head` when everything has been seen.
    next_after: u64,
    /// Number of the log's last event.
    head: u64,
}

pub(crate) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Query(query): Query<ListEvents>,
) -> Result<Response, Error> {
    caller.require(Role::Admin)?;
    let mut read = Read::committed(&api, &caller, query.min_seq).await?;
    let ListEvents { after, limit, category, .. } = query;
    let wanted = Wanted { after, category, events: limit.get(), bytes: MAX_PAGE_BYTES };
    let EventPage { events, next_after, head } = read_page(&mut read, wanted).await?;
    let texts = events.into_iter().map(|event| RawValue::from_string(event.json));
    let data = texts.collect::<Result<_, _>>().map_err(Error::internal)?;
    read.answer(HeaderMap::new(), &Answer { data, next_after, head }).await
}
