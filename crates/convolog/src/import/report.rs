//! What an import has come to so far: counts, the lines that are bad, and what to do next.

use std::fmt;
use std::time::Instant;

use chrono::{DateTime, Utc};
use tokio::sync::OwnedSemaphorePermit;

use super::findings::Findings;
use super::line::Conversation;
use super::lines::Read;
use super::{Progress, Recorded, check_times};

/// The counts of one import, and where they are shown.
pub struct Report {
    /// Bad lines, and what was left out.
    pub findings: Findings,
    now: DateTime<Utc>,
    begun: Instant,
    /// Conversations that are new.
    pub new: u64,
    /// Conversations of which a part was there.
    pub completed: u64,
    /// Conversations that were there.
    pub there: u64,
    /// New messages; in a dry run all of them.
    pub messages: u64,
    /// New costs; in a dry run all of them.
    pub costs: u64,
    /// New events.
    pub events: u64,
    /// Number of the last event in the tenant's log, of all that were seen.
    pub seq: u64,
    /// Whether it was ended from outside.
    pub interrupted: bool,
}

impl Report {
    /// Begins to count.
    pub fn new(progress: Progress, now: DateTime<Utc>) -> Self {
        Self {
            findings: Findings::new(progress),
            now,
            begun: Instant::now(),
            new: 0,
            completed: 0,
            there: 0,
            messages: 0,
            costs: 0,
            events: 0,
            seq: 0,
            interrupted: false,
        }
    }

    /// A line was read; answers what there is to record.
    pub(super) fn read(
        &mut self,
        read: Read<Conversation>,
    ) -> Option<(u64, Conversation, Option<OwnedSemaphorePermit>)> {
        self.findings.read(read.offset, read.number, self.messages);
        let checked = read.parsed.and_then(|conversation| {
            check_times(&conversation, self.now)?;
            Ok(conversation)
        });
        match checked {
            Ok(conversation) => {
                self.findings.left_out.extend(&conversation.left_out);
                Some((read.number, conversation, read.share))
            }
            Err(error) => {
                self.findings.bad(read.number, &error);
                None
            }
        }
    }

    /// A conversation was read and is not to be recorded.
    pub(super) fn only_read(&mut self, conversation: &Conversation) {
        self.new += 1;
        self.messages += conversation.messages.len() as u64;
        self.costs += conversation.messages.iter().filter(|message| message.charge.is_some()).count() as u64;
    }

    /// A conversation is in the log.
    pub(super) fn recorded(&mut self, recorded: Recorded) {
        match recorded {
            Recorded { events: 0, .. } => self.there += 1,
            Recorded { there: 0, .. } => self.new += 1,
            Recorded { .. } => self.completed += 1,
        }
        self.messages += recorded.messages;
        self.costs += recorded.costs;
        self.events += recorded.events;
        self.seq = self.seq.max(recorded.seq);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.begun.elapsed();
        write!(f, "{} sessions new", self.new)?;
        if self.completed > 0 {
            write!(f, ", {} completed", self.completed)?;
        }
        write!(f, ", {} already there, {} bad lines; ", self.there, self.findings.bad)?;
        write!(
            f,
            "{} messages, {} costs, {} events in {}.{:02} s",
            self.messages,
            self.costs,
            self.events,
            time.as_secs(),
            time.subsec_millis() / 10
        )?;
        let rate = u128::from(self.messages) * 1000 / time.as_millis().max(1);
        if self.messages > 0 { write!(f, " ({rate} messages/s)") } else { Ok(()) }
    }
}
