//! What an import has come to so far: counts, the lines that are bad, and what to do next.

use std::fmt;
use std::time::Instant;

use chrono::{DateTime, Utc};
use tokio::sync::OwnedSemaphorePermit;

use super::line::{Conversation, LeftOut, LineError};
use super::lines::Read;
use super::{Progress, Recorded, check_times};

/// Bad lines that are described; the others are counted.
pub const MAX_DESCRIBED: u64 = 20;

/// The counts of one import, and where they are shown.
pub struct Report {
    progress: Progress,
    now: DateTime<Utc>,
    begun: Instant,
    /// Conversations that are new.
    pub new: u64,
    /// Conversations of which a part was there.
    pub completed: u64,
    /// Conversations that were there.
    pub there: u64,
    /// Lines that could not be imported.
    pub bad: u64,
    /// New messages; in a dry run all of them.
    pub messages: u64,
    /// New costs; in a dry run all of them.
    pub costs: u64,
    /// New events.
    pub events: u64,
    /// Number of the last event in the tenant's log, of all that were seen.
    pub seq: u64,
    /// What lines say and Convolog has no place for.
    pub left_out: LeftOut,
    /// Whether it was ended from outside.
    pub interrupted: bool,
}

impl Report {
    /// Begins to count.
    pub fn new(progress: Progress, now: DateTime<Utc>) -> Self {
        Self {
            progress,
            now,
            begun: Instant::now(),
            new: 0,
            completed: 0,
            there: 0,
            bad: 0,
            messages: 0,
            costs: 0,
            events: 0,
            seq: 0,
            left_out: LeftOut::default(),
            interrupted: false,
        }
    }

    /// A line was read; answers what there is to record.
    pub(super) fn read(&mut self, read: Read) -> Option<(u64, Conversation, Option<OwnedSemaphorePermit>)> {
        self.progress.read(read.offset, read.number, self.messages);
        let checked = read.parsed.and_then(|conversation| {
            check_times(&conversation, self.now)?;
            Ok(conversation)
        });
        match checked {
            Ok(conversation) => {
                self.left_out.extend(&conversation.left_out);
                Some((read.number, conversation, read.share))
            }
            Err(error) => {
                self.bad(read.number, &error);
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

    /// A line is bad: it is skipped.
    pub(super) fn bad(&mut self, number: u64, error: &LineError) {
        self.bad += 1;
        if self.bad <= MAX_DESCRIBED {
            self.progress.tell(&format!("line {number}: {}", printable(&error.to_string())));
        }
    }

    /// No more is shown of the progress; says how many bad lines were not described.
    pub fn close(&mut self) {
        self.progress.close();
        if self.bad > MAX_DESCRIBED {
            self.progress.tell(&format!("… and {} more bad lines", self.bad - MAX_DESCRIBED));
        }
        for (name, count) in self.left_out.iter() {
            self.progress.tell(&format!("not imported: {} ({count} times)", printable(name)));
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.begun.elapsed();
        write!(f, "{} sessions new", self.new)?;
        if self.completed > 0 {
            write!(f, ", {} completed", self.completed)?;
        }
        write!(f, ", {} already there, {} bad lines; ", self.there, self.bad)?;
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

/// A line's own words may hold what a terminal takes for a command.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_writes_no_commands_to_the_terminal() {
        let error = super::super::line::parse(br#"{"messages":[{"role":"\u001b[2J","content":""}]}"#).unwrap_err();
        assert!(error.to_string().contains('\u{1b}'));
        assert!(!printable(&error.to_string()).contains('\u{1b}'));
    }
}
