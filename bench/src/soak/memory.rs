//! What the clients know: every event that a command of theirs was to make, and what was said of it. It asks nobody.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use uuid::Uuid;

use super::plan::{Doing, Item, Marker, Step};

/// What kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Started,
    Ended,
    Message,
    Cost,
    Void,
}

impl Kind {
    pub(crate) fn event_name(self) -> &'static str {
        match self {
            Self::Started => "session_started",
            Self::Ended => "session_ended",
            Self::Message => "message_posted",
            Self::Cost => "cost_recorded",
            Self::Void => "cost_voided",
        }
    }
}

/// What was said of an event. What is `None` was not told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) seq: Option<u64>,
    pub(crate) version: Option<u64>,
    pub(crate) id: Option<Uuid>,
}

/// An event that was sent for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fact {
    pub(crate) tenant: usize,
    pub(crate) kind: Kind,
    /// Of a cost or a void: what it is about, and an amount in a currency.
    pub(crate) amount: Option<&'static str>,
    pub(crate) currency: Option<&'static str>,
    /// `None` until it is acknowledged: then the event may be there or not, once at most.
    pub(crate) told: Option<Told>,
}

/// How many commands of a kind, counted by answer. A command that is repeated counts each time.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Tally {
    pub(crate) acknowledged: u64,
    /// Refused because the rules say so, as it should be.
    pub(crate) refused_by_rule: u64,
    /// 503 or 429: nothing was done.
    pub(crate) refused: u64,
    /// No answer, or 503 `outcome_unknown`.
    pub(crate) unknown: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) facts: HashMap<Marker, Fact>,
    pub(crate) tallies: BTreeMap<&'static str, Tally>,
    /// Reads with `min_seq`: answered, refused.
    pub(crate) reads: (u64, u64),
}

impl Memory {
    /// Before a command is sent: what it will have made when it is done.
    pub(crate) fn send(&mut self, tenant: usize, step: &Step) {
        for (marker, kind) in made(step) {
            let price = price(step, &marker);
            let (amount, currency) = match kind {
                // It takes back what its cost has said.
                Kind::Void => step_cost(step).and_then(|cost| self.facts.get(cost)).map(|it| (it.amount, it.currency)),
                Kind::Cost => price,
                Kind::Started | Kind::Ended | Kind::Message => None,
            }
            .unwrap_or_default();
            let fact = Fact { tenant, kind, amount, currency, told: None };
            self.facts.entry(marker).or_insert(fact);
        }
    }

    pub(crate) fn told(&mut self, marker: &str, told: Told) {
        if let Some(fact) = self.facts.get_mut(marker) {
            fact.told = Some(told);
        }
    }

    pub(crate) fn tally(&mut self, kind: &'static str) -> &mut Tally {
        self.tallies.entry(kind).or_default()
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.facts.values().filter(|fact| fact.told.is_some()).count()
    }
}

fn step_cost(step: &Step) -> Option<&Marker> {
    if let Doing::Void { cost } = &step.doing { Some(cost) } else { None }
}

type Price = (Option<&'static str>, Option<&'static str>);

/// What the cost of this marker comes to, and in which currency: USD where none is told.
fn price(step: &Step, marker: &str) -> Option<Price> {
    let price = match &step.doing {
        Doing::Post { cost: Some(price), .. } => price,
        Doing::Cost(cost) => &cost.price,
        Doing::Batch(items) => items.iter().find_map(|item| match item {
            Item::New(cost) if cost.marker == marker => Some(&cost.price),
            Item::New(_) | Item::Duplicate(_) | Item::Invalid => None,
        })?,
        Doing::Start { .. }
        | Doing::End { .. }
        | Doing::Post { cost: None, .. }
        | Doing::PostToEnded { .. }
        | Doing::Void { .. }
        | Doing::VoidAgain { .. }
        | Doing::Repeat(_)
        | Doing::Reuse(_) => return None,
    };
    Some((price.amount, price.currency.or(price.amount.map(|_| "USD"))))
}

/// The marker of the cost that a message brings.
pub(crate) fn cost_of(marker: &str) -> Marker {
    format!("{marker}-cost")
}

pub(crate) fn end_of(session: &str) -> Marker {
    format!("end-{session}")
}

/// The events that a command makes, in their order, by their markers.
pub(crate) fn made(step: &Step) -> Vec<(Marker, Kind)> {
    let marker = step.marker.clone();
    match &step.doing {
        Doing::Start { .. } => vec![(marker, Kind::Started)],
        Doing::End { session } => vec![(end_of(session), Kind::Ended)],
        Doing::Post { cost: None, .. } => vec![(marker, Kind::Message)],
        Doing::Post { cost: Some(_), .. } => vec![(marker.clone(), Kind::Message), (cost_of(&marker), Kind::Cost)],
        Doing::Cost(_) => vec![(marker, Kind::Cost)],
        Doing::Batch(items) => items
            .iter()
            .filter_map(|item| match item {
                Item::New(cost) => Some((cost.marker.clone(), Kind::Cost)),
                Item::Duplicate(_) | Item::Invalid => None,
            })
            .collect(),
        Doing::Void { .. } => vec![(marker, Kind::Void)],
        Doing::PostToEnded { .. } | Doing::VoidAgain { .. } | Doing::Repeat(_) | Doing::Reuse(_) => vec![],
    }
}

/// What a command is called in the report.
pub(crate) fn name(doing: &Doing) -> &'static str {
    match doing {
        Doing::Start { .. } => "start a session",
        Doing::End { .. } => "end a session",
        Doing::Post { cost: None, .. } => "post a message",
        Doing::Post { cost: Some(_), .. } => "post a message with its cost",
        Doing::PostToEnded { .. } => "post into an ended session",
        Doing::Cost(_) => "record a cost",
        Doing::Batch(_) => "record a batch of costs",
        Doing::Void { .. } => "void a cost",
        Doing::VoidAgain { .. } => "void a cost again",
        Doing::Repeat(_) => "repeat an earlier command",
        Doing::Reuse(_) => "reuse an earlier key",
    }
}
