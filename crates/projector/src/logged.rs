//! Events as the log holds them, those included that can't be read: they too are passed over, parked or discarded.

use domain::{Fact, RecordedEvent, TenantId};
use sqlx::postgres::PgRow;
use store::{EventPlace, event_from_row, place_from_row};

use crate::Error;
use crate::projection::Projected;

/// An event of a log.
#[derive(Debug)]
pub(crate) enum Logged {
    /// Its data may still turn out to be unreadable.
    Whole(RecordedEvent),
    /// Its metadata can't be read; where it stands, and why.
    Unreadable(EventPlace, String),
}

impl Logged {
    /// Reads a row of [`store::EVENT_COLUMNS`].
    pub(crate) fn from_row(row: &PgRow) -> Result<Self, Error> {
        match event_from_row(row) {
            Ok(event) => Ok(Self::Whole(event)),
            Err(store::Error::Decode(error)) => {
                let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
                Ok(Self::Unreadable(place_from_row(row)?, cause))
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn tenant(&self) -> TenantId {
        match self {
            Self::Whole(event) => event.tenant,
            Self::Unreadable(place, _) => place.tenant,
        }
    }

    pub(crate) fn seq(&self) -> u64 {
        match self {
            Self::Whole(event) => event.seq,
            Self::Unreadable(place, _) => place.seq,
        }
    }

    pub(crate) fn stream(&self) -> uuid::Uuid {
        match self {
            Self::Whole(event) => event.stream,
            Self::Unreadable(place, _) => place.stream,
        }
    }

    /// Where it stands.
    pub(crate) fn place(&self) -> EventPlace {
        match self {
            Self::Whole(event) => event.into(),
            Self::Unreadable(place, _) => place.clone(),
        }
    }

    /// About how much memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Whole(event) => event.data.get().len(),
            Self::Unreadable(_, reason) => reason.len(),
        }
    }

    /// The event with its data read.
    pub(crate) fn read(&self) -> Result<Projected<'_>, Error> {
        match self {
            Self::Whole(event) => Ok(Projected { event, fact: Fact::of(event)? }),
            Self::Unreadable(_, reason) => Err(Error::Unreadable { reason: reason.clone() }),
        }
    }
}

impl From<RecordedEvent> for Logged {
    fn from(event: RecordedEvent) -> Self {
        Self::Whole(event)
    }
}
