//! Rebuilding the read tables from the log while they are read and written: in the schema `staging`, then swapped in.
//!
//! `statements` makes the SQL from the catalog, `run` fills a run's rows, `swap` replaces the rows that are read; `batch` does
//! that for many short logs at once, `long` for a long one in steps; `all` goes through the tenants, `upgrade` through those
//! whose rows are of an older version; `verify` compares and replaces nothing, `as_of` keeps the rows of an earlier number.

mod all;
mod as_of;
mod batch;
mod long;
pub(crate) mod patience;
mod run;
mod statements;
mod swap;
mod upgrade;
mod verify;

use std::num::NonZeroU32;
use std::sync::Arc;

use domain::TenantId;
use sqlx::Row as _;
use store::{ProjectorDatabase, TenantsTx};
use uuid::Uuid;

pub use all::{Counters, Failure};
pub use as_of::{AsOf, Kept, Point};
pub(crate) use upgrade::Upgrade;
pub use verify::{Difference, Sink, Verified};

use crate::{Error, READ_MODEL};
use patience::patiently;
use statements::Statements;

/// The runs that any process may take up, one of each per tenant.
const REPLAY: Uuid = Uuid::from_u128(1);
const UPGRADE: Uuid = Uuid::from_u128(2);

/// Seconds after which a run that is to go belongs to no process any more: each transaction touches it, and has 5 s.
const ABANDONED_AFTER: i32 = 60;

/// Workers when nothing is said: a second one makes a rebuild faster and, where it takes the last free core, commands slower.
pub const DEFAULT_WORKERS: NonZeroU32 = NonZeroU32::MIN;

/// How much is done in one transaction; the defaults keep each far below its 5 s, on a slow machine too.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Most events; a log that is longer is rebuilt alone, in several transactions.
    pub page: u64,
    /// Most tenants.
    pub tenants: usize,
    /// Rows of a table that are replaced by one statement.
    pub slice: u64,
    /// Most rows that are looked at to be replaced.
    pub swap: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { page: 4_000, tenants: 200, slice: 5_000, swap: 20_000 }
    }
}

/// Rebuilds, compares and looks back, with the projector's role.
#[derive(Clone)]
pub struct Replay {
    database: ProjectorDatabase,
    statements: Arc<Vec<Statements>>,
    sizes: Sizes,
}

/// How far a tenant's log and rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantState {
    /// Who.
    pub tenant: TenantId,
    /// Number of the last event in its log.
    pub head: u64,
    /// Number that its rows reflect, and version of the group that wrote them; `None` before the first.
    pub checkpoint: Option<(u64, i32)>,
}

impl Replay {
    /// Looks the tables up.
    pub async fn new(database: ProjectorDatabase, sizes: Sizes) -> Result<Self, Error> {
        // Tables are looked up in the catalog: it belongs to no tenant.
        let mut tx = TenantsTx::begin(&database, []).await?;
        let statements = Arc::new(statements::load(tx.connection()).await?);
        tx.commit().await?;
        Ok(Self { database, statements, sizes })
    }

    /// A tenant's state, if there is such a tenant.
    pub async fn tenant(&self, tenant: TenantId) -> Result<Option<TenantState>, Error> {
        let mut tx = TenantsTx::begin(&self.database, [tenant]).await?;
        let row = sqlx::query(
            "select h.tenant_id, h.seq as head, c.seq, c.version from tenant_heads h
             left join projection_checkpoints c on c.tenant_id = h.tenant_id and c.group_name = $2
             where h.tenant_id = $1",
        )
        .bind(tenant.0)
        .bind(READ_MODEL)
        .fetch_optional(tx.connection())
        .await?;
        tx.commit().await?;
        Ok(row.as_ref().map(state).transpose()?)
    }

    /// Drops what processes that have ended have left behind of these tenants.
    async fn tidy(&self, states: &[TenantState]) -> Result<(), Error> {
        let mut tx = TenantsTx::begin(&self.database, states.iter().map(|state| state.tenant)).await?;
        let left: Vec<(Uuid, Uuid)> = sqlx::query_as(
            "select tenant_id, run_id from staging.progress
             where tenant_id = any($1) and (purpose = 'verify' or state in ('swapped', 'dropping'))
               and touched_at < clock_timestamp() - $2 * interval '1 second'",
        )
        .bind(states.iter().map(|state| state.tenant.0).collect::<Vec<_>>())
        .bind(ABANDONED_AFTER)
        .fetch_all(tx.connection())
        .await?;
        tx.commit().await?;
        for (tenant, run) in left {
            run::discard(&self.database, &self.statements, TenantId(tenant), run, self.sizes.swap).await?;
        }
        Ok(())
    }

    /// The next tenants in the order of their ids.
    pub async fn tenants_after(&self, after: Uuid, limit: i32) -> Result<Vec<TenantState>, Error> {
        let rows = patiently(async || {
            let sql = sqlx::query("select tenant_id, head, seq, version from tenants_after($1, $2, $3)");
            Ok(sql.bind(READ_MODEL).bind(after).bind(limit).fetch_all(self.database.pool()).await?)
        })
        .await?;
        Ok(rows.iter().map(state).collect::<Result<_, _>>()?)
    }
}

fn state(row: &sqlx::postgres::PgRow) -> Result<TenantState, sqlx::Error> {
    let checkpoint = match (row.try_get::<Option<i64>, _>("seq")?, row.try_get("version")?) {
        (Some(seq), Some(version)) => Some((seq.cast_unsigned(), version)),
        _ => None,
    };
    let head = row.try_get::<i64, _>("head")?.cast_unsigned();
    Ok(TenantState { tenant: TenantId(row.try_get("tenant_id")?), head, checkpoint })
}
