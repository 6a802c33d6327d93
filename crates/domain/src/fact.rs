//! The events of all aggregates as one type, for whoever reads a whole log.

use crate::{Category, DecodeError, EventData, RecordedEvent, ledger, operations, session, tenant, user};

/// What happened, whatever it happened to. A `match` over it has no `_` arm, so that the compiler lists who must
/// think about a new aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// To the tenant or its members.
    Tenant(tenant::Event),
    /// To a session.
    Session(session::Event),
    /// To a ledger of costs.
    Ledger(ledger::Event),
    /// To a tenant's log, by an operator.
    Operations(operations::Event),
    /// To somebody's sign-ins.
    User(user::Event),
}

impl Fact {
    /// Reads an event's data; fails for events of newer code.
    pub fn of(event: &RecordedEvent) -> Result<Self, DecodeError> {
        match Category::parse(&event.category) {
            Some(Category::Tenant) => read(event).map(Self::Tenant),
            Some(Category::Session) => read(event).map(Self::Session),
            Some(Category::Ledger) => read(event).map(Self::Ledger),
            Some(Category::Operations) => read(event).map(Self::Operations),
            Some(Category::User) => read(event).map(Self::User),
            None => Err(DecodeError::newer(&event.name, event.schema)),
        }
    }
}

fn read<E: EventData>(event: &RecordedEvent) -> Result<E, DecodeError> {
    E::decode(&event.name, event.schema, &event.data)
}
