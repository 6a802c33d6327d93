//! What can go wrong with the store, told apart by what the caller can do about it.

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// PostgreSQL is away or does not answer in time: try again later.
    #[error("PostgreSQL is not available")]
    Unavailable(#[source] sqlx::Error),
    /// PostgreSQL refused a statement that should have been right.
    #[error("PostgreSQL refused a statement")]
    Database(#[source] sqlx::Error),
    /// The connection was lost while a command without a key was being committed: nobody knows whether it was.
    #[error("the connection was lost during a commit, its outcome is unknown")]
    OutcomeUnknown,
    /// A bounded queue is full, no connection became free in time, or a stream is too contended: try again later.
    #[error("too much work is waiting")]
    Overloaded,
    /// The writer has ended, because the process is shutting down.
    #[error("the writer has ended")]
    ShuttingDown,
    /// The encoded event would be larger than [`domain::MAX_ENCODED_EVENT`].
    #[error("the encoded event would have {bytes} bytes or more")]
    EventTooLarge {
        /// Its size without the envelope.
        bytes: usize,
    },
    /// A stream of this id exists in another category.
    #[error("the stream's id belongs to another category")]
    OtherCategory,
    /// The tenant has no log.
    #[error("there is no such tenant")]
    UnknownTenant,
    /// An event can't be read.
    #[error("an event of the log cannot be read")]
    Decode(#[from] domain::DecodeError),
    /// Something of ours can't be written as JSON.
    #[error("a value cannot be written as JSON")]
    Encode(#[source] serde_json::Error),
    /// The connection's role may do more than it must be able to.
    #[error("refusing to work as database role {role}: {reason}")]
    UnsafeRole {
        /// Which role.
        role: String,
        /// What it may do.
        reason: String,
    },
    /// The schema could not be brought up to date.
    #[error("the migration failed")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// The schema is not there, or an older version's.
    #[error("the database is not migrated to schema version {needed}: run `convolog migrate`")]
    OlderSchema {
        /// What this program works with.
        needed: i64,
    },
    /// A newer version has migrated the database.
    #[error("the schema of the database has version {found}, this program knows {known}: run the newer version")]
    NewerSchema {
        /// What is there.
        found: i64,
        /// What this program works with.
        known: i64,
    },
    /// The server is too old.
    #[error("PostgreSQL {found} is too old: version 17 or newer is required (transaction_timeout)")]
    ServerTooOld {
        /// Its version.
        found: String,
    },
    /// A database URL can't be read.
    #[error("{variable} is not a PostgreSQL URL: expected postgres://user:password@host:port/database")]
    Url {
        /// The setting it came from.
        variable: &'static str,
        /// What is wrong.
        source: sqlx::Error,
    },
}

/// An error with what caused it, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if matches!(error, sqlx::Error::PoolTimedOut) {
            Self::Overloaded
        } else if is_database_error(&error) && !is_connection_end(&error) && !is_out_of_resources(&error) {
            Self::Database(error)
        } else {
            Self::Unavailable(error)
        }
    }
}

fn sqlstate(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|database| database.code().map(|code| code.into_owned()))
}

fn is_database_error(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some()
        || matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::RowNotFound)
}

/// The server ended the session (57P0x; 25P03 and 25P04, its time-outs of transactions) or the connection broke (08xxx):
/// a commit under way may have happened, and the connection is of no more use.
pub(crate) fn is_connection_end(error: &sqlx::Error) -> bool {
    match sqlstate(error) {
        Some(code) => code.starts_with("57P") || code.starts_with("08") || code == "25P03" || code == "25P04",
        None => !is_database_error(error),
    }
}

/// A row of the same key is there already.
pub(crate) fn is_unique_violation(error: &Error) -> bool {
    matches!(error, Error::Database(error) if sqlstate(error).as_deref() == Some("23505"))
}

/// Whether a stream had another version than the one that an append took for granted.
pub(crate) fn is_taken_version(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.constraint() == Some("events_stream_version_key"))
}

/// Somebody else has held a lock for too long.
pub(crate) fn is_lock_timeout(error: &sqlx::Error) -> bool {
    sqlstate(error).as_deref() == Some("55P03")
}

/// Time-outs (25P0x, 55P03, 57014) and exhausted resources (53xxx): passes by itself.
fn is_out_of_resources(error: &sqlx::Error) -> bool {
    sqlstate(error)
        .is_some_and(|code| code.starts_with("25P0") || code.starts_with("53") || code == "55P03" || code == "57014")
}
