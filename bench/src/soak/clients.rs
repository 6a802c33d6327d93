//! Clients that carry out their plans: each command again until its outcome is known, each answer remembered.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::front::{Answer, Front, lock};
use super::gate::Gate;
use super::judge::{Expected, Verdict, expected, judge, judge_batch, judge_read};
use super::memory::{Memory, Told, cost_of, made, name};
use super::plan::{Doing, Item, Marker, Plan, REMEMBERED, Step};
use super::report::Violations;

/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(250);

/// What all clients share.
pub(crate) struct Shared {
    pub(crate) front: Front,
    pub(crate) memory: Mutex<Memory>,
    pub(crate) violations: Violations,
    pub(crate) gate: Gate,
    /// Nobody waits any longer for an outcome.
    pub(crate) over: AtomicBool,
}

/// A command as it went out, to be sent again.
#[derive(Clone)]
struct Sent {
    number: u64,
    path: String,
    body: Value,
    key: String,
    status: u16,
    answer: Value,
}

pub(crate) struct Client {
    shared: Arc<Shared>,
    tenant: usize,
    ids: HashMap<Marker, Uuid>,
    done: VecDeque<Sent>,
}

impl Client {
    pub(crate) fn new(shared: Arc<Shared>, tenant: usize, shared_session: (Marker, Uuid)) -> Self {
        Self { shared, tenant, ids: HashMap::from([shared_session]), done: VecDeque::new() }
    }

    /// Until the gate ends.
    pub(crate) async fn run(mut self, plan: Plan) {
        for step in plan {
            tokio::time::sleep(Duration::from_millis(step.pause_ms)).await;
            if !self.shared.gate.enter().await {
                return;
            }
            self.perform(&step).await;
            self.shared.gate.leave();
        }
    }

    /// Sends a command until its outcome is known, or cannot be known.
    pub(crate) async fn perform(&mut self, step: &Step) {
        lock(&self.shared.memory).send(self.tenant, step);
        let first = |number| {
            let sent = self.done.iter().find(|sent| sent.number == number)?;
            Some((sent.status, sent.answer.clone()))
        };
        let (Some(expected), Some((path, body, key))) = (expected(&step.doing, first), self.request(step)) else {
            return;
        };
        let mut api = step.via;
        loop {
            let answer = self.shared.front.post(api, self.tenant, &path, &body, key.as_deref()).await;
            let verdict = judge(&expected, &answer);
            self.count(step, &verdict);
            match verdict {
                Verdict::Done(answer) => {
                    self.acknowledged(step, &expected, (path, body, key), answer, api).await;
                    return;
                }
                Verdict::Refused => return,
                Verdict::Unknown if key.is_none() => return,
                Verdict::NotNow | Verdict::Unknown => {}
                Verdict::Wrong(what) => {
                    let what = format!("{} {path} {body} as {key:?}: {what}", name(&step.doing));
                    return self.violated("answers", &what);
                }
            }
            if self.shared.over.load(Ordering::Relaxed) {
                return self.violated("answers", &format!("no outcome of {path} {body} as {key:?}"));
            }
            tokio::time::sleep(AGAIN).await;
            api += 1;
        }
    }

    fn violated(&self, check: &'static str, what: &str) {
        let tenant = self.shared.front.tenants[self.tenant];
        self.shared.violations.add(check, format!("tenant {tenant}: {what}"));
    }

    fn count(&self, step: &Step, verdict: &Verdict) {
        let mut memory = lock(&self.shared.memory);
        let tally = memory.tally(name(&step.doing));
        match verdict {
            Verdict::Done(_) => tally.acknowledged += 1,
            Verdict::Refused => tally.refused_by_rule += 1,
            Verdict::NotNow => tally.refused += 1,
            Verdict::Unknown => tally.unknown += 1,
            Verdict::Wrong(_) => {}
        }
    }

    /// Path, body and key; `None` when it speaks of what is not known any more.
    fn request(&self, step: &Step) -> Option<(String, Value, Option<String>)> {
        let id = |marker: &str| self.ids.get(marker);
        let key = step.key.clone();
        let with_id = |mut body: Value, id: &Option<Uuid>| {
            if let Some(id) = id {
                body["id"] = json!(id);
            }
            body
        };
        let message = || json!({"role": "user", "content": format!("{} and some words", step.marker)});
        let (path, body) = match &step.doing {
            Doing::Start { id } => {
                let body = json!({"mode": "text", "metadata": {"soak": step.marker}});
                ("/v1/sessions".to_owned(), with_id(body, id))
            }
            Doing::End { session } => (format!("/v1/sessions/{}/end", id(session)?), json!({})),
            Doing::Post { session, id: chosen, cost } => {
                let mut body = with_id(message(), chosen);
                if let Some(cost) = cost {
                    body["cost"] = cost.body(&cost_of(&step.marker));
                }
                (format!("/v1/sessions/{}/messages", id(session)?), body)
            }
            Doing::PostToEnded { session } => (format!("/v1/sessions/{}/messages", id(session)?), message()),
            Doing::Cost(cost) => ("/v1/costs".to_owned(), cost.body()),
            Doing::Batch(items) => {
                ("/v1/costs/batch".to_owned(), json!({"items": items.iter().map(item).collect::<Vec<_>>()}))
            }
            Doing::Void { cost } | Doing::VoidAgain { cost } => {
                (format!("/v1/costs/{}/void", id(cost)?), json!({"reason": step.marker}))
            }
            Doing::Repeat(number) => {
                let sent = self.done.iter().find(|sent| sent.number == *number)?;
                return Some((sent.path.clone(), sent.body.clone(), Some(sent.key.clone())));
            }
            Doing::Reuse(number) => {
                let sent = self.done.iter().find(|sent| sent.number == *number)?;
                let body = json!({"mode": "text", "metadata": {"soak": step.marker}});
                return Some(("/v1/sessions".to_owned(), body, Some(sent.key.clone())));
            }
        };
        Some((path, body, key))
    }

