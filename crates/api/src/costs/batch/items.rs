//! The items of a batch: read one by one, then compared with each other and with what is there. Knows no database.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::ledger::Recorded;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use uuid::Uuid;

use super::super::{Cost, NewCost};
use crate::{
    body,
    error::{Code, Error},
    violation::Violation,
};

/// An item as it was sent.
pub(super) struct Item {
    /// The id that was chosen for it, if it can be read.
    pub(super) told_id: Option<Uuid>,
    /// The cost that it says, or why it says none.
    pub(super) cost: Result<Cost, Error>,
}

/// A cost that is in the log.
pub(super) struct Known {
    pub(super) seq: u64,
    pub(super) occurred_at: DateTime<Utc>,
    pub(super) recorded: Recorded,
}

/// What became of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(super) enum Status {
    Created,
    Duplicate,
    Rejected,
}

/// Where a cost stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Place {
    /// At this number.
    At(u64),
    /// It is the command's first event, its second, …
    Nth(u64),
}

/// What is needed to answer for an item, now and whenever the request is repeated.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Line {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) place: Option<Place>,
    pub(super) status: Status,
    /// An [`ItemProblem`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) problem: Option<Box<RawValue>>,
}

/// Why an item was rejected: as the problem of a request, without a request's id.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ItemProblem<'a> {
    /// A URI reference that identifies the kind of problem.
    #[schemars(extend("format" = "uri-reference"))]
    r#type: &'static str,
    /// One sentence that is the same for every occurrence.
    title: &'static str,
    /// The status that it would have for a request of its own.
    #[schemars(range(min = 400, max = 499))]
    status: u16,
    /// What is wrong this time.
    detail: &'a str,
    /// For programs: `validation_failed`, `id_taken`. New ones may come.
    code: &'static str,
    /// What is wrong with the item's values; the pointers begin at the body.
    errors: &'a [Violation],
}

impl<'a> ItemProblem<'a> {
    fn of(error: &'a Error) -> Self {
        Self {
            r#type: error.code().problem_type(),
            title: error.code().title(),
            status: error.code().status().as_u16(),
            detail: error.detail(),
            code: error.code().as_str(),
            errors: error.violations(),
        }
    }
}

/// Reads each item by itself.
pub(super) fn read(items: &[Box<RawValue>], now: DateTime<Utc>) -> Vec<Item> {
    let place = |at: usize| move |violation: Violation| Error::invalid(violation.below(&format!("/items/{at}")));
    let item = |(at, json): (usize, &RawValue)| match body::parse_text::<NewCost>(json.get()) {
        Ok(told) => {
            let told_id = told.id;
            let cost = told.check(now).and_then(|cost| cost.is_timely(now).map(|()| cost));
            Item { told_id, cost: cost.map_err(place(at)) }
        }
        Err(violation) => Item { told_id: told_id(json), cost: Err(place(at)(violation)) },
    };
    items.iter().map(Box::as_ref).enumerate().map(item).collect()
}

/// The id of an item that is not valid otherwise, so that its sender finds it again.
fn told_id(json: &RawValue) -> Option<Uuid> {
    #[derive(Deserialize)]
    struct Told {
        id: Uuid,
    }
    serde_json::from_str::<Told>(json.get()).ok().map(|told| told.id)
}

/// What is to become of each item; refused as a whole when it is `atomic` and one is rejected.
pub(super) fn plan(items: &[Item], known: &HashMap<Uuid, Known>, atomic: bool) -> Result<Vec<Line>, Error> {
    let mut new: HashMap<Uuid, (u64, &Cost)> = HashMap::new();
    let (mut lines, mut rejected) = (Vec::new(), Vec::new());
    for (at, Item { told_id, cost }) in items.iter().enumerate() {
        let refusal = match cost {
            Ok(cost) => {
                let next = new.len() as u64 + 1;
                if let Some((place, status)) = place(cost, known, &new, next) {
                    let id = cost.recorded.cost_id;
                    if status == Status::Created {
                        new.insert(id, (next, cost));
                    }
                    lines.push(Line { id: Some(id), place: Some(place), status, problem: None });
                    continue;
                }
                &id_taken(at)
            }
            Err(invalid) => invalid,
        };
        rejected.extend_from_slice(refusal.violations());
        let problem = to_raw_value(&ItemProblem::of(refusal)).map_err(Error::internal)?;
        lines.push(Line { id: *told_id, place: None, status: Status::Rejected, problem: Some(problem) });
    }
    if atomic && !rejected.is_empty() {
        let detail = format!("{} of {} items are rejected; nothing was recorded.", rejected.len(), items.len());
        return Err(Error::new(Code::ValidationFailed, detail).with_violations(rejected));
    }
    Ok(lines)
}

/// Where a cost stands or is to stand; `None` when its id is taken by another one.
fn place(
    cost: &Cost,
    known: &HashMap<Uuid, Known>,
    new: &HashMap<Uuid, (u64, &Cost)>,
    next: u64,
) -> Option<(Place, Status)> {
    let id = &cost.recorded.cost_id;
    if let Some(Known { seq, occurred_at, recorded }) = known.get(id) {
        return cost.repeats(*occurred_at, recorded).then_some((Place::At(*seq), Status::Duplicate));
    }
    if let Some((nth, before)) = new.get(id) {
        return cost.repeats(before.occurred_at, &before.recorded).then_some((Place::Nth(*nth), Status::Duplicate));
    }
    Some((Place::Nth(next), Status::Created))
}

fn id_taken(at: usize) -> Error {
    let detail = "the id is taken by a cost that says something else";
    let violation = Violation::in_body(["items", &at.to_string(), "id"], Code::IdTaken.as_str(), detail);
    Error::new(Code::IdTaken, detail).with_violations(vec![violation])
}
