//! A run: rows of one tenant that are built in the schema `staging`, page by page, and the row that says how far it is.

use domain::TenantId;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row as _};
use store::{ProjectorDatabase, TenantsTx};
use uuid::Uuid;

use super::statements::Statements;
use crate::apply::write_rows;
use crate::catch_up::read_after;
use crate::dead_letters::Skips;
use crate::logged::Logged;
use crate::{Error, READ_MODEL, read_model_version};

/// Why there is a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Rebuilding rows of the same version.
    Replay,
    /// Rebuilding rows of an older version.
    Upgrade,
    /// Comparing.
    Verify,
    /// Looking at the past.
    AsOf,
}

impl Purpose {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Upgrade => "upgrade",
            Self::Verify => "verify",
            Self::AsOf => "as_of",
        }
    }
}

/// What a run does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Reads on.
    Filling,
    /// Some of its rows are in the read tables already.
    Swapping,
    /// All of them are; they go.
    Swapped,
    /// Nothing.
    Done,
    /// Its rows are of no use; they go.
    Dropping,
}

impl State {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Filling => "filling",
            Self::Swapping => "swapping",
            Self::Swapped => "swapped",
            Self::Done => "done",
            Self::Dropping => "dropping",
        }
    }

    fn parse(text: &str) -> Self {
        // The column has a CHECK over the same names.
        let all = [Self::Filling, Self::Swapping, Self::Swapped, Self::Done];
        all.into_iter().find(|it| it.as_str() == text).unwrap_or(Self::Dropping)
    }
}

/// How far a run is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunProgress {
    /// Of the group that builds the rows.
    pub(crate) version: i32,
    pub(crate) state: State,
    /// Number of the last event that the rows reflect.
    pub(crate) seq: u64,
    /// How often parked events of the tenant had been projected when it began: its rows are of use as long as no more are.
    pub(crate) mended: i64,
    /// Up to where the read tables have its rows: a table's place in the registry, and a value of its key's first column.
    pub(crate) swapped: Swapped,
}

/// A place in the order in which rows are replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swapped {
    pub(crate) table: Option<String>,
    pub(crate) to: Option<String>,
}

impl RunProgress {
    /// Whether nothing but its staged rows is left to do.
    pub(crate) fn is_ending(&self) -> bool {
        matches!(self.state, State::Swapped | State::Dropping)
    }

    /// Of a run that has not begun.
    pub(crate) fn fresh(mended: i64) -> Self {
        Self { version: read_model_version(), state: State::Filling, seq: 0, mended, swapped: Swapped::default() }
    }
}

/// Reads how far a run is and, with `lock`, keeps others from changing it.
pub(crate) async fn load(
    connection: &mut PgConnection,
    tenant: TenantId,
    run: Uuid,
    lock: bool,
) -> Result<Option<RunProgress>, Error> {
    let sql = "select version, state, seq, mended, swapped_table, swapped_to from staging.progress
               where tenant_id = $1 and run_id = $2";
    let sql = if lock { format!("{sql} for update") } else { sql.to_owned() };
    let row = sqlx::query(AssertSqlSafe(sql)).bind(tenant.0).bind(run).fetch_optional(connection).await?;
    let progress = |row: sqlx::postgres::PgRow| -> Result<RunProgress, sqlx::Error> {
        Ok(RunProgress {
            version: row.try_get("version")?,
            state: State::parse(row.try_get("state")?),
            seq: row.try_get::<i64, _>("seq")?.cast_unsigned(),
            mended: row.try_get("mended")?,
            swapped: Swapped { table: row.try_get("swapped_table")?, to: row.try_get("swapped_to")? },
        })
    };
    Ok(row.map(progress).transpose()?)
}

