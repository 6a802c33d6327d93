//! What a tenant looked like at an earlier number of its log: rows that stay in staging until they are dropped.

use chrono::{DateTime, TimeDelta, Utc};
use domain::TenantId;
use sqlx::{AssertSqlSafe, Row as _};
use store::TenantsTx;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::run::{self, Purpose, RunProgress, State, Swapped};
use super::swap::{Walk, Whose};
use super::{Replay, TenantState};
use crate::Error;

/// Which moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// After the event of this number.
    Seq(u64),
    /// After the last event that was recorded then or before.
    Time(DateTime<Utc>),
}

/// Rows as they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsOf {
    /// The run under which they are.
    pub run: Uuid,
    /// Number of the last event that they reflect.
    pub seq: u64,
    /// How many there are in each table.
    pub rows: Vec<(&'static str, u64)>,
}

/// A run that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Whose rows.
    pub tenant: TenantId,
    /// Its name.
    pub run: Uuid,
    /// `replay`, `upgrade`, `verify` or `as_of`.
    pub purpose: String,
    /// Number of the last event that its rows reflect.
    pub seq: u64,
    /// Whether all rows are there.
    pub complete: bool,
    /// When it was begun.
    pub began_at: DateTime<Utc>,
}

impl Replay {
    /// The number of the last event at this point; `None` when the log is not that long.
    pub async fn number_of(&self, state: TenantState, point: Point) -> Result<Option<u64>, Error> {
        let time = match point {
            Point::Seq(seq) => return Ok(Some(seq).filter(|seq| *seq <= state.head)),
            // Times are stored in microseconds.
            Point::Time(time) => time + TimeDelta::microseconds(1),
        };
        let mut tx = TenantsTx::begin(&self.database, [state.tenant]).await?;
        let after: i64 = sqlx::query_scalar("select first_seq_since($1, $2, $3)")
            .bind(state.tenant.0)
            .bind(state.head.cast_signed())
            .bind(time)
            .fetch_one(tx.connection())
            .await?;
        tx.commit().await?;
        Ok(Some(after.cast_unsigned().saturating_sub(1)))
    }

    /// Builds the rows after the event `seq` and keeps them; `None` when it is stopped, and then nothing is left of them.
    /// `reached` is told how far it is.
    pub async fn as_of(
        &self,
        tenant: TenantId,
        seq: u64,
        reached: &(dyn Fn(u64) + Sync),
        stop: &CancellationToken,
    ) -> Result<Option<AsOf>, Error> {
        let run = Uuid::now_v7();
        match self.build(tenant, run, seq, reached, stop).await {
            Ok(true) => Ok(Some(AsOf { run, seq, rows: self.count(tenant, run).await? })),
            ended => {
                self.discard(tenant, run).await?;
                ended.map(|_| None)
            }
        }
    }

