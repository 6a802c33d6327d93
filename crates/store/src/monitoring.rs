//! What an operator is told of the database: whether it answers, how far everything is behind, what holds it up. No tenants.

use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::PgRow;
use tokio::time::Instant;

use crate::{ApiDatabase, Error, Work};

/// Tenants whose oldest waiting event is looked up; with more of them behind, ages are lower bounds.
pub const AGE_SAMPLE: i32 = 1_000;

/// A tenant whose next event has waited so long for the read tables is stuck, however busy the projector is.
pub const STUCK_AFTER: Duration = Duration::from_secs(30);

/// PostgreSQL as it answers.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its version.
    pub version: String,
    /// How long an empty query took.
    pub latency: Duration,
}

/// How far something is behind all logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// Tenants that are behind.
    pub tenants: u64,
    /// Events that wait.
    pub events: u64,
    /// How long the oldest of them has waited.
    pub oldest: Duration,
    /// Shards that some process holds a lease on, of [`domain::SHARDS`].
    pub shards: u64,
}

/// All logs together, and how far they are carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Tenants with events.
    pub tenants: u64,
    /// Events of all logs.
    pub events: u64,
    /// What is not on NATS yet.
    pub relay: Lag,
    /// What the read tables do not reflect yet.
    pub read_model: Lag,
    /// Tenants whose next event has waited for the read tables longer than [`STUCK_AFTER`].
    pub stuck_tenants: u64,
    /// Streams that are parked, because an event of theirs cannot be projected.
    pub parked_streams: u64,
}

/// The oldest snapshot that dead rows are kept for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// How old its transaction is.
    pub age: Duration,
    /// How many transactions have begun since.
    pub transactions: u64,
}

impl ApiDatabase {
    /// Asks for nothing but an answer.
    pub async fn ping(&self) -> Result<Server, Error> {
        // Not counting the time to make a connection.
        sqlx::query("select 1").execute(&self.checks).await?;
        let begun = Instant::now();
        let version = sqlx::query_scalar("select current_setting('server_version')").fetch_one(&self.checks).await?;
        Ok(Server { version, latency: begun.elapsed() })
    }

    /// How far relay and read tables are behind. Costs time in proportion to the number of tenants: ask now and then.
    pub async fn progress(&self) -> Result<Progress, Error> {
        let row = sqlx::query("select * from log_progress($1, $2, $3)")
            .bind(Work::ReadModel.as_str())
            .bind(AGE_SAMPLE)
            .bind(i64::try_from(STUCK_AFTER.as_millis()).unwrap_or(i64::MAX))
            .fetch_one(&self.checks)
            .await?;
        let parked: i64 = sqlx::query_scalar("select parked_streams($1)")
            .bind(Work::ReadModel.as_str())
            .fetch_one(&self.checks)
            .await?;
        let lag = |prefix: &str| -> Result<Lag, sqlx::Error> {
            Ok(Lag {
                tenants: number(&row, &format!("{prefix}_tenants"))?,
                events: number(&row, &format!("{prefix}_events"))?,
                oldest: Duration::from_millis(number(&row, &format!("{prefix}_oldest_ms"))?),
                shards: number(&row, &format!("{prefix}_shards"))?,
            })
        };
        Ok(Progress {
            tenants: number(&row, "tenants")?,
            events: number(&row, "events")?,
            relay: lag("relay")?,
            read_model: lag("group")?,
            stuck_tenants: number(&row, "stuck_tenants")?,
            parked_streams: parked.max(0).cast_unsigned(),
        })
    }

    /// The oldest snapshot; `None` when the server does not let us see what others do.
    pub async fn oldest_snapshot(&self) -> Result<Option<Snapshot>, Error> {
        let row: (Option<i64>, Option<i64>) =
            sqlx::query_as("select age_ms, transactions from oldest_snapshot()").fetch_one(&self.checks).await?;
        let (Some(age), Some(transactions)) = row else { return Ok(None) };
        let (age, transactions) = (Duration::from_millis(age.max(0).cast_unsigned()), transactions.cast_unsigned());
        Ok(Some(Snapshot { age, transactions }))
    }
}

fn number(row: &PgRow, column: &str) -> Result<u64, sqlx::Error> {
    Ok(row.try_get::<i64, _>(column)?.max(0).cast_unsigned())
}
