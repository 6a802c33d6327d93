//! `GET /v1/events`: the tenant's own log, straight from PostgreSQL.

use axum::extract::State;
use domain::tenant::Role;
use domain::{Category, envelope};
use futures_util::TryStreamExt as _;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{json, value::RawValue};
use store::{EVENT_COLUMNS, MAX_PAGE_BYTES, event_from_row};

use crate::{
    caller::Caller,
    error::{Code, Error},
    openapi::{About, Tag, domain_types},
    paging::{Limit, Query},
    reads::{Answer, Read},
    state::Api,
};

/// Most events that one request looks at: a page of a rare category ends here, and `next_after` goes on behind it.
const MAX_SCAN: i64 = 5_000;

/// Parameters.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListEvents {
    /// Number of the last event that has been seen.
    #[serde(default, deserialize_with = "seq")]
    #[schemars(range(min = 0))]
    after: i64,
    /// Most events of the page.
    #[serde(default)]
    limit: Limit,
    /// Only events of streams of this category.
    #[serde(default, deserialize_with = "category")]
    #[schemars(with = "Option<domain_types::StreamCategory>")]
    category: Option<Category>,
    /// Fail unless the log has this number.
    min_seq: Option<u64>,
}

/// A page of the log.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(example = json!({"data": [domain_types::example_event()], "next_after": 4, "head": 5}))]
pub(crate) struct EventPage {
    /// CloudEvents in the order of `sequence`, the bytes of NATS.
    #[schemars(with = "Vec<domain_types::CloudEvent>")]
    data: Vec<Box<RawValue>>,
    /// What to ask for next; equal to `head` when everything has been seen.
    #[schemars(range(min = 0))]
    next_after: i64,
    /// Number of the log's last event.
    #[schemars(range(min = 0))]
    head: i64,
}

/// What the document says of [`list`].
pub(crate) const LIST: About = About {
    id: "listEvents",
    tag: Tag::Events,
    summary: "Read the log",
    text: "For owners and admins. Go on with `after=<next_after>` until it equals `head`. A page may have fewer events \
           than `limit`, or none, before the head is reached.",
    codes: &[Code::Forbidden],
    links: &[],
};

fn seq<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let number = u64::deserialize(deserializer)?;
    i64::try_from(number).map_err(|_too_large| serde::de::Error::custom("is beyond every log"))
}

fn category<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Category>, D::Error> {
    let name = String::deserialize(deserializer)?;
    let known = || Category::ALL.map(Category::as_str).join(", ");
    let parsed = Category::parse(&name);
    parsed.map(Some).ok_or_else(|| serde::de::Error::custom(format!("expected one of {}", known())))
}

pub(crate) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Query(query): Query<ListEvents>,
) -> Result<Answer<EventPage>, Error> {
    caller.require(Role::Admin)?;
    let mut read = Read::committed(&api, &caller, query.min_seq).await?;
    let (tenant, head) = (read.tenant(), read.seq().cast_signed());
    if query.after > head {
        // A consumer that is ahead of the log follows another one, or one that was restored: it must hear of it.
        return Err(Error::new(Code::SeqNotInLog, format!("The log ends at {head}.")).with_current_seq(read.seq()));
    }
    let limit = i64::from(query.limit.get());
    let scanned = query.after.saturating_add(MAX_SCAN).min(head);
    let category = query.category.map_or("", |_| "and e.category = $5");
    let sql = format!(
        "select {EVENT_COLUMNS} from events e
         where e.tenant_id = $1 and e.seq > $2 and e.seq <= $3 {category} order by e.seq limit $4"
    );
    let mut rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant).bind(query.after).bind(scanned).bind(limit);
    if let Some(category) = query.category {
        rows = rows.bind(category.as_str());
    }
    let (mut data, mut bytes, mut last, mut cut) = (Vec::new(), 0, query.after, false);
    let mut rows = rows.fetch(read.connection());
    while let Some(row) = rows.try_next().await? {
        let event = event_from_row(&row)?;
        last = event.seq.cast_signed();
        let encoded = envelope::encode(&event).map_err(Error::internal)?;
        bytes += encoded.len();
        let text = String::from_utf8(encoded).map_err(Error::internal)?;
        data.push(RawValue::from_string(text).map_err(Error::internal)?);
        if bytes > MAX_PAGE_BYTES {
            cut = true;
            break;
        }
    }
    drop(rows);
    let full = cut || i64::try_from(data.len()) == Ok(limit);
    let next_after = if full { last } else { scanned };
    read.answer(&EventPage { data, next_after, head }).await
}
