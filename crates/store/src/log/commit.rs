//! A commit: one batch on its way through one connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::append::{Answers, append};
use super::batch::Batch;
use super::meters::Meters;
use crate::ApiDatabase;

/// Longest commit that a writer waits for; the server ends the transaction before (`transaction_timeout`).
const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause before trying to connect again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);
/// Attempts to connect before waiting commands are told that PostgreSQL is away.
const CONNECT_ATTEMPTS: u32 = 20;

/// A commit that has ended.
pub(super) struct Commit {
    pub(super) id: Uuid,
    pub(super) batch: Batch,
    /// `None` when there is none any more.
    pub(super) connection: Option<PgConnection>,
    pub(super) answers: Result<Answers, Failed>,
}

pub(super) enum Failed {
    /// Nothing was sent.
    NotConnected(sqlx::Error),
    Append(sqlx::Error),
}

/// Appends the batch, on this connection or on a new one.
pub(super) async fn commit(
    database: ApiDatabase,
    meters: Arc<Meters>,
    connection: Option<PgConnection>,
    batch: Batch,
) -> Commit {
    let id = Uuid::now_v7();
    let events = batch.entries.iter().map(|entry| entry.events.len()).sum();
    meters.batch(batch.entries.len(), events, batch.bytes);
    let begun = Instant::now();
    let mut connection = match connection {
        Some(connection) => connection,
        None => match connect(&database).await {
            Ok(connection) => connection,
            Err(error) => return Commit { id, batch, connection: None, answers: Err(Failed::NotConnected(error)) },
        },
    };
    let answers = match tokio::time::timeout(COMMIT_TIMEOUT, append(&mut connection, &batch, id)).await {
        Ok(answers) => answers.map_err(Failed::Append),
        Err(_elapsed) => Err(Failed::Append(sqlx::Error::PoolTimedOut)),
    };
    meters.committed(begun.elapsed());
    Commit { id, batch, connection: Some(connection), answers }
}

/// A connection that no cancelled future has ever touched, with plans that do not depend on what the tables hold
/// when they are made (and with the settings of the pool): a plan cached on an empty log would scan whole tenants.
async fn connect(database: &ApiDatabase) -> Result<PgConnection, sqlx::Error> {
    let options = database.pool.connect_options().as_ref().clone();
    let options = options.application_name("convolog-writer").options([("plan_cache_mode", "force_generic_plan")]);
    let mut attempt = 1;
    loop {
        match options.connect().await {
            Ok(connection) => return Ok(connection),
            Err(error) if attempt == CONNECT_ATTEMPTS => return Err(error),
            Err(error) => tracing::debug!(%error, attempt, "PostgreSQL is away"),
        }
        attempt += 1;
        tokio::time::sleep(RECONNECT_PAUSE).await;
    }
}
