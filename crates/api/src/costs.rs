//! `/v1/costs`: record what AI services cost, take it back, read and add it up.

pub(crate) mod list;
mod moment;
mod new_cost;
mod row;
pub(crate) mod void;

use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::ledger::{Event, Recorded, cost_claim};
use domain::{Category, TenantId};
use store::{Posting, Stop, Unit};
use uuid::Uuid;

pub(crate) use new_cost::NewCost;

use crate::{
    body::JsonBody,
    caller::Caller,
    command::{self, Created, created, refused},
    conditions::NoCondition,
    error::{Code, Error},
    idempotency::IdempotencyKey,
    openapi::{About, Tag},
    state::Api,
    trace_context::Origin,
};

/// A cost that is ready to be recorded.
#[derive(Clone, Debug)]
pub(crate) struct Cost {
    /// When it occurred.
    pub(crate) occurred_at: DateTime<Utc>,
    /// The id of its event.
    pub(crate) event_id: Uuid,
    /// What its event says.
    pub(crate) recorded: Recorded,
}

impl Cost {
    /// Appends it to its ledger; its id is taken from then on.
    pub(crate) fn record<E>(&self, unit: &mut Unit<'_>, tenant: TenantId) -> Result<(), Stop<E>> {
        unit.claim(cost_claim(self.recorded.cost_id));
        let event = Event::CostRecorded(self.recorded.clone());
        let posting = Posting { id: self.event_id, occurred_at: self.occurred_at, event: &event };
        unit.record(Category::Ledger, self.recorded.period.stream(tenant), &posting)
    }
}

/// What the document says of [`record`].
pub(crate) const RECORD: About = About {
    id: "recordCost",
    tag: Tag::Costs,
    summary: "Record a cost",
    text: "Adds a line to the ledger of the calendar month in which it occurred. It may have occurred up to 35 days \
           ago and, because clocks differ, up to 5 minutes ahead. `version` is the number of its event in that ledger.",
    codes: &[Code::IdTaken],
    links: &["readCost", "voidCost"],
};

pub(crate) async fn record(
    State(api): State<Api>,
    caller: Caller,
    origin: Origin,
    key: IdempotencyKey,
    _: NoCondition,
    JsonBody { value: body, received }: JsonBody<NewCost>,
) -> Result<Created, Error> {
    let context = command::context(&api, &caller, origin, key, received);
    let cost = body.check(context.occurred_at).map_err(Error::invalid)?;
    let tenant = caller.context.tenant();
    let outcome = api.inner.log.execute(context, move |unit| {
        cost.record::<Error>(unit, tenant)?;
        Ok(cost.recorded.cost_id)
    });
    let outcome = outcome.await.map_err(|error| refused(error, |rejection| rejection))?;
    Ok(created(&outcome, format!("/v1/costs/{}", outcome.receipt)))
}
