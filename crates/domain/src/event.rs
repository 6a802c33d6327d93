//! An event as the log holds it: whose, where, in which order, who caused it, and its data as unread JSON.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::TenantId;

/// What a stream is about; the first token of an event's `subject` and a token of its NATS subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(test, derive(strum::EnumCount))]
pub enum Category {
    /// The tenant itself and its members, one stream per tenant.
    Tenant,
    /// An AI conversation with its messages, one stream per session.
    Session,
    /// Costs, one stream per calendar month.
    Ledger,
    /// What operators did to the log, one stream per tenant.
    Operations,
    /// Who signed in and out, one stream per tenant.
    User,
}

impl Category {
    /// All categories.
    pub const ALL: [Self; 5] = [Self::Tenant, Self::Session, Self::Ledger, Self::Operations, Self::User];

    /// Its name in events, subjects and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Session => "session",
            Self::Ledger => "ledger",
            Self::Operations => "operations",
            Self::User => "user",
        }
    }

    /// The category of this name; `None` for one that this version of the code does not know.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|category| category.as_str() == name)
    }
}

/// The name of a stream: its category and its id, unique within a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId {
    /// What the stream is about.
    pub category: Category,
    /// Which one.
    pub id: Uuid,
}

/// What kind of caller an [`Actor`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    /// A signed-in user.
    User,
    /// A program with an API key.
    ApiKey,
    /// Convolog itself, for example when it seeds a demo.
    System,
}

/// Who caused an event; also the scope of idempotency keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Actor {
    /// What kind of caller.
    pub kind: ActorKind,
    /// The id of the user or the key, or the nil UUID for the system.
    pub id: Uuid,
}

/// What is known about an event beside its data. Stored as JSON in `events.meta`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventMeta {
    /// Who caused it.
    pub actor: Actor,
    /// The request or process that all events with this id belong to.
    pub correlation_id: Uuid,
    /// The request or event that led to this event directly.
    pub causation_id: Uuid,
    /// W3C trace context of the request, when it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// One event of a tenant's log, its data not yet read.
///
/// Category and type are text here, because the relay carries events of newer code without knowing them.
#[derive(Clone, Debug)]
pub struct RecordedEvent {
    /// Whose log.
    pub tenant: TenantId,
    /// Its number in that log: 1, 2, 3, … without gap, in commit order.
    pub seq: u64,
    /// What its stream is about, see [`Category`].
    pub category: String,
    /// Id of its stream.
    pub stream: Uuid,
    /// Its number in the stream: 1, 2, 3, … without gap.
    pub version: u64,
    /// Its own id.
    pub event_id: Uuid,
    /// What happened, for example `message_posted`.
    pub name: String,
    /// Version of the data's schema, from 1.
    pub schema: u16,
    /// The data as stored.
    pub data: Box<RawValue>,
    /// Who and why.
    pub meta: EventMeta,
    /// When it happened.
    pub occurred_at: DateTime<Utc>,
    /// When it was committed, by the database's clock.
    pub recorded_at: DateTime<Utc>,
}
