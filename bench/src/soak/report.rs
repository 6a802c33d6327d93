//! What a run has found, as it is found and at the end, for people and as JSON.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::books::Books;
use super::faults::Kind;
use super::memory::Memory;

/// Something that must not be.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Violation {
    pub(crate) check: &'static str,
    /// Whose, where, what was there and what should have been.
    pub(crate) what: String,
}

/// Violations as they are found; each is told at once.
pub(crate) struct Violations {
    seed: u64,
    found: Mutex<Vec<Violation>>,
}

impl Violations {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, found: Mutex::default() }
    }

    pub(crate) fn add(&self, check: &'static str, what: String) {
        say(&format!("VIOLATION (seed {}) {check}: {what}", self.seed));
        self.found.lock().unwrap_or_else(PoisonError::into_inner).push(Violation { check, what });
    }

    pub(crate) fn all(&self) -> Vec<Violation> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A line for people, at once.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// How often a fault came, and the longest time until all tenants were served again.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Recoveries {
    times: u32,
    longest: Duration,
}

#[derive(Default)]
pub(crate) struct Report {
    pub(crate) faults: BTreeMap<Kind, Recoveries>,
    pub(crate) checks: u32,
    /// The longest time until nothing lagged, when no command came.
    pub(crate) longest_lag: Duration,
}

impl Report {
    pub(crate) fn fault(&mut self, kind: Kind, recovered: Duration) {
        let known = self.faults.entry(kind).or_default();
        known.times += 1;
        known.longest = known.longest.max(recovered);
    }

    /// Prints it all and writes it as JSON.
    pub(crate) fn finish(
        &self,
        (seed, took, tenants): (u64, Duration, usize),
        memory: &Memory,
        books: &Books,
        violations: &[Violation],
        file: Option<&Path>,
    ) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "seed {seed}, {} s, {tenants} tenants, {} looks at everything", took.as_secs(), self.checks)?;
        writeln!(
            out,
            "\n{:<32} {:>12} {:>8} {:>12} {:>8}",
            "command", "acknowledged", "refused", "503 or 429", "unknown"
        )?;
        for (name, tally) in &memory.tallies {
            let (done, rule) = (tally.acknowledged, tally.refused_by_rule);
            writeln!(out, "{name:<32} {done:>12} {rule:>8} {:>12} {:>8}", tally.refused, tally.unknown)?;
        }
        writeln!(out, "\n{:<46} {:>5} {:>22}", "fault", "times", "longest recovery in s")?;
        for (kind, Recoveries { times, longest }) in &self.faults {
            writeln!(out, "{:<46} {times:>5} {:>22}", kind.name(), seconds(*longest))?;
        }
        let kept: usize = books.ledgers.values().map(BTreeMap::len).sum();
        writeln!(out, "\n{} events acknowledged, {} sent for", memory.acknowledged(), memory.facts.len())?;
        writeln!(out, "reads with min_seq: {} answered, {} put off", memory.reads.0, memory.reads.1)?;
        let Books { heard, again, filled, .. } = books;
        writeln!(out, "consumer: {kept} events of ledgers, {heard} heard, {again} heard again, {filled} from the log")?;
        writeln!(
            out,
            "the read tables were at the end of their logs {} s after the last command at the latest",
            seconds(self.longest_lag)
        )?;
        for Violation { check, what } in violations {
            writeln!(out, "VIOLATION {check}: {what}")?;
        }
        writeln!(out, "{} violations", violations.len())?;
        let Some(file) = file else { return Ok(()) };
        let faults: BTreeMap<&str, _> = self
            .faults
            .iter()
            .map(|(kind, it)| (kind.name(), json!({"times": it.times, "longest_recovery_ms": it.longest.as_millis()})))
            .collect();
        let report = json!({
            "seed": seed, "seconds": took.as_secs(), "tenants": tenants, "checks": self.checks,
            "commands": memory.tallies, "acknowledged_events": memory.acknowledged(), "sent_events": memory.facts.len(),
            "reads": {"answered": memory.reads.0, "put_off": memory.reads.1}, "faults": faults,
            "consumer": {"events": kept, "heard": heard, "heard_again": again, "from_the_log": filled},
            "longest_lag_ms": self.longest_lag.as_millis(), "violations": violations,
        });
        std::fs::write(file, serde_json::to_string_pretty(&report)?)?;
        Ok(())
    }
}

/// With two digits after the point.
fn seconds(time: Duration) -> String {
    format!("{}.{:02}", time.as_secs(), time.subsec_millis() / 10)
}
