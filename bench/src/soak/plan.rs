//! What a client does, step by step: a function of the seed and the client's number alone, whatever becomes of each step.

use std::collections::VecDeque;

use chrono::{DateTime, Datelike as _, Duration, SecondsFormat, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::chance::Chance;

/// Steps back to which a client may repeat itself.
pub(crate) const REMEMBERED: usize = 50;
const AMOUNTS: [&str; 6] = ["0.000000000001", "-0.3", "999999999999.999999999999", "1.5", "0", "-123456789012.1"];

/// A word in the data of an event that no other event has; it finds the event again in the log.
pub(crate) type Marker = String;

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) number: u64,
    pub(crate) doing: Doing,
    pub(crate) marker: Marker,
    pub(crate) key: Option<String>,
    /// The API process that is asked first.
    pub(crate) via: usize,
    /// Whether the client looks at what it has done.
    pub(crate) reads: bool,
    pub(crate) pause_ms: u64,
}

/// What a command is about; others are named by their markers, because their ids may be made by the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    Start {
        id: Option<Uuid>,
    },
    End {
        session: Marker,
    },
    /// Into the session of the client, or into the one that all clients of the tenant share.
    Post {
        session: Marker,
        id: Option<Uuid>,
        cost: Option<Price>,
    },
    PostToEnded {
        session: Marker,
    },
    Cost(Cost),
    Batch(Vec<Item>),
    Void {
        cost: Marker,
    },
    VoidAgain {
        cost: Marker,
    },
    /// A step that was done, once more.
    Repeat(u64),
    /// The key of a step that was done, with another body.
    Reuse(u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Price {
    pub(crate) amount: Option<&'static str>,
    pub(crate) currency: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) marker: Marker,
    pub(crate) id: Option<Uuid>,
    pub(crate) price: Price,
    pub(crate) occurred_at: Option<DateTime<Utc>>,
    pub(crate) quantity: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    New(Cost),
    /// A cost that is there already and says the same.
    Duplicate(Cost),
    Invalid,
}

/// The name of the session that all clients of a tenant share.
pub(crate) const SHARED: &str = "shared";

pub(crate) struct Plan {
    chance: Chance,
    client: u64,
    begun: DateTime<Utc>,
    number: u64,
    open: Vec<Marker>,
    ended: Vec<Marker>,
    costs: Vec<Marker>,
    voided: Vec<Marker>,
    /// Costs that can be sent again, because their id is known.
    named: Vec<Cost>,
    keyed: VecDeque<u64>,
}

impl Plan {
    pub(crate) fn new(seed: u64, client: u64, begun: DateTime<Utc>) -> Self {
        let (chance, keyed) = (Chance::of(seed, client + 1), VecDeque::new());
        let (open, ended, costs, voided, named) = Default::default();
        Self { chance, client, begun, number: 0, open, ended, costs, voided, named, keyed }
    }

    fn price(&mut self) -> Price {
        let amount = (!self.chance.one_in(6)).then(|| AMOUNTS[self.chance.index(AMOUNTS.len())]);
        // Without a currency an amount is in USD.
        let currency = self.chance.one_in(2).then(|| ["EUR", "JPY", "USD"][self.chance.index(3)]);
        Price { amount, currency }
    }

    /// Now, some days ago, or within a millisecond of the beginning of this month.
    fn occurred_at(&mut self) -> Option<DateTime<Utc>> {
        let month = self.begun.date_naive().with_day(1)?.and_hms_opt(0, 0, 0)?.and_utc();
        match self.chance.below(8) {
            0 => Some(month),
            1 => Some(month - Duration::microseconds(1)),
            2 => Some(month + Duration::microseconds(self.chance.below(2_000).cast_signed() - 1_000)),
            3 => Some(self.begun - Duration::minutes(self.chance.below(30 * 24 * 60).cast_signed())),
            _ => None,
        }
    }

    fn cost(&mut self, marker: Marker) -> Cost {
        let id = self.chance.one_in(2).then(|| self.chance.uuid());
        let (price, occurred_at, quantity) = (self.price(), self.occurred_at(), self.chance.below(1_000));
        Cost { marker, id, price, occurred_at, quantity }
    }

    /// A cost that will be there when the step is done, so that later steps can speak of it.
    fn keep(&mut self, cost: &Cost) {
        self.costs.push(cost.marker.clone());
        if cost.id.is_some() {
            self.named.push(cost.clone());
        }
    }

    fn batch(&mut self, marker: &str) -> Vec<Item> {
        let mut items = Vec::new();
        for nth in 0..=self.chance.below(6) {
            let item = match self.chance.below(6) {
                0 => Item::Invalid,
                1 if !self.named.is_empty() => Item::Duplicate(self.named[self.chance.index(self.named.len())].clone()),
                _ => {
                    let cost = self.cost(format!("{marker}-{nth}"));
                    // A voided cost may be named too: that makes no difference to a duplicate.
                    self.keep(&cost);
                    Item::New(cost)
                }
            };
            items.push(item);
        }
        items
    }

