//! Rebuilds a tenant with a long log: fills a run page by page, then replaces the read tables' rows a bounded number at a
//! time, each transaction leaving every row as it was or as rebuilt, at the checkpoint's number.
//!
//! What is to be done next is in the database alone. So whoever comes takes the next step: after a crash, or beside
//! another process at work on the same tenant.

use std::time::Duration;

use domain::TenantId;
use sqlx::Row as _;
use store::{CrashPoint, ProjectorDatabase, TenantsTx, Work};
use uuid::Uuid;

use super::run::{self, Purpose, RunProgress, State, Swapped};
use super::statements::{Statements, compare_from_here};
use super::swap::{Walk, Whose, replace};
use super::{REPLAY, Sizes, UPGRADE};
use crate::catch_up::read_after;
use crate::dead_letters;
use crate::{Error, READ_MODEL, read_model_version};

/// How long the checkpoint is free between two transactions that replace rows. Live projecting passes over a checkpoint that
/// is locked instead of waiting for it, and looks again every few milliseconds: here it finds its turn.
const BETWEEN_SWAPS: Duration = Duration::from_millis(50);

/// Who may replace a tenant's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Right {
    /// Anybody, as long as the rows are of this version: they become what they should be already.
    SameVersion,
    /// Who holds the lease of this epoch, as long as the rows are of an older version.
    Upgrade {
        /// Of the lease on the tenant's shard.
        epoch: i64,
    },
}

impl Right {
    fn run(self) -> (Uuid, Purpose) {
        match self {
            Self::SameVersion => (REPLAY, Purpose::Replay),
            Self::Upgrade { .. } => (UPGRADE, Purpose::Upgrade),
        }
    }
}

/// What a step has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stepped {
    /// There is more to do; so many events were projected.
    More(u64),
    /// The rows are rebuilt, for which so many events were projected; what is left in staging goes.
    Ending(u64),
    /// The rows are rebuilt and nothing is left in staging.
    Done,
    /// They are another version's, or another's lease; nothing is left in staging.
    NotOurs,
}

/// The rebuilding of one tenant.
pub(crate) struct Long<'a> {
    database: &'a ProjectorDatabase,
    statements: &'a [Statements],
    sizes: Sizes,
    tenant: TenantId,
    right: Right,
    /// What is left in `staging.progress` at the end.
    leave_mark: bool,
    /// A unique key of the read table stood in the way of a slice: then all rows are replaced at once.
    unsliced: bool,
    begun: bool,
    /// Events were being projected when a step failed, not rows replaced.
    filling: bool,
    /// Number of the last event that was projected before an interruption.
    pub(crate) found: u64,
    /// Rows that were deleted or added in the read tables.
    pub(crate) touched: u64,
}

impl RunProgress {
    /// Whether its rows are not those that the tenant's rows must become.
    fn is_of_no_use(&self, at: &At) -> bool {
        self.version != read_model_version() || self.seq > at.checkpoint || self.mended != at.mended
    }
}

/// Where tenant and run are.
struct At {
    checkpoint: u64,
    version: i32,
    mended: i64,
    progress: Option<RunProgress>,
}

impl<'a> Long<'a> {
    pub(crate) fn new(
        database: &'a ProjectorDatabase,
        statements: &'a [Statements],
        sizes: Sizes,
        tenant: TenantId,
        right: Right,
    ) -> Self {
        let (leave_mark, unsliced, begun, filling) = (false, false, false, false);
        Self { database, statements, sizes, tenant, right, leave_mark, unsliced, begun, filling, found: 0, touched: 0 }
    }

    /// A mark stays behind that it is done.
    pub(crate) fn leaving_a_mark(self) -> Self {
        Self { leave_mark: true, ..self }
    }

