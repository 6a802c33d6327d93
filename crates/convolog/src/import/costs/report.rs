//! What an import of costs has come to so far, with exact sums, so that a person can compare them with the export's own.

use std::fmt;
use std::time::Instant;

use tokio::sync::OwnedSemaphorePermit;

use super::{Fate, Read, Row, Settled};
use crate::import::Progress;
use crate::import::findings::Findings;
use crate::import::sums::Sums;

/// The counts and sums of one import of costs.
pub struct Report {
    /// Bad lines, and what was left out.
    pub findings: Findings,
    begun: Instant,
    /// Costs that are new; in a dry run all of them.
    pub new: u64,
    /// Costs that were there.
    pub there: u64,
    /// Number of the last event in the tenant's log that is new.
    pub seq: u64,
    /// Of all costs of the file that are in the ledger now; in a dry run of all that could be.
    pub sums: Sums,
    /// Of those that are new.
    pub new_sums: Sums,
    /// Whether it was ended from outside.
    pub interrupted: bool,
}

impl Report {
    /// Begins to count.
    pub fn new(progress: Progress) -> Self {
        Self {
            findings: Findings::new(progress),
            begun: Instant::now(),
            new: 0,
            there: 0,
            seq: 0,
            sums: Sums::default(),
            new_sums: Sums::default(),
            interrupted: false,
        }
    }

    /// A row was read; answers what there is to record.
    pub(super) fn read(&mut self, read: Read<Row>) -> Option<(u64, Row, Option<OwnedSemaphorePermit>)> {
        self.findings.read(read.offset, read.number, self.new + self.there);
        match read.parsed {
            Ok(row) => {
                self.findings.left_out.extend(&row.left_out);
                Some((read.number, row, read.share))
            }
            Err(error) => {
                self.findings.bad(read.number, &error);
                None
            }
        }
    }

    /// A row was read and is not to be recorded.
    pub(super) fn only_read(&mut self, row: &Row) {
        self.new += 1;
        self.sums.add(row.charge.amount.zip(row.charge.currency));
    }

    /// It is clear what has become of a batch.
    pub(super) fn settled(&mut self, batch: Vec<Settled>) {
        for Settled { number, amount, fate } in batch {
            match fate {
                Err(error) => {
                    self.findings.bad(number, &error);
                    continue;
                }
                Ok(Fate::There) => self.there += 1,
                Ok(Fate::New(seq)) => {
                    self.new += 1;
                    self.seq = self.seq.max(seq);
                    self.new_sums.add(amount);
                }
            }
            self.sums.add(amount);
        }
    }

    /// What a file comes to of which nothing is recorded.
    pub fn as_read(&self) -> String {
        format!("{} costs, {} bad lines{}; nothing was imported", self.new, self.findings.bad, self.all_sums(false))
    }

    /// A line per currency.
    fn all_sums(&self, with_new: bool) -> String {
        let mut lines = String::new();
        for (currency, sum) in self.sums.priced() {
            lines += &format!("\n  {} {sum} in {} costs", currency.as_str(), sum.costs);
            if with_new {
                let new = self.new_sums.of(currency);
                lines += &format!(", of it new {new} in {}", new.costs);
            }
        }
        match (self.sums.unpriced, self.new_sums.unpriced) {
            (0, _) => {}
            (all, new) if with_new => lines += &format!("\n  {all} costs without an amount, of them new {new}"),
            (all, _) => lines += &format!("\n  {all} costs without an amount"),
        }
        lines
    }
}

/// Counts in one line, then the sums.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.begun.elapsed();
        let (seconds, hundredths) = (time.as_secs(), time.subsec_millis() / 10);
        let Self { new, there, findings, .. } = self;
        write!(f, "{new} costs new, {there} already there, {} bad lines in {seconds}.{hundredths:02} s", findings.bad)?;
        let rate = u128::from(new + there) * 1000 / time.as_millis().max(1);
        write!(f, " ({rate} costs/s){}", self.all_sums(true))
    }
}
