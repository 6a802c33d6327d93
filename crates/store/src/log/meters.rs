//! What the writer counts: handles that are looked up once, so that counting is an atomic addition.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Histogram, counter, describe_counter, describe_histogram, histogram};

/// How a command ended, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Stored,
    Replayed,
    KeyReused,
    Claimed,
    Rejected,
    Overloaded,
    OutcomeUnknown,
    Failed,
}

impl Ended {
    const ALL: [Self; 8] = [
        Self::Stored,
        Self::Replayed,
        Self::KeyReused,
        Self::Claimed,
        Self::Rejected,
        Self::Overloaded,
        Self::OutcomeUnknown,
        Self::Failed,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Replayed => "replayed",
            Self::KeyReused => "key_reused",
            Self::Claimed => "claimed",
            Self::Rejected => "rejected",
            Self::Overloaded => "overloaded",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Failed => "failed",
        }
    }
}

/// The counters of a log.
pub(super) struct Meters {
    ended: [Counter; Ended::ALL.len()],
    /// Commands that were decided again because another process had written their stream.
    pub(super) conflicts: Counter,
    /// Commits whose connection was lost.
    pub(super) lost_commits: Counter,
    /// Events stored.
    pub(super) events: Counter,
    commit: Histogram,
    wait: Histogram,
    batch_commands: Histogram,
    batch_events: Histogram,
    batch_bytes: Histogram,
    /// Streams whose state was at hand.
    pub(super) cache_hits: Counter,
    /// Streams that had to be loaded before a command could be decided.
    pub(super) cache_misses: Counter,
    /// Streams read from the log; commands that wait for the same one share it.
    pub(super) loads: Counter,
    /// Snapshots stored.
    pub(super) snapshots: Counter,
}

impl Meters {
    /// Finds the handles in the recorder that the process has installed; without one they count nothing.
    pub(super) fn register() -> Arc<Self> {
        describe();
        let cache = |result: &'static str| counter!("convolog_state_cache_total", "result" => result);
        Arc::new(Self {
            ended: Ended::ALL.map(|ended| counter!("convolog_append_commands_total", "outcome" => ended.label())),
            conflicts: counter!("convolog_append_conflicts_total"),
            lost_commits: counter!("convolog_append_lost_commits_total"),
            events: counter!("convolog_append_events_total"),
            commit: histogram!("convolog_append_commit_seconds"),
            wait: histogram!("convolog_append_wait_seconds"),
            batch_commands: histogram!("convolog_append_batch_commands"),
            batch_events: histogram!("convolog_append_batch_events"),
            batch_bytes: histogram!("convolog_append_batch_bytes"),
            cache_hits: cache("hit"),
            cache_misses: cache("miss"),
            loads: counter!("convolog_state_loads_total"),
            snapshots: counter!("convolog_snapshots_written_total"),
        })
    }

    /// A command is answered.
    pub(super) fn ended(&self, ended: Ended) {
        // The variants' numbers are their places in `ALL`.
        self.ended[ended as usize].increment(1);
    }

    /// A command has waited this long for its turn.
    pub(super) fn waited(&self, wait: Duration) {
        self.wait.record(wait);
    }

    /// A batch of this size goes to PostgreSQL.
    pub(super) fn batch(&self, commands: usize, events: usize, bytes: usize) {
        #[expect(clippy::disallowed_types, reason = "the values of metrics are floating point numbers")]
        let number = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        self.batch_commands.record(number(commands));
        self.batch_events.record(number(events));
        self.batch_bytes.record(number(bytes));
    }

    /// PostgreSQL has answered a batch, well or badly, after this long.
    pub(super) fn committed(&self, took: Duration) {
        self.commit.record(took);
    }
}

fn describe() {
    describe_counter!("convolog_append_commands_total", "Commands answered by the log, by how they ended");
    describe_counter!(
        "convolog_append_conflicts_total",
        "Commands decided again because another process had written their stream"
    );
    describe_counter!("convolog_append_lost_commits_total", "Commits whose connection to PostgreSQL was lost");
    describe_counter!("convolog_append_events_total", "Events stored");
    describe_histogram!("convolog_append_commit_seconds", "Time PostgreSQL took to commit a batch of commands");
    describe_histogram!("convolog_append_wait_seconds", "Time a command waited before it went into a batch");
    describe_histogram!("convolog_append_batch_commands", "Commands in one commit");
    describe_histogram!("convolog_append_batch_events", "Events in one commit");
    describe_histogram!("convolog_append_batch_bytes", "Bytes of event data in one commit");
    describe_counter!(
        "convolog_state_cache_total",
        "Streams that commands were decided on, by whether the state was at hand"
    );
    describe_counter!("convolog_state_loads_total", "Streams read from the log to decide on them");
    describe_counter!("convolog_snapshots_written_total", "Snapshots of long streams stored");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ending_has_its_own_counter() {
        for (place, ended) in Ended::ALL.into_iter().enumerate() {
            assert_eq!(ended as usize, place, "{}", ended.label());
        }
    }
}