    /// One short transaction.
    pub(crate) async fn step(&mut self) -> Result<Stepped, Error> {
        let run = self.right.run().0;
        self.filling = false;
        let mut tx = TenantsTx::begin_staging(self.database, [self.tenant], run).await?;
        let Some(at) = self.look(&mut tx).await? else { return Ok(Stepped::NotOurs) };
        let ours = match self.right {
            Right::SameVersion => at.version == read_model_version(),
            Right::Upgrade { .. } => at.version < read_model_version(),
        };
        match at.progress {
            // It was there, and came to its end: here or in another process.
            None if self.begun => Ok(Stepped::Done),
            None if !ours => Ok(Stepped::NotOurs),
            None => {
                if let Right::Upgrade { epoch } = self.right
                    && !forget_dead_letters(&mut tx, self.tenant, epoch).await?
                {
                    return Ok(Stepped::NotOurs);
                }
                run::make(tx.connection(), self.tenant, run, self.right.run().1).await?;
                tx.commit().await?;
                self.begun = true;
                Ok(Stepped::More(0))
            }
            Some(progress) if progress.is_ending() => self.drop_some(tx).await,
            Some(progress) if !ours || progress.is_of_no_use(&at) => self.give_up(tx).await,
            Some(progress) if progress.state == State::Done => match self.begun || self.leave_mark {
                true => Ok(Stepped::Done),
                // The mark of an earlier replay.
                false => self.restart(tx, at.mended).await,
            },
            Some(progress) if at.checkpoint - progress.seq > self.sizes.page => {
                self.fill(tx, &progress, at.checkpoint).await
            }
            Some(_) => self.swap(tx).await,
        }
    }

    /// Checkpoint and run, unlocked; `None` when there is no checkpoint and so no row.
    async fn look(&mut self, tx: &mut TenantsTx) -> Result<Option<At>, Error> {
        let row = sqlx::query(
            "select seq, version, mended from public.projection_checkpoints where tenant_id = $1 and group_name = $2",
        )
        .bind(self.tenant.0)
        .bind(READ_MODEL)
        .fetch_optional(tx.connection())
        .await?;
        let progress = run::load(tx.connection(), self.tenant, self.right.run().0, false).await?;
        if !self.begun {
            self.found = progress.as_ref().map_or(0, |it| it.seq);
        }
        self.begun |= progress.as_ref().is_some_and(|it| !matches!(it.state, State::Done | State::Dropping));
        let at = |row: sqlx::postgres::PgRow| -> Result<At, sqlx::Error> {
            let checkpoint = row.try_get::<i64, _>("seq")?.cast_unsigned();
            Ok(At { checkpoint, version: row.try_get("version")?, mended: row.try_get("mended")?, progress })
        };
        Ok(row.map(at).transpose()?)
    }

    /// After a step that failed with poison: makes the pages smaller, and when it is down to that event parks its stream.
    /// `false` when it was not an event that failed.
    pub(crate) async fn give_way(&mut self, error: &Error) -> Result<bool, Error> {
        if !std::mem::take(&mut self.filling) {
            return Ok(false);
        }
        if self.sizes.page > 1 {
            self.sizes.page /= 2;
            return Ok(true);
        }
        let run = self.right.run().0;
        let mut tx = TenantsTx::begin_staging(self.database, [self.tenant], run).await?;
        let checkpoint = lock_checkpoint(&mut tx, self.tenant, self.right).await?;
        let Some(progress) = run::load(tx.connection(), self.tenant, run, true).await?.filter(|_| checkpoint.is_some())
        else {
            return Ok(true);
        };
        let (events, _) = read_after(&mut tx, &[(self.tenant, progress.seq)], 1).await?;
        if let Some(event) = events.first() {
            dead_letters::insert(&mut tx, &event.place(), error).await?;
            tx.commit().await?;
            let place = event.place();
            let (tenant, stream, seq) = (place.tenant, place.stream, place.seq);
            let error = error as &dyn std::error::Error;
            tracing::error!(%tenant, %stream, seq, error, "an event cannot be projected; its stream is parked");
        }
        Ok(true)
    }

