//! What an import has found wrong or had no place for, told while it goes on.

use super::Progress;
use super::line::{LeftOut, LineError};

/// Bad lines that are described; the others are counted.
pub const MAX_DESCRIBED: u64 = 20;

/// Bad lines and what was left out, and where they are shown.
pub struct Findings {
    progress: Progress,
    /// Lines that could not be imported.
    pub bad: u64,
    /// What lines say and Convolog has no place for.
    pub left_out: LeftOut,
}

impl Findings {
    /// Begins with nothing.
    pub(super) fn new(progress: Progress) -> Self {
        Self { progress, bad: 0, left_out: LeftOut::default() }
    }

    /// So many bytes and lines are read, so much is recorded.
    pub(super) fn read(&mut self, bytes: u64, lines: u64, recorded: u64) {
        self.progress.read(bytes, lines, recorded);
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

/// A line's own words may hold what a terminal takes for a command.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::line::parse;
    use super::*;

    #[test]
    fn a_line_writes_no_commands_to_the_terminal() {
        let error = parse(br#"{"messages":[{"role":"\u001b[2J","content":""}]}"#).unwrap_err();
        assert!(error.to_string().contains('\u{1b}'));
        assert!(!printable(&error.to_string()).contains('\u{1b}'));
    }
}