/// Makes a run that is not there; whoever is second waits for the first.
pub(crate) async fn make(
    connection: &mut PgConnection,
    tenant: TenantId,
    run: Uuid,
    purpose: Purpose,
) -> Result<(), Error> {
    sqlx::query(
        "insert into staging.progress (tenant_id, run_id, purpose, version, state, mended)
         values ($1, $2, $3, $4, 'filling',
                 coalesce((select c.mended from public.projection_checkpoints c
                           where c.tenant_id = $1 and c.group_name = $5), 0))
         on conflict do nothing",
    )
    .bind(tenant.0)
    .bind(run)
    .bind(purpose.as_str())
    .bind(read_model_version())
    .bind(READ_MODEL)
    .execute(connection)
    .await?;
    Ok(())
}

/// How often parked events of the tenant were projected after all.
pub(crate) async fn mended(connection: &mut PgConnection, tenant: TenantId) -> Result<i64, Error> {
    let found: Option<i64> =
        sqlx::query_scalar("select mended from public.projection_checkpoints where tenant_id = $1 and group_name = $2")
            .bind(tenant.0)
            .bind(READ_MODEL)
            .fetch_optional(connection)
            .await?;
    Ok(found.unwrap_or(0))
}

/// Writes down how far it is; its row is locked.
pub(crate) async fn save(
    connection: &mut PgConnection,
    tenant: TenantId,
    run: Uuid,
    progress: &RunProgress,
) -> Result<(), Error> {
    sqlx::query(
        "update staging.progress
         set version = $3, state = $4, seq = $5, swapped_table = $6, swapped_to = $7, mended = $8,
             touched_at = clock_timestamp()
         where tenant_id = $1 and run_id = $2",
    )
    .bind(tenant.0)
    .bind(run)
    .bind(progress.version)
    .bind(progress.state.as_str())
    .bind(progress.seq.cast_signed())
    .bind(progress.swapped.table.as_deref())
    .bind(progress.swapped.to.as_deref())
    .bind(progress.mended)
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets a run whose rows are gone.
pub(crate) async fn forget(connection: &mut PgConnection, tenant: TenantId, run: Uuid) -> Result<(), Error> {
    sqlx::query("delete from staging.progress where tenant_id = $1 and run_id = $2")
        .bind(tenant.0)
        .bind(run)
        .execute(connection)
        .await?;
    Ok(())
}

/// Projects the events after `from`, at most `page` and none after `to`; answers the number of the last one.
pub(crate) async fn fill(tx: &mut TenantsTx, tenant: TenantId, from: u64, to: u64, page: u64) -> Result<u64, Error> {
    let most = page.min(to.saturating_sub(from));
    if most == 0 {
        return Ok(from);
    }
    let (events, _) = read_after(tx, &[(tenant, from)], most).await?;
    let skips = Skips::load(tx, &[(tenant, to)]).await?;
    write_rows(tx, &skips.read(&events)?).await?;
    Ok(events.last().map_or(from, Logged::seq))
}

/// Deletes at most `most` of the run's rows; answers whether there were fewer.
pub(crate) async fn drop_some(
    connection: &mut PgConnection,
    statements: &[Statements],
    tenant: TenantId,
    run: Uuid,
    most: u64,
) -> Result<bool, Error> {
    let mut left = most;
    for it in statements {
        let dropped = sqlx::query(AssertSqlSafe(it.drop_some.clone()))
            .bind(vec![tenant.0])
            .bind(run)
            .bind(left.cast_signed())
            .execute(&mut *connection)
            .await?;
        left = left.saturating_sub(dropped.rows_affected());
        if left == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Drops a run altogether, in several transactions.
pub(crate) async fn discard(
    database: &ProjectorDatabase,
    statements: &[Statements],
    tenant: TenantId,
    run: Uuid,
    most: u64,
) -> Result<(), Error> {
    loop {
        let mut tx = TenantsTx::begin_staging(database, [tenant], run).await?;
        let Some(mut progress) = load(tx.connection(), tenant, run, true).await? else { return Ok(()) };
        progress.state = State::Dropping;
        save(tx.connection(), tenant, run, &progress).await?;
        let empty = drop_some(tx.connection(), statements, tenant, run, most).await?;
        if empty {
            forget(tx.connection(), tenant, run).await?;
        }
        tx.commit().await?;
    }
}
