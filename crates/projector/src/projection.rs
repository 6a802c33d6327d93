//! What a projection is: a pure reading of events into row operations, applied set-based.

use std::future::Future;
use std::pin::Pin;

use domain::{DecodeError, Fact, RecordedEvent};
use sqlx::PgConnection;

/// An event whose data has been read.
#[derive(Clone, Debug)]
pub struct Projected<'a> {
    /// Where and when.
    pub event: &'a RecordedEvent,
    /// What.
    pub fact: Fact,
}

impl<'a> Projected<'a> {
    /// Reads a batch; the first event that can't be read fails it.
    pub fn read(events: impl IntoIterator<Item = &'a RecordedEvent>) -> Result<Vec<Self>, DecodeError> {
        events.into_iter().map(|event| Ok(Self { event, fact: Fact::of(event)? })).collect()
    }
}

/// The future of [`Projection::write`].
pub type Write<'a> = Pin<Box<dyn Future<Output = Result<(), sqlx::Error>> + Send + 'a>>;

/// A read table, as far as rebuilding and comparing its rows needs it; the columns are read from the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// The columns that tell one row of a tenant from another. The first is never null: rows are replaced in its order.
    pub key: &'static [&'static str],
}

/// A read table, or a few that belong together, as a function of the log.
///
/// Rows must not depend on the clock, on chance or on other tables, and each row on the events of one stream only:
/// so they are the same in whatever order streams arrive, live or rebuilt.
pub trait Projection: Send + Sync {
    /// Its name, unique.
    fn name(&self) -> &'static str;

    /// Grows with every change of its rows' meaning or shape: the rows of all tenants are then rebuilt.
    fn version(&self) -> i32;

    /// The tables that it alone writes.
    fn tables(&self) -> &'static [Table];

    /// Writes the rows that follow from events of several tenants, each tenant's in `seq` order, each event once.
    fn write<'a>(&'a self, connection: &'a mut PgConnection, events: &'a [Projected<'a>]) -> Write<'a>;
}
