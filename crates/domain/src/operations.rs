//! What operators did to a tenant's log, in one stream per tenant: it decides nothing, so that the tenant can see it.

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use uuid::Uuid;

use crate::{DecodeError, EventData, EventType, TenantId};

/// Longest reason of a discard in characters.
pub const MAX_REASON: usize = 500;

/// What an operator did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(strum::VariantNames), strum(serialize_all = "snake_case"))]
pub enum Event {
    /// An event that could not be projected is left out of the read tables for ever. It stays in the log.
    EventDiscarded(Discarded),
}

/// An event that is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discarded {
    /// Its number in the tenant's log.
    pub seq: u64,
    /// What its stream is about, for example `session`.
    pub category: String,
    /// Id of its stream.
    pub stream_id: Uuid,
    /// Its number in the stream.
    pub version: u64,
    /// Its own id.
    pub event_id: Uuid,
    /// What happened, for example `message_posted`.
    pub name: String,
    /// Why it is discarded, at most [`MAX_REASON`] characters.
    pub reason: String,
}

/// The id of the tenant's stream of operations.
pub fn stream(tenant: TenantId) -> Uuid {
    Uuid::new_v5(&tenant.0, b"operations")
}

/// The claim that lets an event be discarded once.
pub fn discard_claim(seq: u64) -> String {
    format!("discard/{seq}")
}

impl EventData for Event {
    fn event_type(&self) -> EventType {
        let Self::EventDiscarded(_) = self;
        EventType { name: "event_discarded", schema: 1 }
    }

    fn encode(&self) -> Result<Box<RawValue>, serde_json::Error> {
        let Self::EventDiscarded(discarded) = self;
        to_raw_value(discarded)
    }

    fn decode(name: &str, schema: u16, data: &RawValue) -> Result<Self, DecodeError> {
        match (name, schema) {
            ("event_discarded", 1) => serde_json::from_str(data.get())
                .map(Self::EventDiscarded)
                .map_err(|source| DecodeError::malformed(name, schema, source)),
            _ => Err(DecodeError::newer(name, schema)),
        }
    }
}
