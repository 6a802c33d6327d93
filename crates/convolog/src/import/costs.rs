//! Cost exports into a tenant's ledgers: each cost once however often it comes, exactly, and sums to compare with.
//!
//! `table` and `object` read the two formats, `columns` knows the names, `row` makes a cost of what a row says, `identity`
//! says which one it is, `ledger` has it recorded, `report` counts and adds up.

mod columns;
mod identity;
mod ledger;
mod moment;
mod object;
mod report;
mod row;
mod table;

use std::io::BufRead;

use chrono::{DateTime, Utc};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;

#[cfg(any(test, fuzzing))]
use super::line::LineError;
use super::lines::{Lines, Read};
pub(super) use columns::Column;
pub use identity::{Identity, MAX_NAMELESS};
pub use ledger::{Fate, Ledger, Settled};
pub use report::Report;
pub use row::Row;
pub use table::TableError;

/// Most costs of one command.
pub const BATCH: usize = 200;
/// Commands that are under way at the same time: the writer commits together what waits for it, and clients wait no
/// longer than for so many costs.
pub const MAX_IN_FLIGHT: usize = 4;

/// How an export is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Comma-separated values, the first line names the columns.
    Csv,
    /// One JSON object per line.
    Jsonl,
}

/// Reads an export; `now` is what no cost may lie far behind.
///
/// # Errors
/// When the first line of a table does not name its columns.
pub fn read(
    source: impl BufRead + Send + 'static,
    format: Format,
    now: DateTime<Utc>,
) -> Result<Lines<Row>, TableError> {
    match format {
        Format::Csv => Ok(table::Table::open(source)?.rows(now)),
        Format::Jsonl => Ok(object::rows(source, now)),
    }
}

/// Records all rows, or with `None` only reads them; until `stop`, then only what is under way.
///
/// # Errors
/// When the source or the store fails. What was recorded is counted in the report.
pub async fn run(
    ledger: Option<&Ledger>,
    mut rows: Lines<Row>,
    stop: &CancellationToken,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (mut in_flight, mut batch, mut buffer) = (FuturesUnordered::new(), Vec::new(), Vec::new());
    let (mut open, mut failure) = (true, None);
    loop {
        let is_full = batch.len() >= BATCH;
        // While others are under way a batch gathers: a slow reader makes no more of them than are needed.
        let is_due = is_full || in_flight.is_empty() || !open;
        if let Some(ledger) = ledger.filter(|_| is_due && !batch.is_empty() && in_flight.len() < MAX_IN_FLIGHT) {
            in_flight.push(record(ledger, std::mem::take(&mut batch)));
            continue;
        }
        tokio::select! {
            biased;
            Some(result) = in_flight.next(), if !in_flight.is_empty() => match result {
                Ok(settled) => report.settled(settled),
                Err(error) => {
                    (open, batch) = (false, Vec::new());
                    failure.get_or_insert(anyhow::Error::new(error).context("the import could not go on"));
                }
            },
            () = stop.cancelled(), if open => {
                (open, batch) = (false, Vec::new());
                report.interrupted = true;
            }
            count = rows.recv_many(&mut buffer, BATCH - batch.len()), if open && !is_full => {
                open = count > 0;
                for read in buffer.drain(..) {
                    match read {
                        Ok(read) => batch.extend(report.read(read)),
                        Err(error) => {
                            open = false;
                            failure.get_or_insert(anyhow::Error::new(error).context("the file can't be read on"));
                        }
                    }
                }
                if ledger.is_none() {
                    batch.drain(..).for_each(|(_, row, _)| report.only_read(&row));
                }
            },
            else => break,
        }
    }
    failure.map_or(Ok(()), Err)
}

/// A good row with its number and its share of the memory.
type Good = (u64, Row, Option<tokio::sync::OwnedSemaphorePermit>);

async fn record(ledger: &Ledger, rows: Vec<Good>) -> Result<Vec<Settled>, store::Error> {
    let mut shares = Vec::with_capacity(rows.len());
    let rows = rows.into_iter().map(|(number, row, share)| {
        shares.push(share);
        (number, row)
    });
    let settled = ledger.record(rows.collect()).await;
    drop(shares);
    settled
}

/// All rows of an export, at once.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_all(bytes: &[u8], format: Format, now: DateTime<Utc>) -> Vec<(u64, Result<Row, LineError>)> {
    if format == Format::Jsonl {
        let mut seen = identity::Seen::default();
        let lines = bytes.split(|byte| *byte == b'\n').map(|line| object::parse(line, now, &mut seen));
        return (1..).zip(lines).collect();
    }
    let Ok(mut table) = table::Table::open(std::io::Cursor::new(bytes.to_vec())) else { return Vec::new() };
    // What is in memory can be read.
    let next = move || table.next(now).ok().flatten().map(|line| (line.number, line.parsed));
    std::iter::from_fn(next).collect()
}

#[cfg(test)]
mod tests;
