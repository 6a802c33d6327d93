//! A writer: gathers commands while a commit is in flight, decides them one after the other, commits them together.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::DecodeError;
use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::mpsc;

use super::append::{Appended, append, failure};
use super::batch::{Batch, Entry};
use super::cache::{Known, States, StreamKey};
use super::job::{Finish, Job, Verdict};
use super::load::load;
use super::meters::Meters;
use super::refusal::{Review, review};
use super::unit::{Unit, Work};
use super::{LogSettings, OnCommit, snapshot};
use crate::error::{is_connection_end, is_lock_timeout};
use crate::tasks::spawn;
use crate::{ApiDatabase, CrashPoint, Error};

/// A batch takes no further command beyond this many bytes of event data.
const MAX_BATCH_BYTES: usize = 4 * 1024 * 1024;
/// How often a command is decided again because another process was faster, or its commit's outcome is unknown.
const MAX_LOST_RACES: u32 = 100;
/// Longest commit that a writer waits for; the server ends the transaction before (`transaction_timeout`).
const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);
/// A command that has waited longer than this is refused instead of begun: when commits are stuck, whoever waits behind
/// them is better told soon, and what they have given up on is not done for nobody.
const MAX_WAIT: Duration = Duration::from_secs(2);
/// Pause before trying to connect again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);
/// Attempts to connect before waiting commands are told that PostgreSQL is away.
const CONNECT_ATTEMPTS: u32 = 20;

/// Attempts to read a stream or a key: more than a pool has connections that may all be dead.
const READ_ATTEMPTS: u32 = 20;

/// What tasks of a writer report back.
enum Report {
    Loaded(StreamKey, Result<Known, Error>),
    Stale(Box<dyn Job>, Vec<StreamKey>),
    Answered,
}

pub(super) struct Writer {
    database: ApiDatabase,
    settings: LogSettings,
    on_commit: OnCommit,
    meters: Arc<Meters>,
    commands: mpsc::UnboundedReceiver<Box<dyn Job>>,
    reports: mpsc::UnboundedReceiver<Report>,
    report: mpsc::UnboundedSender<Report>,
    /// Tasks that will report.
    pending_reports: usize,
    connection: Option<PgConnection>,
    states: States,
    next: VecDeque<Box<dyn Job>>,
    /// Commands whose stream is being loaded.
    loading: HashMap<StreamKey, Vec<Box<dyn Job>>>,
}

impl Writer {
    pub(super) fn new(
        database: ApiDatabase,
        settings: LogSettings,
        on_commit: OnCommit,
        meters: Arc<Meters>,
        commands: mpsc::UnboundedReceiver<Box<dyn Job>>,
    ) -> Self {
        let (report, reports) = mpsc::unbounded_channel();
        let states = States::new(settings.cached_streams, meters.clone());
        Self {
            database,
            settings,
            on_commit,
            meters,
            commands,
            reports,
            report,
            pending_reports: 0,
            connection: None,
            states,
            next: VecDeque::new(),
            loading: HashMap::new(),
        }
    }

    /// Works until every handle on the log is gone and everything accepted is answered.
    pub(super) async fn run(mut self) {
        let mut open = true;
        loop {
            if self.next.is_empty() {
                tokio::select! {
                    biased;
                    Some(report) = self.reports.recv(), if self.pending_reports > 0 => self.take_report(report),
                    command = self.commands.recv(), if open => match command {
                        Some(job) => self.begin(job),
                        None => open = false,
                    },
                    else => break,
                }
            }
            while let Ok(report) = self.reports.try_recv() {
                self.take_report(report);
            }
            while self.next.len() < self.settings.max_batch {
                match self.commands.try_recv() {
                    Ok(job) => self.begin(job),
                    Err(_) => break,
                }
            }
            let batch = self.decide();
            if !batch.entries.is_empty() {
                self.commit(batch).await;
            }
            self.states.end_batch();
        }
    }

    fn begin(&mut self, job: Box<dyn Job>) {
        if job.waited() > MAX_WAIT {
            job.finish(Finish::Failed(Error::Overloaded));
        } else {
            self.next.push_back(job);
        }
    }

