//! `POST /v1/costs/batch`: record many costs at once, as one command.

mod items;

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use domain::Fact;
use domain::ledger::{Event, cost_claim};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};
use store::{ExecuteError, Outcome, Stop, TenantContext, TenantTx};
use uuid::Uuid;

use super::NewCost;
use crate::{
    body::JsonBody,
    caller::Caller,
    command::{self, refused, say_replayed},
    conditions::NoCondition,
    error::Error,
    idempotency::IdempotencyKey,
    openapi::{About, Answers, Header, Operation, Tag},
    state::Api,
    trace_context::Origin,
    violation::Violation,
};
use items::{Item, ItemProblem, Known, Line, Place, Status, plan};

/// Most costs of one request.
pub(crate) const MAX_ITEMS: usize = 500;
/// Most ids that are looked up at once: what has taken them is read whole.
const LOOK_UP: usize = 64;
/// How often it is looked again because somebody has just taken one of the ids.
const ATTEMPTS: usize = 8;

/// Costs to record.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = example())]
pub(crate) struct RecordCosts {
    /// Each is read by itself: one that is not valid does not keep the others from being recorded.
    #[schemars(with = "Vec<NewCost>", length(min = 1, max = MAX_ITEMS))]
    items: Vec<Box<RawValue>>,
    /// `true`: all or nothing. When one item is rejected, the request is refused.
    atomic: Option<bool>,
}

fn example() -> serde_json::Value {
    json!({
        "items": [
            {"id": "01a2046a-c0a1-7000-8000-000000000008", "service": "llm", "provider": "openai", "amount": "0.000123"},
            {"service": "voice", "provider": "deepgram", "usage": [{"type": "audio_seconds", "quantity": "12.5"}]},
        ],
        "atomic": false,
    })
}

impl RecordCosts {
    pub(crate) fn check(&self) -> Result<(), Error> {
        if (1..=MAX_ITEMS).contains(&self.items.len()) {
            return Ok(());
        }
        let (code, detail) = match self.items.len() {
            0 => ("too_short", "has no entry, at least 1 is needed".to_owned()),
            found => ("too_long", format!("has {found} entries, at most {MAX_ITEMS} are allowed")),
        };
        Err(Error::invalid(Violation::in_body(["items"], code, &detail)))
    }
}

/// What became of each item, in their order.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(example = answer_example())]
struct Results {
    results: Vec<ItemResult>,
}

/// What became of an item.
#[derive(Debug, Serialize, JsonSchema)]
struct ItemResult {
    /// Of the cost; `null` for one that was rejected and has none.
    id: Option<Uuid>,
    /// Number of the cost's event in the tenant's log, also when it had been there before; `null` for one that was rejected.
    #[schemars(range(min = 1))]
    seq: Option<u64>,
    status: Status,
    /// Why it was rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<ItemProblem>")]
    problem: Option<Box<RawValue>>,
}

fn answer_example() -> serde_json::Value {
    json!({"results": [
        {"id": "01a2046a-c0a1-7000-8000-000000000008", "seq": 5, "status": "created"},
        {"id": "01a2046a-c0a1-7000-8000-000000000009", "seq": 2, "status": "duplicate"},
        {"id": null, "seq": null, "status": "rejected", "problem": {
            "type": "/problems/validation_failed", "title": "The request has invalid values", "status": 422,
            "detail": "missing field `provider`", "code": "validation_failed",
            "errors": [{"pointer": "/items/2/provider", "code": "missing_field", "detail": "missing field `provider`"}],
        }},
    ]})
}

/// The answer, which says nothing of a version: the costs may stand in several ledgers.
pub(crate) struct Batch(Response);

impl IntoResponse for Batch {
    fn into_response(self) -> Response {
        self.0
    }
}

impl Answers for Batch {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers::<Results>(200, "What was created is recorded, durably.", &[Header::Replayed]);
        operation.fails(&command::FAILURES);
    }
}

impl Batch {
    fn new(Outcome { receipt, seq, replayed, .. }: Outcome<Vec<Line>>) -> Self {
        let created = receipt.iter().filter(|line| line.status == Status::Created).count() as u64;
        let result = |Line { id, place, status, problem }: Line| {
            let seq = place.map(|place| match place {
                Place::At(seq) => seq,
                // A command's events follow each other.
                Place::Nth(nth) => seq - (created - nth),
            });
            ItemResult { id, seq, status, problem }
        };
        let results = Results { results: receipt.into_iter().map(result).collect() };
        let mut headers = HeaderMap::new();
        say_replayed(&mut headers, replayed);
        Self((headers, Json(results)).into_response())
    }
}

/// What the document says of [`record_all`].
pub(crate) const RECORD_ALL: About = About {
    id: "recordCosts",
    tag: Tag::Costs,
    summary: "Record many costs",
    text: "Adds up to 500 costs with one command. Each item is `created`, or a `duplicate` (its id is taken by a cost that \
           says the same), or `rejected` with a `problem`: because it is not valid, or `id_taken` because its id belongs to \
           a cost that says something else. A time that is left out is not compared. With `atomic` one rejected item \
           refuses the request, with all their `errors`; duplicates do not.\n\nWith an `Idempotency-Key` the first answer \
           is kept also when nothing was created.",
    codes: &[],
    links: &[],
};

pub(crate) async fn record_all(
    State(api): State<Api>,
    caller: Caller,
    origin: Origin,
    key: IdempotencyKey,
    _: NoCondition,
    JsonBody { value: body, received }: JsonBody<RecordCosts>,
) -> Result<Batch, Error> {
    body.check()?;
    let context = command::context(&api, &caller, origin, key, received);
    let atomic = body.atomic.unwrap_or(false);
    let items = std::sync::Arc::new(items::read(&body.items, context.occurred_at));
    for _ in 0..ATTEMPTS {
        // Refusals are decided in the command, so that the answer to an earlier request with the same key goes before them.
        let plan = look_up(&api, &caller.context, &items).await.and_then(|known| plan(&items, &known, atomic));
        let items = items.clone();
        let outcome = api.inner.log.execute(context.clone(), move |unit| {
            let lines = plan.as_ref().map_err(|refusal| Stop::reject(refusal.clone()))?;
            for (item, line) in items.iter().zip(lines) {
                if let (Ok(cost), Status::Created) = (&item.cost, line.status) {
                    cost.record::<Error>(unit)?;
                }
            }
            Ok(lines.clone())
        });
        match outcome.await {
            Err(ExecuteError::Claimed(_)) => {}
            outcome => return Ok(Batch::new(outcome.map_err(|error| refused(error, |refusal| refusal))?)),
        }
    }
    Err(Error::overloaded())
}

/// The costs that have the ids of these, as the log has them: no read table is asked, they may be behind.
async fn look_up(api: &Api, context: &TenantContext, items: &[Item]) -> Result<HashMap<Uuid, Known>, Error> {
    let claims: Vec<String> = items.iter().filter_map(|item| item.told_id.map(cost_claim)).collect();
    let mut known = HashMap::new();
    if claims.is_empty() {
        return Ok(known);
    }
    let mut tx = TenantTx::begin_snapshot(&api.inner.database, context).await?;
    for claims in claims.chunks(LOOK_UP) {
        for event in tx.taken(claims).await?.into_values() {
            if let Fact::Ledger(Event::CostRecorded(recorded)) = Fact::of(&event).map_err(store::Error::from)? {
                known.insert(recorded.cost_id, Known { seq: event.seq, occurred_at: event.occurred_at, recorded });
            }
        }
    }
    tx.commit().await?;
    Ok(known)
}
