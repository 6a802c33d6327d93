//! What the projections of costs have in common: a ledger's event as an entry that adds a cost or takes it out again.

use chrono::{DateTime, Utc};
use domain::ledger::{Charge, Event, Recorded, Voided};
use domain::{Fact, RecordedEvent};
use uuid::Uuid;

use crate::projection::Projected;

/// One event of a ledger.
pub(crate) struct Entry<'a> {
    pub(crate) event: &'a RecordedEvent,
    pub(crate) kind: Kind<'a>,
}

/// What it does.
pub(crate) enum Kind<'a> {
    Recorded(&'a Recorded),
    Voided(&'a Voided),
}

impl<'a> Entry<'a> {
    /// Those of a batch.
    pub(crate) fn of(events: &'a [Projected<'a>]) -> Vec<Self> {
        let entry = |projected: &'a Projected<'a>| {
            let kind = match &projected.fact {
                Fact::Ledger(Event::CostRecorded(recorded)) => Kind::Recorded(recorded),
                Fact::Ledger(Event::CostVoided(voided)) => Kind::Voided(voided),
                Fact::Tenant(_) | Fact::Session(_) | Fact::Operations(_) | Fact::User(_) => return None,
            };
            Some(Self { event: projected.event, kind })
        };
        events.iter().filter_map(entry).collect()
    }

    pub(crate) fn tenant(&self) -> Uuid {
        self.event.tenant.0
    }

    pub(crate) fn period(&self) -> String {
        match self.kind {
            Kind::Recorded(recorded) => recorded.period.to_string(),
            Kind::Voided(voided) => voided.period.to_string(),
        }
    }

    /// When the cost occurred, also that of a void.
    pub(crate) fn occurred_at(&self) -> DateTime<Utc> {
        match self.kind {
            Kind::Recorded(_) => self.event.occurred_at,
            Kind::Voided(voided) => voided.occurred_at,
        }
    }

    pub(crate) fn charge(&self) -> &'a Charge {
        match self.kind {
            Kind::Recorded(recorded) => &recorded.charge,
            Kind::Voided(voided) => &voided.charge,
        }
    }

    /// 1 for a cost, -1 for a void.
    pub(crate) fn sign(&self) -> i64 {
        match self.kind {
            Kind::Recorded(_) => 1,
            Kind::Voided(_) => -1,
        }
    }
}
