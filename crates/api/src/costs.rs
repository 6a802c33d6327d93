//! `/v1/costs`: record what AI services cost, take it back, read and add it up.

pub(crate) mod batch;
pub(crate) mod list;
mod moment;
mod new_cost;
pub(crate) mod periods;
mod row;
pub(crate) mod summary;
mod total;
pub(crate) mod void;

use axum::extract::State;
use chrono::{DateTime, TimeDelta, Utc};
use domain::ledger::Recorded;
use store::{Stop, Unit};

pub(crate) use new_cost::NewCost;
pub(crate) use total::{Total, column};

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
    violation::Violation,
};

/// How long ago a cost may have occurred: a bill of the month before still finds its ledger.
const MAX_AGE: TimeDelta = TimeDelta::days(35);
/// How far ahead it may lie: clocks differ.
const MAX_AHEAD: TimeDelta = TimeDelta::minutes(5);

/// A cost that is ready to be recorded.
#[derive(Clone, Debug)]
pub(crate) struct Cost {
    /// When it occurred.
    pub(crate) occurred_at: DateTime<Utc>,
    /// Whether its sender has said so.
    pub(crate) has_own_time: bool,
    /// What its event says.
    pub(crate) recorded: Recorded,
}

impl Cost {
    /// Whether it occurred recently enough. To be asked in the command, after its key was looked up: a request that is
    /// repeated gets its first answer however late it is.
    pub(crate) fn is_timely(&self, now: DateTime<Utc>) -> Result<(), Violation> {
        if (now - MAX_AGE..=now + MAX_AHEAD).contains(&self.occurred_at) {
            return Ok(());
        }
        let detail = "must be at most 35 days ago and at most 5 minutes ahead";
        Err(Violation::in_body(["occurred_at"], "invalid_value", detail))
    }

    /// Whether it says what was recorded then. A time that it does not say is not compared.
    pub(crate) fn repeats(&self, occurred_at: DateTime<Utc>, recorded: &Recorded) -> bool {
        let same_time = !self.has_own_time || self.occurred_at == occurred_at;
        same_time && self.recorded.charge == recorded.charge && self.recorded.metadata == recorded.metadata
    }

    /// Appends it to its ledger; its id is taken from then on.
    pub(crate) fn record<E>(&self, unit: &mut Unit<'_>) -> Result<(), Stop<E>> {
        unit.record_cost(self.occurred_at, self.recorded.clone())
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
    let now = context.occurred_at;
    let cost = body.check(now).map_err(Error::invalid)?;
    let outcome = api.inner.log.execute(context, move |unit| {
        cost.is_timely(now).map_err(|violation| Stop::reject(Error::invalid(violation)))?;
        cost.record::<Error>(unit)?;
        Ok(cost.recorded.cost_id)
    });
    let outcome = outcome.await.map_err(|error| refused(error, |rejection| rejection))?;
    Ok(created(&outcome, format!("/v1/costs/{}", outcome.receipt)))
}