    /// Builds a run's rows; `false` when it is stopped.
    async fn build(
        &self,
        tenant: TenantId,
        run: Uuid,
        seq: u64,
        reached: &(dyn Fn(u64) + Sync),
        stop: &CancellationToken,
    ) -> Result<bool, Error> {
        let mut progress = self.begin(tenant, run).await?;
        while !stop.is_cancelled() {
            let mut tx = TenantsTx::begin_staging(&self.database, [tenant], run).await?;
            let before = progress.seq;
            progress.seq = run::fill(&mut tx, tenant, before, seq, self.sizes.page).await?;
            if progress.seq == before && before < seq {
                return Err(Error::LogEnds { checkpoint: seq });
            }
            // Asked last: what was left out of an earlier page and not of this one is seen.
            if run::mended(tx.connection(), tenant).await? != progress.mended {
                drop(tx);
                self.discard(tenant, run).await?;
                progress = self.begin(tenant, run).await?;
                continue;
            }
            if progress.seq == seq {
                progress.state = State::Done;
            }
            run::save(tx.connection(), tenant, run, &progress).await?;
            tx.commit().await?;
            reached(progress.seq);
            if progress.state == State::Done {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn begin(&self, tenant: TenantId, run: Uuid) -> Result<RunProgress, Error> {
        let mut tx = TenantsTx::begin_staging(&self.database, [tenant], run).await?;
        run::make(tx.connection(), tenant, run, Purpose::AsOf).await?;
        let mended = run::mended(tx.connection(), tenant).await?;
        tx.commit().await?;
        Ok(RunProgress::fresh(mended))
    }

    async fn count(&self, tenant: TenantId, run: Uuid) -> Result<Vec<(&'static str, u64)>, Error> {
        let mut tx = TenantsTx::begin_staging(&self.database, [tenant], run).await?;
        let mut rows = Vec::new();
        for it in self.statements.iter() {
            let count: i64 = sqlx::query_scalar(AssertSqlSafe(it.count.clone()))
                .bind(vec![tenant.0])
                .bind(run)
                .fetch_one(tx.connection())
                .await?;
            rows.push((it.table.name, count.cast_unsigned()));
        }
        tx.commit().await?;
        Ok(rows)
    }

    /// Tells each row of a run, table by table in the order of its key: the table's name and the row as JSON. Until the
    /// teller has had enough.
    pub async fn rows_of(
        &self,
        tenant: TenantId,
        run: Uuid,
        tell: &mut (dyn FnMut(&str, &str) -> bool + Send),
    ) -> Result<(), Error> {
        let tenants = [tenant.0];
        let whose = Whose { tenants: &tenants, run };
        let mut place = Some(Swapped::default());
        while let Some(from) = place {
            let mut tx = TenantsTx::begin_staging(&self.database, [tenant], run).await?;
            let mut walk = Walk::from(&self.statements, &from, self.sizes.slice, self.sizes.swap);
            while let Some((statements, slice)) = walk.next(tx.connection(), whose).await? {
                let rows = sqlx::query_scalar::<_, String>(AssertSqlSafe(statements.print.clone()))
                    .bind(whose.tenants)
                    .bind(run)
                    .bind(slice.after.as_deref())
                    .bind(slice.to.as_deref())
                    .persistent(false)
                    .fetch_all(tx.connection())
                    .await?;
                if !rows.iter().all(|row| tell(statements.table.name, row)) {
                    return Ok(());
                }
            }
            place = walk.place();
        }
        Ok(())
    }

    /// The runs of these tenants, marks of what is done aside.
    pub async fn runs(&self, states: &[TenantState]) -> Result<Vec<Kept>, Error> {
        let mut tx = TenantsTx::begin(&self.database, states.iter().map(|state| state.tenant)).await?;
        let rows = sqlx::query(
            "select tenant_id, run_id, purpose, seq, state = 'done' as complete, began_at from staging.progress
             where tenant_id = any($1) and (purpose = 'as_of' or state <> 'done') order by began_at",
        )
        .bind(states.iter().map(|state| state.tenant.0).collect::<Vec<_>>())
        .fetch_all(tx.connection())
        .await?;
        tx.commit().await?;
        let kept = |row: &sqlx::postgres::PgRow| -> Result<Kept, sqlx::Error> {
            Ok(Kept {
                tenant: TenantId(row.try_get("tenant_id")?),
                run: row.try_get("run_id")?,
                purpose: row.try_get("purpose")?,
                seq: row.try_get::<i64, _>("seq")?.cast_unsigned(),
                complete: row.try_get("complete")?,
                began_at: row.try_get("began_at")?,
            })
        };
        Ok(rows.iter().map(kept).collect::<Result<_, _>>()?)
    }

    /// Drops a run's rows and forgets it.
    pub async fn discard(&self, tenant: TenantId, run: Uuid) -> Result<(), Error> {
        run::discard(&self.database, &self.statements, tenant, run, self.sizes.swap).await
    }
}
