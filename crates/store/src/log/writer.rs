//! The writer of a process: gathers commands while commits are under way, decides them one after the other, commits them together.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use domain::{DecodeError, TenantId};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::batch::Batch;
use super::cache::{Known, States, StreamKey};
use super::commit::{Commit, commit};
use super::job::{Finish, Job, Verdict};
use super::load::load;
use super::meters::Meters;
use super::refusal::{Review, review};
use super::settle::Stored;
use super::unit::{Unit, Work};
use super::{LogSettings, OnCommit};
use crate::tasks::spawn;
use crate::{ApiDatabase, Error};

/// A batch takes no further command beyond this many bytes of event data.
const MAX_BATCH_BYTES: usize = 4 * 1024 * 1024;
/// A command that has waited longer than this is refused instead of begun: when commits are stuck, whoever waits behind
/// them is better told soon, and what they have given up on is not done for nobody.
const MAX_WAIT: Duration = Duration::from_secs(2);
/// A commit begins beside another when so many commands wait. Smaller ones keep the cores busier, and do no more: each commit
/// costs PostgreSQL as much as ten commands (docs/adr/0003-writers-decide.md).
const WORTH_A_COMMIT: usize = 80;
/// Or when the last has begun this long ago: it may be stuck.
const PATIENCE: Duration = Duration::from_millis(10);

/// Attempts to read a stream or a key: more than a pool has connections that may all be dead.
const READ_ATTEMPTS: u32 = 20;

/// What tasks of a writer report back.
enum Report {
    Loaded(StreamKey, Result<Known, Error>),
    Stale(Box<dyn Job>, Vec<StreamKey>),
    Answered,
}