    fn take_report(&mut self, report: Report) {
        self.pending_reports -= 1;
        match report {
            Report::Answered => {}
            Report::Stale(mut job, streams) => {
                job.lost_race();
                for key in &streams {
                    self.states.forget(key);
                }
                self.next.push_front(job);
            }
            Report::Loaded(key, result) => {
                let waiting = self.loading.remove(&key).unwrap_or_default();
                match result {
                    Ok(known) => {
                        self.states.loaded(key, known);
                        for job in waiting.into_iter().rev() {
                            self.next.push_front(job);
                        }
                    }
                    Err(error) => self.not_loaded(waiting, error),
                }
            }
        }
    }

    /// The stream that these wait for can't be had. Who repeats a command is told what it came to even when the stream can't
    /// be read by now, for example because newer code has written to it.
    fn not_loaded(&mut self, waiting: Vec<Box<dyn Job>>, error: Error) {
        let unreadable = matches!(error, Error::Decode(_));
        let others: Vec<Error> = waiting.iter().skip(1).map(|_| alike(&error)).collect();
        for (job, error) in waiting.into_iter().zip(std::iter::once(error).chain(others)) {
            if unreadable {
                self.review(job, vec![], Finish::Failed(error));
            } else {
                job.finish(Finish::Failed(error));
            }
        }
    }

    /// Decides what is waiting, as much as fits into one batch.
    fn decide(&mut self) -> Batch {
        let mut batch = Batch::default();
        let mut deferred = VecDeque::new();
        while batch.entries.len() < self.settings.max_batch && batch.bytes < MAX_BATCH_BYTES {
            let Some(mut job) = self.next.pop_front() else { break };
            if batch.has_key_of(job.as_ref()) {
                deferred.push_back(job);
                continue;
            }
            let tenant = job.context().caller.tenant();
            let must_load = job.must_load();
            let mut unit = Unit { states: &mut self.states, tenant, must_load, work: Work::default() };
            let verdict = job.decide(&mut unit);
            let work = unit.work;
            match verdict {
                Verdict::Decided if batch.has_claim_of(tenant, &work) => deferred.push_back(job),
                Verdict::Decided => {
                    for touched in work.touched.iter().filter(|touched| touched.appended) {
                        if let Some((known, _)) = &touched.after {
                            self.states.advance(touched.key, known.clone());
                        }
                    }
                    self.meters.waited(job.waited());
                    batch.push(job, work);
                }
                // Decided on events that may yet fail to be stored.
                Verdict::Rejected if work.provisional => deferred.push_back(job),
                Verdict::Rejected => {
                    let decided_on = decided_on(job.as_ref(), &work);
                    self.review(job, decided_on, Finish::Rejected);
                }
                Verdict::Load => self.load(job, work),
                Verdict::Failed(error) => job.finish(Finish::Failed(error)),
            }
        }
        deferred.append(&mut self.next);
        self.next = deferred;
        batch
    }

    fn load(&mut self, job: Box<dyn Job>, work: Work) {
        let Some((key, fold)) = work.missing else { return job.finish(Finish::Failed(Error::OtherCategory)) };
        let waiting = self.loading.entry(key).or_default();
        waiting.push(job);
        if waiting.len() == 1 {
            let (database, report) = (self.database.clone(), self.report.clone());
            self.pending_reports += 1;
            self.meters.loads.increment(1);
            spawn("load", async move {
                let result = again_when_lost(|| load(&database, key, fold)).await;
                let _ = report.send(Report::Loaded(key, result));
            });
        }
    }

    /// Answers with this no, unless the log says otherwise.
    fn review(&mut self, job: Box<dyn Job>, decided_on: Vec<(StreamKey, u64)>, no: Finish) {
        let (database, report) = (self.database.clone(), self.report.clone());
        self.pending_reports += 1;
        let context = job.context().clone();
        spawn("review", async move {
            let answer = match again_when_lost(|| review(&database, &context, &decided_on)).await {
                Ok(Review::Stale(streams)) => Report::Stale(job, streams),
                Ok(Review::Answered(finish)) => {
                    job.finish(finish);
                    Report::Answered
                }
                Ok(Review::Confirmed) => {
                    job.finish(no);
                    Report::Answered
                }
                Err(error) => {
                    job.finish(Finish::Failed(error));
                    Report::Answered
                }
            };
            let _ = report.send(answer);
        });
    }

    /// Answers whether somebody else's lock was in the way of a single command.
    ///
    /// What was in the way of the others is answered first, and these are appended then: alone, because a newcomer might be in
    /// their way again.
    async fn commit(&mut self, batch: Batch) -> bool {
        let mut batch = batch;
        loop {
            match self.commit_once(batch).await {
                Committed::Answered { somebody_locked } => return somebody_locked,
                Committed::Rest(rest) => batch = rest,
            }
        }
    }