    /// Projects a page.
    async fn fill(&mut self, mut tx: TenantsTx, seen: &RunProgress, checkpoint: u64) -> Result<Stepped, Error> {
        let run = self.right.run().0;
        let Some(mut progress) = run::load(tx.connection(), self.tenant, run, true).await?.filter(|it| it == seen)
        else {
            return Ok(Stepped::More(0));
        };
        self.filling = true;
        progress.seq = run::fill(&mut tx, self.tenant, seen.seq, checkpoint, self.sizes.page).await?;
        self.filling = false;
        let events = progress.seq - seen.seq;
        if events == 0 {
            return Err(Error::LogEnds { checkpoint });
        }
        run::save(tx.connection(), self.tenant, run, &progress).await?;
        tx.commit().await?;
        CrashPoint::BetweenPages.reached();
        Ok(Stepped::More(events))
    }

    /// Replaces rows, at the number that the checkpoint has now and keeps meanwhile.
    async fn swap(&mut self, mut tx: TenantsTx) -> Result<Stepped, Error> {
        let (run, tenants) = (self.right.run().0, [self.tenant.0]);
        // The checkpoint first, here and everywhere.
        let Some((checkpoint, version, mended)) = lock_checkpoint(&mut tx, self.tenant, self.right).await? else {
            return Ok(Stepped::More(0));
        };
        let progress = run::load(tx.connection(), self.tenant, run, true).await?;
        let Some(mut progress) = progress.filter(|it| it.mended == mended) else {
            return Ok(Stepped::More(0));
        };
        let rest = checkpoint.checked_sub(progress.seq).filter(|rest| *rest <= self.sizes.page);
        let (Some(rest), true) = (rest, matches!(progress.state, State::Filling | State::Swapping)) else {
            return Ok(Stepped::More(0));
        };
        let before = progress.seq;
        self.filling = true;
        progress.seq = run::fill(&mut tx, self.tenant, before, checkpoint, self.sizes.page).await?;
        self.filling = false;
        if progress.seq < checkpoint {
            if progress.seq == before {
                return Err(Error::LogEnds { checkpoint });
            }
            // Large events: the page was full before its time.
            run::save(tx.connection(), self.tenant, run, &progress).await?;
            tx.commit().await?;
            return Ok(Stepped::More(progress.seq - before));
        }
        if matches!(self.right, Right::Upgrade { .. }) && version != MIXED {
            // Somebody has written all rows anew since.
            progress.swapped = Swapped::default();
        }
        compare_from_here(tx.connection()).await?;
        let whose = Whose { tenants: &tenants, run };
        let (slice_rows, most_rows) = match self.unsliced {
            true => (i64::MAX.cast_unsigned(), u64::MAX),
            false => (self.sizes.slice, self.sizes.swap),
        };
        let mut walk = Walk::from(self.statements, &progress.swapped, slice_rows, most_rows);
        let mut touched = 0;
        while let Some((statements, slice)) = walk.next(tx.connection(), whose).await? {
            match replace(tx.connection(), statements, whose, &slice).await {
                Ok(rows) => touched += rows,
                Err(error @ Error::Rows(_)) if !self.unsliced && slice.is_partial() => {
                    tracing::debug!(tenant = %self.tenant, %error, "all rows are replaced at once");
                    self.unsliced = true;
                    return Ok(Stepped::More(0));
                }
                Err(error) => return Err(error),
            }
        }
        match walk.place() {
            Some(place) => (progress.state, progress.swapped) = (State::Swapping, place),
            None => progress.state = State::Swapped,
        }
        if let Right::Upgrade { epoch } = self.right {
            let version = if progress.state == State::Swapped { read_model_version() } else { MIXED };
            set_version(&mut tx, self.tenant, epoch, version).await?;
            dead_letters::count(&mut tx, self.tenant).await?;
        }
        run::save(tx.connection(), self.tenant, run, &progress).await?;
        CrashPoint::BeforeSwapCommit.reached();
        tx.commit().await?;
        self.touched += touched;
        if progress.state == State::Swapped {
            return Ok(Stepped::Ending(rest));
        }
        CrashPoint::BetweenSwaps.reached();
        tokio::time::sleep(BETWEEN_SWAPS).await;
        Ok(Stepped::More(rest))
    }

