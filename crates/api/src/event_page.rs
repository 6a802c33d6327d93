//! Pages of a tenant's log as CloudEvents: the one reading that `GET /v1/events` and its stream share.

use domain::{Category, RecordedEvent, envelope};
use futures_util::TryStreamExt as _;
use serde::{Deserialize, Deserializer};
use store::{EVENT_COLUMNS, event_from_row};

use crate::{
    error::{Code, Error},
    reads::Read,
};

/// Most events that one page looks at: a page of a rare category ends here, and `next_after` goes on behind it.
const MAX_SCAN: u64 = 5_000;

/// Where a page begins and what it may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// The page begins after this number.
    pub(crate) after: u64,
    /// Only events of this one.
    pub(crate) category: Option<Category>,
    /// Most events.
    pub(crate) events: u16,
    /// The page ends with the event that goes beyond this.
    pub(crate) bytes: usize,
}

/// A part of the log.
#[derive(Debug)]
pub(crate) struct EventPage {
    /// In `seq` order.
    pub(crate) events: Vec<Encoded>,
    /// Up to here the log has been looked at; equal to `head` when everything has been seen.
    pub(crate) next_after: u64,
    /// Number of the log's last event.
    pub(crate) head: u64,
}

/// An event in the form in which it leaves the house.
#[derive(Clone, Debug)]
pub(crate) struct Encoded {
    pub(crate) seq: u64,
    pub(crate) category: String,
    pub(crate) json: String,
}

impl Encoded {
    /// The bytes of NATS.
    pub(crate) fn new(event: RecordedEvent) -> Result<Self, Error> {
        let encoded = envelope::encode(&event).map_err(Error::internal)?;
        let json = String::from_utf8(encoded).map_err(Error::internal)?;
        Ok(Self { seq: event.seq, category: event.category, json })
    }
}

/// Reads the next events of the log that `read` is about; 422 for whoever begins beyond its end.
pub(crate) async fn read_page(read: &mut Read, wanted: Wanted) -> Result<EventPage, Error> {
    let (tenant, head, Wanted { after, category, .. }) = (read.tenant(), read.seq(), wanted);
    if after > head {
        // A consumer that is ahead of the log follows another one, or one that was restored: it must hear of it.
        return Err(Error::new(Code::SeqNotInLog, format!("The log ends at {head}.")).with_current_seq(head));
    }
    let scanned = after.saturating_add(MAX_SCAN).min(head);
    let of_category = category.map_or("", |_| "and e.category = $5");
    let sql = format!(
        "select {EVENT_COLUMNS} from events e
         where e.tenant_id = $1 and e.seq > $2 and e.seq <= $3 {of_category} order by e.seq limit $4"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant).bind(after.cast_signed());
    let mut rows = rows.bind(scanned.cast_signed()).bind(i64::from(wanted.events));
    if let Some(category) = category {
        rows = rows.bind(category.as_str());
    }
    let (mut events, mut bytes, mut last) = (Vec::new(), 0, after);
    let mut rows = rows.fetch(read.connection());
    let mut is_full = false;
    while let Some(row) = rows.try_next().await? {
        let event = match event_from_row(&row) {
            // The page ends before it, and the next one with the error: nobody is shown a log with a hole.
            Err(store::Error::Decode(_)) if !events.is_empty() => {
                is_full = true;
                break;
            }
            event => Encoded::new(event?)?,
        };
        (last, bytes) = (event.seq, bytes + event.json.len());
        events.push(event);
        is_full = bytes > wanted.bytes || events.len() == usize::from(wanted.events);
        if is_full {
            break;
        }
    }
    Ok(EventPage { events, next_after: if is_full { last } else { scanned }, head })
}

/// The parameter `after`: a number that a log can have.
pub(crate) fn seq<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = u64::deserialize(deserializer)?;
    let fits = i64::try_from(number).is_ok();
    if fits { Ok(number) } else { Err(serde::de::Error::custom("is beyond every log")) }
}

/// The parameter `category`: one that exists.
pub(crate) fn category<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Category>, D::Error> {
    let name = String::deserialize(deserializer)?;
    let known = || Category::ALL.map(Category::as_str).join(", ");
    let parsed = Category::parse(&name);
    parsed.map(Some).ok_or_else(|| serde::de::Error::custom(format!("expected one of {}", known())))
}
