//! How far an import is: a bar on a terminal, else a line every few seconds, both on standard error.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How often a line is written where there is no terminal.
const EVERY: Duration = Duration::from_secs(5);

/// Shows how far it is.
pub struct Progress {
    begun: Instant,
    total: Option<u64>,
    noun: &'static str,
    shown: Shown,
}

enum Shown {
    Bar(ProgressBar),
    Lines(Instant),
    Nothing,
}

impl Progress {
    /// For so many bytes, if that is known; what is recorded are `noun`, for example messages.
    pub fn new(total: Option<u64>, noun: &'static str) -> Self {
        let begun = Instant::now();
        let shown = if std::io::stderr().is_terminal() { Shown::Bar(bar(total)) } else { Shown::Lines(begun) };
        Self { begun, total, noun, shown }
    }

    /// For whoever does not want to see it: bad lines too are only counted.
    pub fn hidden() -> Self {
        Self { begun: Instant::now(), total: None, noun: "", shown: Shown::Nothing }
    }

    /// So many bytes and lines are read, so much is recorded.
    pub(super) fn read(&mut self, bytes: u64, lines: u64, recorded: u64) {
        let rate = u128::from(recorded) * 1000 / self.begun.elapsed().as_millis().max(1);
        let noun = self.noun;
        match &mut self.shown {
            Shown::Bar(bar) => {
                bar.set_position(bytes);
                bar.set_message(format!("{lines} lines, {rate} {noun}/s"));
            }
            Shown::Lines(last) if last.elapsed() >= EVERY => {
                *last = Instant::now();
                let part = self.total.filter(|total| *total > 0).map(|total| format!(" ({} %)", bytes * 100 / total));
                let part = part.unwrap_or_default();
                self.tell(&format!("{bytes} bytes{part}, {lines} lines, {recorded} {noun}, {rate} {noun}/s"));
            }
            Shown::Lines(_) | Shown::Nothing => {}
        }
    }

    /// A line that stays.
    pub(super) fn tell(&self, line: &str) {
        match &self.shown {
            Shown::Bar(bar) => bar.suspend(|| write_line(line)),
            Shown::Lines(_) => write_line(line),
            Shown::Nothing => {}
        }
    }

    /// The bar goes away, what comes after it stays.
    pub(super) fn close(&self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

fn write_line(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn bar(total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (ProgressBar::new(total), "{bar:30} {bytes}/{total_bytes}, {msg}, {eta} left"),
        None => (ProgressBar::new_spinner(), "{spinner} {bytes}, {msg}"),
    };
    bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}