    /// What is done under `marker`, and whether it is safe to lose sight of: nothing that follows speaks of it.
    fn doing(&mut self, marker: &str) -> (Doing, bool) {
        if self.open.is_empty() {
            return (self.start(marker), false);
        }
        match self.chance.below(40) {
            0 | 1 => (self.start(marker), false),
            2 => {
                let session = self.open.swap_remove(self.chance.index(self.open.len()));
                self.ended.push(session.clone());
                (Doing::End { session }, false)
            }
            3 if !self.ended.is_empty() => {
                (Doing::PostToEnded { session: self.ended[self.chance.index(self.ended.len())].clone() }, false)
            }
            4..=9 => {
                let cost = self.cost(marker.to_owned());
                let forgettable = self.chance.one_in(3);
                if !forgettable {
                    self.keep(&cost);
                }
                (Doing::Cost(cost), forgettable)
            }
            10..=12 => (Doing::Batch(self.batch(marker)), false),
            13..=15 if !self.costs.is_empty() => {
                let cost = self.costs.swap_remove(self.chance.index(self.costs.len()));
                self.voided.push(cost.clone());
                (Doing::Void { cost }, false)
            }
            16 if !self.voided.is_empty() => {
                (Doing::VoidAgain { cost: self.voided[self.chance.index(self.voided.len())].clone() }, false)
            }
            17..=20 if !self.keyed.is_empty() => {
                (Doing::Repeat(self.keyed[self.chance.index(self.keyed.len())]), false)
            }
            21 if !self.keyed.is_empty() => (Doing::Reuse(self.keyed[self.chance.index(self.keyed.len())]), false),
            _ => {
                let session = match self.chance.one_in(3) {
                    true => SHARED.to_owned(),
                    false => self.open[self.chance.index(self.open.len())].clone(),
                };
                let id = self.chance.one_in(4).then(|| self.chance.uuid());
                let cost = self.chance.one_in(3).then(|| self.price());
                (Doing::Post { session, id, cost }, self.chance.one_in(3))
            }
        }
    }

    fn start(&mut self, marker: &str) -> Doing {
        self.open.push(marker.to_owned());
        Doing::Start { id: self.chance.one_in(2).then(|| self.chance.uuid()) }
    }
}

impl Iterator for Plan {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        self.number += 1;
        let number = self.number;
        let marker = format!("c{}s{number}", self.client);
        let (doing, forgettable) = self.doing(&marker);
        let key = (!forgettable).then(|| format!("key-{marker}"));
        let done =
            !matches!(doing, Doing::PostToEnded { .. } | Doing::VoidAgain { .. } | Doing::Repeat(_) | Doing::Reuse(_));
        if key.is_some() && done {
            self.keyed.push_back(number);
            if self.keyed.len() > REMEMBERED {
                self.keyed.pop_front();
            }
        }
        let (via, reads) = (self.chance.index(2), self.chance.one_in(3));
        Some(Step { number, doing, marker, key, via, reads, pause_ms: self.chance.below(700) })
    }
}

impl Cost {
    pub(crate) fn body(&self) -> Value {
        let mut body = self.price.body(&self.marker);
        body["usage"] = json!([{"type": "output_text", "quantity": format!("{}.000000000001", self.quantity)}]);
        if let Some(id) = self.id {
            body["id"] = json!(id);
        }
        if let Some(time) = self.occurred_at {
            body["occurred_at"] = json!(time.to_rfc3339_opts(SecondsFormat::Micros, true));
        }
        body
    }
}

impl Price {
    pub(crate) fn body(&self, marker: &str) -> Value {
        let mut body = json!({"service": "llm", "provider": "some", "metadata": {"soak": marker}});
        if let Some(amount) = self.amount {
            body["amount"] = json!(amount);
        }
        if let Some(currency) = self.currency {
            body["currency"] = json!(currency);
        }
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn steps(seed: u64, client: u64) -> Vec<Step> {
        let begun = "2026-11-22T10:00:00Z".parse().unwrap();
        Plan::new(seed, client, begun).take(2_000).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_steps_and_another_gives_others() {
        assert_eq!(steps(7, 3), steps(7, 3));
        assert_ne!(steps(7, 3), steps(8, 3));
        assert_ne!(steps(7, 3), steps(7, 4));
    }

    #[test]
    fn a_client_does_everything_that_there_is() {
        let steps = steps(1, 1);
        let kinds: HashSet<_> = steps.iter().map(|step| std::mem::discriminant(&step.doing)).collect();
        assert_eq!(kinds.len(), 10);
        assert!(steps.iter().any(|step| step.key.is_none()));
        let batches =
            steps.iter().filter_map(|step| if let Doing::Batch(items) = &step.doing { Some(items) } else { None });
        let items: Vec<&Item> = batches.flatten().collect();
        assert!(items.iter().any(|item| matches!(item, Item::Duplicate(_))));
        assert!(items.iter().any(|item| matches!(item, Item::Invalid)));
        let month = "2026-11-01T00:00:00Z".parse::<DateTime<Utc>>().unwrap();
        let time = |step: &Step| if let Doing::Cost(cost) = &step.doing { cost.occurred_at } else { None };
        let times: Vec<_> = steps.iter().filter_map(time).collect();
        assert!(times.contains(&month) && times.contains(&(month - Duration::microseconds(1))));
    }

    #[test]
    fn nothing_is_forgotten_that_a_later_step_speaks_of() {
        let mut forgotten = HashSet::new();
        for step in steps(5, 0) {
            if let Doing::Void { cost } | Doing::VoidAgain { cost } = &step.doing {
                assert!(!forgotten.contains(cost), "{cost}");
            }
            if step.key.is_none() {
                forgotten.insert(step.marker);
            }
        }
    }
}
