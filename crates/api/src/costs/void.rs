//! `POST /v1/costs/{id}/void`: take a cost back, once.

use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::Fact;
use domain::ledger::{Event, MAX_REASON, Recorded, Voided, cost_claim, void_claim};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use store::{ExecuteError, Stop, TenantContext, TenantTx};
use uuid::Uuid;

use crate::{
    body::JsonBody,
    caller::Caller,
    command::{self, Changed, changed, refused},
    conditions::IfMatch,
    error::{Code, Error},
    idempotency::IdempotencyKey,
    json::at_most,
    openapi::{About, Tag},
    path::PathParams,
    state::Api,
    trace_context::Origin,
};

/// Why a cost counts no more.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"reason": "billed twice"}))]
pub(crate) struct VoidCost {
    /// For whoever reads the ledger later.
    #[schemars(length(max = MAX_REASON))]
    reason: Option<String>,
}

impl VoidCost {
    pub(crate) fn check(&self) -> Result<(), Error> {
        let length = self.reason.as_ref().map_or(0, |reason| reason.chars().count());
        at_most("reason", length, MAX_REASON, "characters")
    }
}

/// What the document says of [`void`].
pub(crate) const VOID: About = About {
    id: "voidCost",
    tag: Tag::Costs,
    summary: "Void a cost",
    text: "The cost counts no more, in any sum, at the time when it occurred. Its void is an event in the cost's own \
           ledger, also when that month is over; `id` is that event's id and `version` its number there. It can't be \
           undone: record the cost again, under another id.",
    codes: &[Code::AlreadyVoided],
    links: &[],
};

pub(crate) async fn void(
    State(api): State<Api>,
    caller: Caller,
    PathParams(id): PathParams<Uuid>,
    origin: Origin,
    key: IdempotencyKey,
    if_match: IfMatch,
    JsonBody { value: body, received }: JsonBody<VoidCost>,
) -> Result<Changed, Error> {
    body.check()?;
    let context = command::context(&api, &caller, origin, key, received);
    let voided_at = context.occurred_at;
    loop {
        let found = Voidable::find(&api, &caller.context, id, if_match).await;
        let (void_id, reason) = (Uuid::now_v7(), body.reason.clone());
        let outcome = api.inner.log.execute(context.clone(), move |unit| {
            // Decided here, so that the answer to an earlier request with the same key goes before any refusal.
            let Voidable { occurred_at, recorded } = found.as_ref().map_err(|refusal| Stop::reject(refusal.clone()))?;
            let &Recorded { cost_id, period, .. } = recorded;
            let (stream, charge, reason) = (period.ledger(), recorded.charge.clone(), reason.clone());
            let occurred_at = *occurred_at;
            let void = Voided { cost_id, stream, period, occurred_at, charge, reason };
            unit.void_cost::<Error>(void_id, voided_at, void)?;
            Ok(void_id)
        });
        match outcome.await {
            // Somebody was faster, which the log now says.
            Err(ExecuteError::Claimed(_)) => {}
            outcome => return Ok(changed(&outcome.map_err(|error| refused(error, |refusal| refusal))?)),
        }
    }
}

/// A cost that counts, as the log has it.
struct Voidable {
    occurred_at: DateTime<Utc>,
    recorded: Recorded,
}

impl Voidable {
    /// Looks the cost up by who took its id, or says why it cannot be voided. No read table is asked: they may be behind.
    async fn find(api: &Api, context: &TenantContext, id: Uuid, if_match: IfMatch) -> Result<Self, Error> {
        let (cost, void) = (cost_claim(id), void_claim(id));
        let mut tx = TenantTx::begin_snapshot(&api.inner.database, context).await?;
        let taken = tx.taken(&[cost.clone(), void.clone()]).await?;
        tx.commit().await?;
        let event = taken.get(&cost).ok_or_else(Error::not_found)?;
        let last = taken.get(&void).unwrap_or(event);
        if_match.check(last.version)?;
        if taken.contains_key(&void) {
            return Err(Error::new(Code::AlreadyVoided, "A cost is voided once; it counts no more."));
        }
        match Fact::of(event).map_err(store::Error::from)? {
            Fact::Ledger(Event::CostRecorded(recorded)) => Ok(Self { occurred_at: event.occurred_at, recorded }),
            Fact::Ledger(Event::CostVoided(_))
            | Fact::Session(_)
            | Fact::Tenant(_)
            | Fact::Operations(_)
            | Fact::User(_) => Err(Error::not_found()),
        }
    }
}
