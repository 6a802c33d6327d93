//! A cost export as a table: CSV as in RFC 4180, of which the first line names the columns.

use std::io::{self, BufRead};

use chrono::{DateTime, Utc};
use csv::{ByteRecord, Reader, ReaderBuilder};

use super::columns::{Column, Fields, choose};
use super::identity::Seen;
use super::row::Row;
use crate::import::line::{LeftOut, LineError, MAX_LINE};
use crate::import::lines::{Lines, on_a_thread};
use crate::import::told::Told;

/// A table whose columns are known.
pub(super) struct Table<S> {
    reader: Reader<Bounded<S>>,
    header: Header,
    record: ByteRecord,
    seen: Seen,
    /// Columns without a place, until they are told of with the first row.
    left_out: LeftOut,
    /// Whether a row was too long: what follows it can't be told from it.
    is_cut: bool,
}

struct Header {
    names: Vec<String>,
    columns: Vec<Option<Column>>,
}

impl<S: BufRead + Send + 'static> Table<S> {
    /// Reads the names of the columns.
    ///
    /// # Errors
    /// When they don't say when a cost occurred, or nothing of what it was; then no row can be a cost.
    pub(super) fn open(source: S) -> Result<Self, TableError> {
        let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(Bounded::new(source));
        let mut record = ByteRecord::new();
        reader.read_byte_record(&mut record).map_err(|error| TableError::Unreadable(error.to_string()))?;
        reader.get_mut().left = MAX_LINE;
        let header = Header::new(&record)?;
        Ok(Self { left_out: header.left_out(), header, reader, record, seen: Seen::default(), is_cut: false })
    }

    /// Reads the rows on a thread of their own; `now` is what no cost may lie far behind.
    pub(super) fn rows(mut self, now: DateTime<Utc>) -> Lines<Row> {
        on_a_thread(move |outlet| {
            while let Some(Line { number, bytes, parsed }) = self.next(now)? {
                if !outlet.send(number, self.reader.position().byte(), bytes, parsed) {
                    break;
                }
            }
            Ok(())
        })
    }

    /// The next row, `None` after the last.
    pub(super) fn next(&mut self, now: DateTime<Utc>) -> io::Result<Option<Line>> {
        let number = self.reader.position().line();
        match self.reader.read_byte_record(&mut self.record) {
            Ok(true) => self.reader.get_mut().left = MAX_LINE,
            Ok(false) => return Ok(None),
            Err(_) if self.reader.get_ref().left == 0 && !self.is_cut => {
                self.is_cut = true;
                let detail = format!("more than {MAX_LINE} bytes follow in one row: perhaps its quotes never end");
                return Ok(Some(Line { number, bytes: 0, parsed: Err(LineError::whole("line_too_long", detail)) }));
            }
            Err(_) if self.is_cut => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let number = self.record.position().map_or(number, csv::Position::line);
        let left_out = std::mem::take(&mut self.left_out);
        let parsed = self.header.row(&self.record, left_out, now, &mut self.seen);
        Ok(Some(Line { number, bytes: self.record.as_slice().len(), parsed }))
    }
}

/// A row that was read.
pub(super) struct Line {
    pub(super) number: u64,
    bytes: usize,
    pub(super) parsed: Result<Row, LineError>,
}

/// Why a file is no table of costs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// The first line can't be read.
    #[error("the first line can't be read: {0}")]
    Unreadable(String),
    /// Two columns of one name.
    #[error("the first line names `{0}` twice")]
    Repeated(String),
    /// No known name for something that each cost has.
    #[error("the first line must name the columns, separated by commas; none of them is known to say {0}")]
    Missing(&'static str),
}

impl Header {
    fn new(record: &ByteRecord) -> Result<Self, TableError> {
        let names = record.iter().map(|name| String::from_utf8(name.to_vec()));
        let names: Result<Vec<String>, _> = names.collect();
        let names = names.map_err(|_bytes| TableError::Unreadable("it is not UTF-8".into()))?;
        let columns = choose(&names).map_err(|error| TableError::Repeated(error.pointer))?;
        let has = |is: fn(&Column) -> bool| columns.iter().flatten().any(is);
        if !has(|column| *column == Column::OccurredAt) {
            return Err(TableError::Missing(
                "when a cost occurred (occurred_at, timestamp, startTime, created, date …)",
            ));
        }
        if !has(|column| column.tells_of_a_cost()) {
            return Err(TableError::Missing("what it comes to (amount, cost, spend …) or what was used"));
        }
        Ok(Self { names, columns })
    }

    fn left_out(&self) -> LeftOut {
        let mut left_out = LeftOut::default();
        for (name, _) in self.names.iter().zip(&self.columns).filter(|(_, column)| column.is_none()) {
            left_out.add(&format!("column {name}"));
        }
        left_out
    }

    fn row(
        &self,
        record: &ByteRecord,
        left_out: LeftOut,
        now: DateTime<Utc>,
        seen: &mut Seen,
    ) -> Result<Row, LineError> {
        if record.len() != self.names.len() {
            let detail = format!("has {} fields, the first line names {} columns", record.len(), self.names.len());
            return Err(LineError::whole("wrong_columns", detail));
        }
        if record.as_slice().contains(&0) {
            return Err(LineError::whole("nul_character", "has the character U+0000"));
        }
        let cells = || self.names.iter().zip(record).filter(|(_, cell)| !cell.trim_ascii().is_empty());
        let mut fields = Fields::default();
        for ((name, cell), column) in self.names.iter().zip(record).zip(&self.columns) {
            let (Some(column), false) = (column, cell.trim_ascii().is_empty()) else { continue };
            let text = str::from_utf8(cell)
                .map_err(|_bytes| LineError::named(name, "invalid_value", "is not UTF-8".into()))?;
            fields.add(*column, name, Told::Text(text.to_owned()));
        }
        let content = || seen.identify(cells().flat_map(|(name, cell)| [name.as_bytes(), cell]));
        Row::new(fields, left_out, now, content)
    }
}

/// A source that ends with an error when a row is longer than may be held in memory.
struct Bounded<S> {
    source: S,
    left: usize,
}

impl<S> Bounded<S> {
    fn new(source: S) -> Self {
        Self { source, left: MAX_LINE }
    }
}

impl<S: BufRead> io::Read for Bounded<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let most = buffer.len().min(self.left);
        let read = self.source.read(&mut buffer[..most])?;
        self.left -= read;
        Ok(read)
    }
}