pub(super) struct Writer {
    pub(super) database: ApiDatabase,
    pub(super) settings: LogSettings,
    pub(super) on_commit: OnCommit,
    pub(super) meters: Arc<Meters>,
    commands: mpsc::UnboundedReceiver<Box<dyn Job>>,
    reports: mpsc::UnboundedReceiver<Report>,
    report: mpsc::UnboundedSender<Report>,
    /// Tasks that will report.
    pending_reports: usize,
    pub(super) states: States,
    pub(super) next: VecDeque<Box<dyn Job>>,
    /// The batch that is decided already and goes with the next commit.
    gathered: Batch,
    /// Commands whose stream is being loaded.
    loading: HashMap<StreamKey, Vec<Box<dyn Job>>>,
    /// Commands of a batch that was refused as a whole: each goes into a commit of its own.
    pub(super) alone: VecDeque<Box<dyn Job>>,
    under_way: FuturesUnordered<BoxFuture<'static, Commit>>,
    /// The tenants of what is under way: each is in one commit at a time, so commits never wait for each other, and nobody
    /// decides on what another may yet fail to store.
    busy: HashSet<TenantId>,
    /// Commands of busy tenants. They take no room from the next batch: those of one tenant would keep all others out.
    behind: HashMap<TenantId, Vec<Box<dyn Job>>>,
    /// Connections that no commit uses; `None`: not connected yet, or not any more.
    idle: Vec<Option<PgConnection>>,
    /// When the last commit has begun.
    begun: Instant,
    pub(super) stored: Stored,
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
        let idle = (0..settings.connections.max(1)).map(|_| None).collect();
        Self {
            database,
            settings,
            on_commit,
            meters,
            commands,
            reports,
            report,
            pending_reports: 0,
            states,
            next: VecDeque::new(),
            gathered: Batch::default(),
            loading: HashMap::new(),
            alone: VecDeque::new(),
            under_way: FuturesUnordered::new(),
            busy: HashSet::new(),
            behind: HashMap::new(),
            idle,
            begun: Instant::now(),
            stored: Stored::default(),
        }
    }

    /// Works until every handle on the log is gone and everything accepted is answered.
    pub(super) async fn run(mut self) {
        let mut open = true;
        loop {
            // What has just begun is sent, so that PostgreSQL works on it while the clients of the last commit are answered.
            if self.begin_commits()
                && let Some(Some(commit)) = self.under_way.next().now_or_never()
            {
                self.settle(commit);
                continue;
            }
            self.answer_stored();
            let may_begin = !self.idle.is_empty() && !self.gathered.entries.is_empty();
            tokio::select! {
                biased;
                Some(commit) = self.under_way.next() => self.settle(commit),
                Some(report) = self.reports.recv(), if self.pending_reports > 0 => self.take_report(report),
                command = self.commands.recv(), if open && self.has_room() => match command {
                    Some(job) => self.next.push_back(job),
                    None => open = false,
                },
                () = sleep_until(self.begun + PATIENCE), if may_begin => {}
                else => break,
            }
            while let Ok(report) = self.reports.try_recv() {
                self.take_report(report);
            }
            while self.has_room()
                && let Ok(job) = self.commands.try_recv()
            {
                self.next.push_back(job);
            }
        }
        for connection in self.idle.into_iter().flatten() {
            spawn("close", connection.close());
        }
    }

    fn has_room(&self) -> bool {
        self.gathered.entries.len() + self.next.len() < self.settings.max_batch
    }

    /// Whether any has begun.
    fn begin_commits(&mut self) -> bool {
        let under_way = self.under_way.len();
        while let Some(at) = self.alone_at()
            && let Some(connection) = self.idle.pop()
        {
            let mut batch = Batch::default();
            if let Some(job) = self.alone.remove(at) {
                self.decide(job, &mut batch);
            }
            if batch.entries.is_empty() {
                self.idle.push(connection);
            } else {
                self.begin_new(connection, batch);
            }
        }
        self.gather();
        while self.is_worth_a_commit()
            && let Some(connection) = self.idle.pop()
        {
            if self.gathered.entries.iter().any(|entry| is_too_late(entry.job.as_ref())) {
                self.scatter();
                self.idle.push(connection);
            } else {
                let batch = std::mem::take(&mut self.gathered);
                self.begin_new(connection, batch);
            }
            self.gather();
        }
        self.under_way.len() > under_way
    }

    fn begin_new(&mut self, connection: Option<PgConnection>, batch: Batch) {
        for entry in &batch.entries {
            self.meters.waited(entry.job.waited());
        }
        self.begin(connection, batch);
    }

    fn begin(&mut self, connection: Option<PgConnection>, batch: Batch) {
        self.begun = Instant::now();
        self.busy.extend(batch.tenants.keys());
        self.under_way.push(Box::pin(commit(self.database.clone(), self.meters.clone(), connection, batch)));
    }

    /// A commit of these tenants has ended. What waited behind it is next, unless some of the commit goes before that again.
    pub(super) fn release<'a>(&mut self, tenants: impl Iterator<Item = &'a TenantId>) {
        for tenant in tenants {
            self.busy.remove(tenant);
            self.call_forward(tenant);
        }
    }

    /// A commit is settled. What is left of it goes next, before newcomers, which might be in its way again.
    pub(super) fn end(&mut self, connection: Option<PgConnection>, rest: Option<Batch>) {
        match rest {
            Some(rest) => self.begin(connection, rest),
            None => self.idle.push(connection),
        }
        self.forget_uncommitted();
    }

    /// But what is under way or has gathered.
    fn forget_uncommitted(&mut self) {
        self.states.keep_uncommitted(|tenant| self.busy.contains(tenant) || self.gathered.tenants.contains_key(tenant));
    }

    /// What waits behind a tenant is next.
    fn call_forward(&mut self, tenant: &TenantId) {
        for job in self.behind.remove(tenant).into_iter().flatten().rev() {
            self.next.push_front(job);
        }
    }

    fn is_worth_a_commit(&self) -> bool {
        let may_be_small = self.under_way.is_empty() || self.begun.elapsed() >= PATIENCE;
        self.gathered.entries.len() >= if may_be_small { 1 } else { WORTH_A_COMMIT }
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

    /// Decides what is waiting, as much as fits into one batch. It goes with the next commit, but is ready for it now: until
    /// then PostgreSQL would wait.
    fn gather(&mut self) {
        let mut batch = std::mem::take(&mut self.gathered);
        while batch.entries.len() < self.settings.max_batch
            && batch.bytes < MAX_BATCH_BYTES
            && let Some(job) = self.next.pop_front()
        {
            if is_too_late(job.as_ref()) {
                job.finish(Finish::Failed(Error::Overloaded));
            } else {
                self.decide(job, &mut batch);
            }
        }
        self.gathered = batch;
    }

    /// What has gathered waits for its decision again: some of it has waited too long, and others were decided on top of that.
    fn scatter(&mut self) {
        let batch = std::mem::take(&mut self.gathered);
        self.forget_uncommitted();
        for tenant in batch.tenants.keys() {
            self.call_forward(tenant);
        }
        for entry in batch.entries.into_iter().rev() {
            self.next.push_front(entry.job);
        }
    }

    /// The first that is to go alone and may go now.
    fn alone_at(&self) -> Option<usize> {
        let is_free = |tenant| !self.busy.contains(&tenant) && !self.gathered.tenants.contains_key(&tenant);
        self.alone.iter().position(|job| is_free(job.tenant()))
    }

    fn decide(&mut self, mut job: Box<dyn Job>, batch: &mut Batch) {
        let tenant = job.tenant();
        if self.busy.contains(&tenant) || batch.has_key_of(job.as_ref()) {
            return self.wait_behind(job);
        }
        let must_load = job.has_lost_race();
        let mut unit = Unit { states: &mut self.states, tenant, must_load, work: Work::default() };
        let verdict = job.decide(&mut unit);
        let work = unit.work;
        match verdict {
            Verdict::Decided if batch.has_claim_of(tenant, &work) => self.wait_behind(job),
            Verdict::Decided => {
                for touched in work.touched.iter().filter(|touched| touched.appended) {
                    if let Some((known, _)) = &touched.after {
                        self.states.advance(touched.key, known.clone());
                    }
                }
                let last_commit = self.states.head(tenant).map(|head| head.last_commit);
                batch.push(job, work, last_commit);
            }
            // Decided on events that may yet fail to be stored.
            Verdict::Rejected if work.provisional => self.wait_behind(job),
            Verdict::Rejected => {
                let decided_on = decided_on(job.as_ref(), &work);
                self.review(job, decided_on, Finish::Rejected);
            }
            Verdict::Claimed(claim) => self.review(job, vec![], Finish::Claimed(claim)),
            Verdict::Load => self.load(job, work),
            Verdict::Failed(error) => job.finish(Finish::Failed(error)),
        }
    }

    /// Until the commit of its tenant has ended.
    fn wait_behind(&mut self, job: Box<dyn Job>) {
        self.behind.entry(job.tenant()).or_default().push(job);
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

/// The streams and versions that a rejection was decided on. Those that were loaded after the command arrived were up to
/// date in its time, whatever came since.
fn decided_on(job: &dyn Job, work: &Work) -> Vec<(StreamKey, u64)> {
    match job.has_lost_race() {
        true => vec![],
        false => work.touched.iter().filter_map(|touched| Some((touched.key, touched.expected?))).collect(),
    }
}

/// What has lost a race was in time, and what it came to may be unknown.
fn is_too_late(job: &dyn Job) -> bool {
    job.waited() > MAX_WAIT && !job.has_lost_race()
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
