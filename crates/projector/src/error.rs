//! What can go wrong between the log and the read tables, told apart by whether trying again can help.

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
    Event(#[from] domain::DecodeError),
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
        matches!(self, Self::Event(_) | Self::Rows(_) | Self::LogEnds { .. } | Self::Store(store::Error::Decode(_)))
    }
}
