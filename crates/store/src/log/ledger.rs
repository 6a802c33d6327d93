//! Costs and their voids as commands append them: which ledger, and which claim makes each happen once.

use chrono::{DateTime, Utc};
use domain::Category;
use domain::ledger::{Event, Recorded, Voided, cost_claim, void_claim};
use uuid::Uuid;

use super::{Posting, Stop, Unit};

impl Unit<'_> {
    /// Appends a cost to the ledger of its month; its id is taken from then on.
    pub fn record_cost<E>(&mut self, occurred_at: DateTime<Utc>, cost: Recorded) -> Result<(), Stop<E>> {
        self.claim(cost_claim(cost.cost_id));
        let stream = cost.period.stream(self.tenant);
        let posting = Posting { id: Uuid::now_v7(), occurred_at, event: &Event::CostRecorded(cost) };
        self.record(Category::Ledger, stream, &posting)
    }

    /// Appends the end of a cost, as the event of this id, to the ledger of the cost; there is no second one.
    pub fn void_cost<E>(&mut self, id: Uuid, voided_at: DateTime<Utc>, void: Voided) -> Result<(), Stop<E>> {
        self.claim(void_claim(void.cost_id));
        let stream = void.period.stream(self.tenant);
        let posting = Posting { id, occurred_at: voided_at, event: &Event::CostVoided(void) };
        self.record(Category::Ledger, stream, &posting)
    }
}