    async fn acknowledged(
        &mut self,
        step: &Step,
        expected: &Expected,
        (path, body, key): (String, Value, Option<String>),
        answer: Value,
        api: usize,
    ) {
        let (number, uuid) = (|value: &Value| value.as_u64(), |value: &Value| value.as_str()?.parse::<Uuid>().ok());
        if let Doing::Batch(items) = &step.doing {
            if let Some(what) = judge_batch(items, &answer) {
                self.violated("answers", &what);
            }
            for (item, result) in items.iter().zip(answer["results"].as_array().into_iter().flatten()) {
                if let Item::New(cost) = item {
                    let (id, seq) = (uuid(&result["id"]), number(&result["seq"]));
                    self.remember(&cost.marker, Told { seq, version: None, id });
                }
            }
        } else {
            let (id, seq, version) = (uuid(&answer["id"]), number(&answer["seq"]), number(&answer["version"]));
            let made = made(step);
            for (nth, (marker, _)) in made.iter().enumerate() {
                // The answer speaks of what was made first, and `seq` is that of the last event.
                let (first, last) = (nth == 0, nth + 1 == made.len());
                let (id, version) = (id.filter(|_| first), version.filter(|_| first));
                self.remember(marker, Told { seq: seq.filter(|_| last), version, id });
            }
        }
        if let (Some(key), Expected::Status(status)) = (key, expected) {
            self.done.push_back(Sent { number: step.number, path, body, key, status: *status, answer: answer.clone() });
            if self.done.len() > REMEMBERED + 10 {
                self.done.pop_front();
            }
        }
        if step.reads {
            self.read(step, &answer, api + 1).await;
        }
    }

    fn remember(&mut self, marker: &Marker, told: Told) {
        if let Some(id) = told.id {
            self.ids.insert(marker.clone(), id);
        }
        lock(&self.shared.memory).told(marker, told);
    }

    /// Looks at what was just acknowledged, at the other process.
    async fn read(&self, step: &Step, answer: &Value, api: usize) {
        let Some(seq) = answer["seq"].as_u64() else { return };
        let id = answer["id"].as_str().unwrap_or_default();
        let (path, wanted) = match &step.doing {
            Doing::Start { .. } => (format!("/v1/sessions/{id}?min_seq={seq}"), step.marker.clone()),
            Doing::End { .. } => (format!("/v1/sessions/{id}?min_seq={seq}"), "\"ended\"".to_owned()),
            Doing::Post { session, .. } => {
                let Some(session) = self.ids.get(session) else { return };
                let path = format!("/v1/sessions/{session}/messages?limit=200&order=desc&min_seq={seq}");
                (path, format!("\"{} and", step.marker))
            }
            Doing::Cost(_) => (format!("/v1/costs/{id}?min_seq={seq}"), step.marker.clone()),
            Doing::Void { cost } => {
                let Some(cost) = self.ids.get(cost) else { return };
                (format!("/v1/costs/{cost}?min_seq={seq}"), format!("\"{}\"", step.marker))
            }
            Doing::PostToEnded { .. }
            | Doing::Batch(_)
            | Doing::VoidAgain { .. }
            | Doing::Repeat(_)
            | Doing::Reuse(_) => return,
        };
        let answer: Answer = self.shared.front.get(api, self.tenant, &path).await;
        match judge_read(seq, &wanted, &answer) {
            Ok(seen) => {
                let mut memory = lock(&self.shared.memory);
                memory.reads.0 += u64::from(seen);
                memory.reads.1 += u64::from(!seen);
            }
            Err(what) => self.violated("min_seq", &format!("{path}: {what}")),
        }
    }
}

fn item(item: &Item) -> Value {
    match item {
        Item::New(cost) | Item::Duplicate(cost) => cost.body(),
        Item::Invalid => json!({"service": "llm", "metadata": {"soak": "invalid"}}),
    }
}