    async fn commit_once(&mut self, batch: Batch) -> Committed {
        let events = batch.entries.iter().map(|entry| entry.events.len()).sum();
        self.meters.batch(batch.entries.len(), events, batch.bytes);
        let begun = Instant::now();
        let appended = self.append(&batch).await;
        self.meters.committed(begun.elapsed());
        match appended {
            Ok(answers) => {
                CrashPoint::AfterCommit.reached();
                if let Some(rest) = self.settle(batch, answers) {
                    return Committed::Rest(rest);
                }
            }
            Err(Failed::NotConnected(error)) => {
                let mut error = Some(error);
                for entry in batch.entries {
                    let error = error.take().map_or(Error::Unavailable(sqlx::Error::PoolTimedOut), Error::from);
                    entry.job.finish(Finish::Failed(error));
                }
            }
            Err(Failed::Append(error)) if is_connection_end(&error) => {
                tracing::warn!(%error, commands = batch.entries.len(), "the connection was lost during a commit");
                self.meters.lost_commits.increment(1);
                self.connection = None;
                self.states_are_unsure(&batch);
                for mut entry in batch.entries {
                    entry.job.outcome_is_unknown();
                    self.retry_or(entry.job, |job| job.context().key.is_some(), Error::OutcomeUnknown);
                }
            }
            Err(Failed::Append(error)) if batch.entries.len() > 1 => {
                tracing::warn!(%error, commands = batch.entries.len(), "a batch failed and is tried command by command");
                self.commit_singly(batch).await;
            }
            Err(Failed::Append(error)) => {
                self.states_are_unsure(&batch);
                let locked = is_lock_timeout(&error);
                let mut error = Some(error);
                for entry in batch.entries {
                    let error = error.take().map_or(Error::OutcomeUnknown, failure);
                    entry.job.finish(Finish::Failed(error));
                }
                return Committed::Answered { somebody_locked: locked };
            }
        }
        Committed::Answered { somebody_locked: false }
    }

    /// Something in the batch makes PostgreSQL refuse it as a whole: find out what, and store the rest.
    ///
    /// It was rolled back, so what is known of committed states still holds. Forgetting them would load them again,
    /// and the commands would come back as the same batch. A tenant whose head is locked by somebody else is tried
    /// once: each further attempt would keep all others waiting as long.
    async fn commit_singly(&mut self, batch: Batch) {
        let jobs: Vec<Box<dyn Job>> = batch.entries.into_iter().map(|entry| entry.job).collect();
        let waiting = std::mem::take(&mut self.next);
        let mut locked = HashSet::new();
        for job in jobs {
            let tenant = job.context().caller.tenant();
            if locked.contains(&tenant) {
                job.finish(Finish::Failed(Error::Overloaded));
                continue;
            }
            self.states.end_batch();
            self.next.push_back(job);
            let single = self.decide();
            if !single.entries.is_empty() {
                let was_locked = Box::pin(self.commit(single)).await;
                if was_locked {
                    locked.insert(tenant);
                }
            }
        }
        self.next.extend(waiting);
    }

