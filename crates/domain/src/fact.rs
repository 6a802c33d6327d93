//! The events of all aggregates as one type, for whoever reads a whole log.

use crate::{Aggregate, Category, DecodeError, RecordedEvent, aggregate, session, tenant};

/// What happened, whatever it happened to. A `match` over it has no `_` arm, so that the compiler lists who must
/// think about a new aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// To the tenant or its members.
    Tenant(tenant::Event),
    /// To a session.
    Session(session::Event),
}

impl Fact {
    /// Reads an event's data; fails for events of newer code.
    pub fn of(event: &RecordedEvent) -> Result<Self, DecodeError> {
        match Category::parse(&event.category) {
            Some(Category::Tenant) => read::<tenant::Tenant>(event).map(Self::Tenant),
            Some(Category::Session) => read::<session::Session>(event).map(Self::Session),
            None => Err(DecodeError::newer(&event.name, event.schema)),
        }
    }
}

fn read<A: Aggregate>(event: &RecordedEvent) -> Result<A::Event, DecodeError> {
    <A::Event as aggregate::EventData>::decode(&event.name, event.schema, &event.data)
}
