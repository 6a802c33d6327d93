//! What can go wrong between the log and the read tables, told apart by whether trying again can help.

use domain::DecodeError;

/// An error of relay or projector.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// PostgreSQL is away or slow: try again.
    #[error("the store failed")]
    Store(#[from] store::Error),
    /// NATS is away: try again, and go on from PostgreSQL meanwhile.
    #[error("the bus failed")]
    Bus(#[from] bus::Error),
    /// An event is of newer code, or its data is malformed.
    #[error("an event cannot be projected")]
    Event(#[from] DecodeError),
    /// What is known about an event beside its data has another form than all events have.
    #[error("the metadata of an event cannot be read: {reason}")]
    Unreadable {
        /// What is wrong.
        reason: String,
    },
    /// A checkpoint lies beyond the end of its log.
    #[error("the log ends before number {checkpoint}")]
    LogEnds {
        /// The checkpoint.
        checkpoint: u64,
    },
    /// A bug of ours.
    #[error("a task has panicked")]
    Panicked,
    /// PostgreSQL refused the rows that follow from the events.
    #[error("the rows were refused")]
    Rows(#[source] sqlx::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Error {
    /// An error of writing rows: SQLSTATE 22xxx and 23xxx come from the events themselves.
    pub(crate) fn of_rows(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|database| database.code());
        if code.is_some_and(|code| code.starts_with("22") || code.starts_with("23")) {
            Self::Rows(error)
        } else {
            error.into()
        }
    }

    /// Whether the same events will fail again, whatever else changes.
    pub(crate) fn is_deterministic(&self) -> bool {
        match self {
            Self::Event(_) | Self::Unreadable { .. } | Self::Rows(_) | Self::LogEnds { .. } => true,
            Self::Store(error) => matches!(error, store::Error::Decode(_)),
            Self::Bus(_) | Self::Panicked => false,
        }
    }

    /// Whether an event is of newer code: it is no poison, and must wait for an upgrade.
    pub(crate) fn is_newer(&self) -> bool {
        matches!(
            self,
            Self::Event(DecodeError::Newer { .. }) | Self::Store(store::Error::Decode(DecodeError::Newer { .. }))
        )
    }

    /// Whether PostgreSQL refuses our statements as such (SQLSTATE 42xxx: a table or a right is missing): no event is to
    /// blame, and nothing helps but an administrator.
    pub(crate) fn is_refused_statement(&self) -> bool {
        let Self::Store(store::Error::Database(error)) = self else { return false };
        error.as_database_error().and_then(|database| database.code()).is_some_and(|code| code.starts_with("42"))
    }

    /// Whether it is about an event that can never be projected, neither now nor by newer code.
    pub(crate) fn is_poison(&self) -> bool {
        self.is_deterministic() && !self.is_newer() && !matches!(self, Self::LogEnds { .. })
    }
}