    async fn append(&mut self, batch: &Batch) -> Result<Vec<Appended>, Failed> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => self.connection.insert(connect(&self.database).await.map_err(Failed::NotConnected)?),
        };
        match tokio::time::timeout(COMMIT_TIMEOUT, append(connection, batch)).await {
            Ok(result) => result.map_err(Failed::Append),
            Err(_elapsed) => Err(Failed::Append(sqlx::Error::PoolTimedOut)),
        }
    }

    /// The batch is answered: keep the states of what was stored, answer the clients, decide again on what has moved. Answers
    /// what is still to be appended as it is, if anything.
    fn settle(&mut self, batch: Batch, answers: Vec<Appended>) -> Option<Batch> {
        let mut grown: HashMap<domain::TenantId, u64> = HashMap::new();
        let (mut again, mut held) = (Vec::new(), Vec::new());
        for (entry, answer) in batch.entries.into_iter().zip(answers) {
            match answer {
                Appended::Stored { seq, version } => {
                    let head = grown.entry(entry.tenant()).or_default();
                    *head = seq.max(*head);
                    self.meters.events.increment(entry.events.len() as u64);
                    self.keep(&entry);
                    entry.job.finish(Finish::Stored { seq, version });
                }
                Appended::Replayed { seq, version, receipt } => {
                    entry.job.finish(Finish::Replayed { seq, version, receipt });
                }
                Appended::KeyReused => entry.job.finish(Finish::KeyReused),
                Appended::Claimed(claim) => entry.job.finish(Finish::Claimed(claim)),
                Appended::UnknownTenant => entry.job.finish(Finish::Failed(Error::UnknownTenant)),
                Appended::Conflict => {
                    self.meters.conflicts.increment(1);
                    for touched in &entry.touched {
                        self.states.forget(&touched.key);
                    }
                    again.push(entry.job);
                }
                Appended::Held => held.push(entry),
            }
        }
        for job in again.into_iter().rev() {
            self.retry_or(job, |_| true, Error::Overloaded);
        }
        if !grown.is_empty() {
            (self.on_commit)(&grown.into_iter().collect::<Vec<_>>());
        }
        (!held.is_empty()).then(|| Batch::of_rest(held, batch.streams))
    }

    /// Moves the states after a stored command into the cache; now and then also into the database.
    fn keep(&mut self, entry: &Entry) {
        for touched in &entry.touched {
            self.states.commit(&touched.key);
            let (Some(before), Some((after, fold))) = (touched.expected, &touched.after) else { continue };
            if before / self.settings.snapshot_every != after.version / self.settings.snapshot_every {
                let (database, key, known, fold) = (self.database.clone(), touched.key, after.clone(), *fold);
                let meters = self.meters.clone();
                spawn("snapshot", async move {
                    match snapshot::store(&database, key, &known, fold).await {
                        Ok(()) => meters.snapshots.increment(1),
                        Err(error) => tracing::debug!(tenant = %key.tenant, %error, "a snapshot was not stored"),
                    }
                });
            }
        }
    }

    fn states_are_unsure(&mut self, batch: &Batch) {
        for key in batch.streams.keys() {
            self.states.forget(key);
        }
    }

    fn retry_or(&mut self, mut job: Box<dyn Job>, may_retry: impl Fn(&dyn Job) -> bool, error: Error) {
        if may_retry(job.as_ref()) && job.lost_race() <= MAX_LOST_RACES {
            self.next.push_front(job);
        } else {
            job.finish(Finish::Failed(error));
        }
    }
}

/// Reads again when the connection was lost: the pool may hold several that have died together.
async fn again_when_lost<T, F: Future<Output = Result<T, Error>>>(read: impl Fn() -> F) -> Result<T, Error> {
    for _ in 1..READ_ATTEMPTS {
        match read().await {
            Err(Error::Unavailable(error)) => tracing::debug!(%error, "reading again"),
            done => return done,
        }
    }
    read().await
}

/// What a commit has come to.
enum Committed {
    /// Everybody is answered or waits for being decided again.
    Answered {
        /// Somebody else's lock was in the way of a single command.
        somebody_locked: bool,
    },
    /// Nothing was stored; those that were in the way of these are answered.
    Rest(Batch),
}

enum Failed {
    /// Nothing was sent.
    NotConnected(sqlx::Error),
    Append(sqlx::Error),
}

/// The streams and versions that a rejection was decided on. Those that were loaded after the command arrived were up to
/// date in its time, whatever came since.
fn decided_on(job: &dyn Job, work: &Work) -> Vec<(StreamKey, u64)> {
    match job.must_load() {
        true => vec![],
        false => work.touched.iter().filter_map(|touched| Some((touched.key, touched.expected?))).collect(),
    }
}

/// An error of the same kind for the next command that waits: it can't be cloned.
fn alike(error: &Error) -> Error {
    if let Error::Decode(DecodeError::Newer { name, schema }) = error {
        DecodeError::Newer { name: name.clone(), schema: *schema }.into()
    } else if matches!(error, Error::Unavailable(_)) {
        Error::Unavailable(sqlx::Error::PoolTimedOut)
    } else {
        Error::Overloaded
    }
}

/// A connection that no cancelled future has ever touched, with plans that do not depend on what the tables hold
/// when they are made: a plan cached on an empty log would scan whole tenants.
async fn connect(database: &ApiDatabase) -> Result<PgConnection, sqlx::Error> {
    let options = database.pool.connect_options().as_ref().clone().application_name("convolog-writer").options([
        ("plan_cache_mode", "force_generic_plan"),
        ("enable_seqscan", "off"),
        ("jit", "off"),
    ]);
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

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            spawn("close", connection.close());
        }
    }
}