    /// Drops some of the run's rows, and in the end the run.
    async fn drop_some(&self, mut tx: TenantsTx) -> Result<Stepped, Error> {
        let run = self.right.run().0;
        let Some(mut progress) = run::load(tx.connection(), self.tenant, run, true).await? else {
            return Ok(Stepped::More(0));
        };
        if !progress.is_ending() {
            return Ok(Stepped::More(0));
        }
        let empty = run::drop_some(tx.connection(), self.statements, self.tenant, run, self.sizes.swap).await?;
        if empty && self.leave_mark && progress.state == State::Swapped {
            progress.state = State::Done;
            run::save(tx.connection(), self.tenant, run, &progress).await?;
        } else if empty {
            run::forget(tx.connection(), self.tenant, run).await?;
        }
        tx.commit().await?;
        Ok(Stepped::Ending(0))
    }

    /// The run's rows are of no use.
    async fn give_up(&mut self, mut tx: TenantsTx) -> Result<Stepped, Error> {
        let run = self.right.run().0;
        if let Some(mut progress) = run::load(tx.connection(), self.tenant, run, true).await? {
            progress.state = State::Dropping;
            run::save(tx.connection(), self.tenant, run, &progress).await?;
            tx.commit().await?;
        }
        // When they are gone it begins again, if it is still ours.
        self.begun = false;
        Ok(Stepped::More(0))
    }

    async fn restart(&mut self, mut tx: TenantsTx, mended: i64) -> Result<Stepped, Error> {
        let run = self.right.run().0;
        if run::load(tx.connection(), self.tenant, run, true).await?.is_some_and(|it| it.state == State::Done) {
            run::save(tx.connection(), self.tenant, run, &RunProgress::fresh(mended)).await?;
            tx.commit().await?;
        }
        Ok(Stepped::More(0))
    }
}

/// The version of rows of which some are of an older version and some rebuilt: nobody but a rebuild goes on from them.
pub(crate) const MIXED: i32 = 0;

/// Locks a checkpoint that may be replaced; its number and version, and how often parked events were projected.
async fn lock_checkpoint(tx: &mut TenantsTx, tenant: TenantId, right: Right) -> Result<Option<(u64, i32, i64)>, Error> {
    let epoch = match right {
        Right::SameVersion => None,
        Right::Upgrade { epoch } => Some(epoch),
    };
    let found: Option<(i64, i32, i64)> = sqlx::query_as(
        "select c.seq, c.version, c.mended from public.projection_checkpoints c
         where c.tenant_id = $1 and c.group_name = $2
           and case when $4::bigint is null then c.version = $3
                    else c.version < $3 and exists (
                      select from public.leases l where l.work = $5 and l.shard = c.shard and l.epoch = $4) end
         for update of c",
    )
    .bind(tenant.0)
    .bind(READ_MODEL)
    .bind(read_model_version())
    .bind(epoch)
    .bind(Work::ReadModel.as_str())
    .fetch_optional(tx.connection())
    .await?;
    Ok(found.map(|(seq, version, mended)| (seq.cast_unsigned(), version, mended)))
}

/// A new version tries again what an older one could not project. Nobody goes on from the rows meanwhile. `false` when the
/// lease is gone. A stream whose event is discarded from a later number on stays parked until then.
async fn forget_dead_letters(tx: &mut TenantsTx, tenant: TenantId, epoch: i64) -> Result<bool, Error> {
    let Some((checkpoint, ..)) = lock_checkpoint(tx, tenant, Right::Upgrade { epoch }).await? else {
        return Ok(false);
    };
    let forgotten = dead_letters::forget(tx, &[(tenant, checkpoint)]).await?;
    if forgotten > 0 {
        set_version(tx, tenant, epoch, MIXED).await?;
    }
    Ok(true)
}

async fn set_version(tx: &mut TenantsTx, tenant: TenantId, epoch: i64, version: i32) -> Result<(), Error> {
    sqlx::query(
        "update public.projection_checkpoints set version = $3, epoch = $4 where tenant_id = $1 and group_name = $2",
    )
    .bind(tenant.0)
    .bind(READ_MODEL)
    .bind(version)
    .bind(epoch)
    .execute(tx.connection())
    .await?;
    Ok(())
}
