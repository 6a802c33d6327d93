//! The tenant log's front: commands go in as closures over a [`Unit`], answers come out durable.
//!
//! `writer` gathers commands into batches and decides them, `unit` is what a command's closure sees, `commit` takes a batch to
//! PostgreSQL, `append` is the round trip, `settle` answers; `load` folds cold streams, `refusal` answers what was not
//! stored, `room` bounds what is taken on; `second_door` appends inside a transaction that also writes tables beside the log.

mod append;
mod arrays;
mod batch;
mod cache;
mod commit;
mod job;
mod ledger;
mod load;
mod meters;
mod refusal;
mod room;
mod second_door;
mod settle;
mod snapshot;
mod unit;
mod writer;

pub(crate) use second_door::Appending;

use std::num::NonZeroUsize;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::TenantId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::tasks::spawn;
use crate::{ApiDatabase, Error, TenantContext};
use job::TypedJob;
use meters::{Ended, Meters};
use room::Room;
pub(crate) use unit::Claim;
pub use unit::{Posting, Stop, Unit};
use writer::Writer;

/// Called after each commit with the tenants whose log has grown and their last `seq`.
pub type OnCommit = Arc<dyn Fn(&[(TenantId, u64)]) + Send + Sync>;

/// How the log works; the defaults are right for one API process.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// Commits that may be under way at a time, each on a connection of its own. By default as many as there are cores, at
    /// least two: while one waits for the disk, another works.
    pub connections: usize,
    /// Commands that were taken on and not answered; beyond it they are refused as [`Error::Overloaded`].
    /// A commit takes up to `max_batch` of them, so the last of the default waits for sixteen commits.
    pub queue: usize,
    /// Bytes of these commands together, about what their bodies had.
    pub queue_bytes: usize,
    /// Streams whose state is kept.
    pub cached_streams: usize,
    /// Most commands in one commit.
    pub max_batch: usize,
    /// A stream's state is stored every so many events.
    pub snapshot_every: u64,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            connections: std::thread::available_parallelism().map_or(2, NonZeroUsize::get).max(2),
            queue: 4096,
            queue_bytes: 32 * 1024 * 1024,
            cached_streams: 50_000,
            max_batch: 256,
            snapshot_every: 500,
        }
    }
}

/// A client's promise that two requests with the same key are the same request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// Unique per tenant and actor, at most 200 printable ASCII characters.
    pub key: String,
    /// SHA-256 over method, path and raw body.
    pub request_hash: [u8; 32],
}

/// Everything about a command but what it wants.
#[derive(Clone, Debug)]
pub struct CommandContext {
    /// Whose log, and who is asking.
    pub caller: TenantContext,
    /// When given, the command happens once.
    pub key: Option<IdempotencyKey>,
    /// Goes into the events' `correlation_id`.
    pub correlation_id: Uuid,
    /// Goes into the events' `causation_id`.
    pub causation_id: Uuid,
    /// W3C trace context of the request.
    pub traceparent: Option<String>,
    /// Now, as the caller's clock says; microseconds.
    pub occurred_at: DateTime<Utc>,
    /// About how much memory the command takes until it is answered.
    pub bytes: usize,
}

impl CommandContext {
    /// A command without a key, caused by the request of this id and no other.
    pub fn new(caller: TenantContext, request: Uuid, occurred_at: DateTime<Utc>) -> Self {
        let (correlation_id, causation_id) = (request, request);
        Self { caller, key: None, correlation_id, causation_id, traceparent: None, occurred_at, bytes: 0 }
    }
}

/// The answer to a command that is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome<R> {
    /// What the command's closure returned; of the first time, when replayed.
    pub receipt: R,
    /// Number of its last event in the tenant's log.
    pub seq: u64,
    /// Version of its last event in the first stream that it touched.
    pub version: u64,
    /// Whether the key had been used before, so that nothing new was written.
    pub replayed: bool,
}

/// Why a command was not stored.
#[derive(Debug)]
pub enum ExecuteError<E> {
    /// The decision was no.
    Rejected(E),
    /// Something that may be taken once is taken, for example a chosen id; the claim.
    Claimed(String),
    /// The idempotency key belongs to another request.
    KeyReused,
    /// The store could not.
    Store(Error),
}

/// The way to append: a handle on the writer of this process, cheap to clone.
#[derive(Clone)]
pub struct Log {
    commands: mpsc::UnboundedSender<Box<dyn job::Job>>,
    room: Arc<Room>,
    meters: Arc<Meters>,
}

impl Log {
    /// Starts the writer. It ends, with everything accepted answered, when the last handle is dropped: await the returned
    /// task for it.
    pub fn start(
        database: &ApiDatabase,
        settings: &LogSettings,
        on_commit: OnCommit,
    ) -> (Self, tokio::task::JoinHandle<()>) {
        let meters = Meters::register();
        // Bounded by the room, which also counts what the writer has taken out of it.
        let (commands, receiver) = mpsc::unbounded_channel();
        let writer = Writer::new(database.clone(), settings.clone(), on_commit, meters.clone(), receiver);
        let room = Arc::new(Room::new(settings.queue, settings.queue_bytes));
        let running = spawn("writer", writer.run());
        (Self { commands, room, meters }, running)
    }

    /// Commands that are not answered yet, and about how many bytes they have.
    pub fn waiting(&self) -> (usize, usize) {
        self.room.load()
    }

    /// Whether the writer is alive.
    pub fn is_running(&self) -> bool {
        !self.commands.is_closed()
    }

    /// Whether nothing is taken on now: a command would be refused whosever it is.
    pub fn is_full(&self) -> bool {
        self.room.is_full()
    }

    /// Decides and appends one command; the answer is durable. Dropping the future does not stop the command.
    ///
    /// `decide` must be pure: it runs again when a stream has to be loaded first or has moved on. It decides with
    /// [`Unit::run`] and its like, and returns the receipt that is needed to answer this request, now and whenever
    /// it is repeated; nothing secret belongs there.
    pub async fn execute<R, E, F>(&self, context: CommandContext, decide: F) -> Result<Outcome<R>, ExecuteError<E>>
    where
        R: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Send + Sync + 'static,
        F: Fn(&mut Unit<'_>) -> Result<R, Stop<E>> + Send + Sync + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let place = self.room.take(context.bytes).ok_or_else(|| {
            self.meters.ended(Ended::Overloaded);
            ExecuteError::Store(Error::Overloaded)
        })?;
        let job = TypedJob::new(context, decide, place, self.meters.clone(), answer);
        self.commands.send(Box::new(job)).map_err(|_ended| ExecuteError::Store(Error::ShuttingDown))?;
        match answered.await {
            Ok(answer) => answer,
            // The writer died with the command in its hands.
            Err(_closed) => Err(ExecuteError::Store(Error::OutcomeUnknown)),
        }
    }
}
