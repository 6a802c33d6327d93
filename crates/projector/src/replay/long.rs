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
    /// Number of the last event that was projected before an interruption.
    pub(crate) found: u64,
    /// Rows that were deleted or added in the read tables.
    pub(crate) touched: u64,
}

/// Where tenant and run are.
struct At {
    checkpoint: u64,
    version: i32,
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
        let (leave_mark, unsliced, begun) = (false, false, false);
        Self { database, statements, sizes, tenant, right, leave_mark, unsliced, begun, found: 0, touched: 0 }
    }

    /// A mark stays behind that it is done.
    pub(crate) fn leaving_a_mark(self) -> Self {
        Self { leave_mark: true, ..self }
    }

    /// One short transaction.
    pub(crate) async fn step(&mut self) -> Result<Stepped, Error> {
        let run = self.right.run().0;
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
                run::make(tx.connection(), self.tenant, run, self.right.run().1).await?;
                tx.commit().await?;
                self.begun = true;
                Ok(Stepped::More(0))
            }
            Some(progress) if progress.is_ending() => self.drop_some(tx).await,
            Some(progress) if !ours || progress.version != read_model_version() || progress.seq > at.checkpoint => {
                self.give_up(tx).await
            }
            Some(progress) if progress.state == State::Done => match self.begun || self.leave_mark {
                true => Ok(Stepped::Done),
                // The mark of an earlier replay.
                false => self.restart(tx).await,
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
            "select seq, version from public.projection_checkpoints where tenant_id = $1 and group_name = $2",
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
            Ok(At { checkpoint, version: row.try_get("version")?, progress })
        };
        Ok(row.map(at).transpose()?)
    }

    /// Projects a page.
    async fn fill(&self, mut tx: TenantsTx, seen: &RunProgress, checkpoint: u64) -> Result<Stepped, Error> {
        let run = self.right.run().0;
        let Some(mut progress) = run::load(tx.connection(), self.tenant, run, true).await?.filter(|it| it == seen)
        else {
            return Ok(Stepped::More(0));
        };
        progress.seq = run::fill(&mut tx, self.tenant, seen.seq, checkpoint, self.sizes.page).await?;
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
        let Some((checkpoint, version)) = lock_checkpoint(&mut tx, self.tenant, self.right).await? else {
            return Ok(Stepped::More(0));
        };
        let Some(mut progress) = run::load(tx.connection(), self.tenant, run, true).await? else {
            return Ok(Stepped::More(0));
        };
        let rest = checkpoint.checked_sub(progress.seq).filter(|rest| *rest <= self.sizes.page);
        let (Some(rest), true) = (rest, matches!(progress.state, State::Filling | State::Swapping)) else {
            return Ok(Stepped::More(0));
        };
        let before = progress.seq;
        progress.seq = run::fill(&mut tx, self.tenant, before, checkpoint, self.sizes.page).await?;
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

    async fn restart(&mut self, mut tx: TenantsTx) -> Result<Stepped, Error> {
        let run = self.right.run().0;
        if run::load(tx.connection(), self.tenant, run, true).await?.is_some_and(|it| it.state == State::Done) {
            run::save(tx.connection(), self.tenant, run, &RunProgress::fresh()).await?;
            tx.commit().await?;
        }
        Ok(Stepped::More(0))
    }
}

/// The version of rows of which some are of an older version and some rebuilt: nobody but a rebuild goes on from them.
pub(crate) const MIXED: i32 = 0;

/// Locks a checkpoint that may be replaced; its number and version.
async fn lock_checkpoint(tx: &mut TenantsTx, tenant: TenantId, right: Right) -> Result<Option<(u64, i32)>, Error> {
    let epoch = match right {
        Right::SameVersion => None,
        Right::Upgrade { epoch } => Some(epoch),
    };
    let found: Option<(i64, i32)> = sqlx::query_as(
        "select c.seq, c.version from public.projection_checkpoints c
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
    Ok(found.map(|(seq, version)| (seq.cast_unsigned(), version)))
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
