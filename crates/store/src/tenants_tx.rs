//! A transaction over the rows of several named tenants, for the projector.

use domain::TenantId;
use sqlx::postgres::{PgConnection, Postgres};
use sqlx::{AssertSqlSafe, Transaction};
use uuid::Uuid;

use crate::{Error, ProjectorDatabase};

/// Sees and writes the read tables of the tenants it was begun with; rolled back when dropped.
pub struct TenantsTx {
    transaction: Transaction<'static, Postgres>,
}

impl TenantsTx {
    /// Begins for these tenants. Its commit does not wait for the disk: rows and checkpoint fall back together in a
    /// crash and catch up from the log.
    pub async fn begin(
        database: &ProjectorDatabase,
        tenants: impl IntoIterator<Item = TenantId>,
    ) -> Result<Self, Error> {
        Self::begin_with(database, "begin", tenants, "").await
    }

    /// Begins for the rows of one run in the schema `staging`, which are all that an unqualified name means then: a table
    /// without a twin is an error, never a write to the table that is read.
    pub async fn begin_staging(
        database: &ProjectorDatabase,
        tenants: impl IntoIterator<Item = TenantId>,
        run: Uuid,
    ) -> Result<Self, Error> {
        Self::begin_with(database, "begin", tenants, &staging(run)).await
    }

    /// The same, and what was there before is seen as it was at one moment.
    pub async fn begin_staging_snapshot(
        database: &ProjectorDatabase,
        tenants: impl IntoIterator<Item = TenantId>,
        run: Uuid,
    ) -> Result<Self, Error> {
        Self::begin_with(database, "begin isolation level repeatable read", tenants, &staging(run)).await
    }

    async fn begin_with(
        database: &ProjectorDatabase,
        begin: &str,
        tenants: impl IntoIterator<Item = TenantId>,
        more: &str,
    ) -> Result<Self, Error> {
        let ids: Vec<String> = tenants.into_iter().map(|tenant| tenant.to_string()).collect();
        let sql = format!(
            "{begin}; set local synchronous_commit = off; set local app.current_tenant_ids = '{{{}}}'{more}",
            ids.join(",")
        );
        #[expect(clippy::disallowed_methods, reason = "this is the door")]
        let transaction = database.pool.begin_with(AssertSqlSafe(sql)).await?;
        Ok(Self { transaction })
    }

    /// The connection to run queries on.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    /// Makes rows and checkpoints visible together.
    pub async fn commit(self) -> Result<(), Error> {
        Ok(self.transaction.commit().await?)
    }
}

/// Rows are found by their keys alone: the twins have no statistics that a plan could rely on, and grow while it lives.
fn staging(run: Uuid) -> String {
    format!(
        "; set local search_path = staging; set local app.current_run_id = '{run}'; set local enable_seqscan = off; \
         set local enable_hashjoin = off; set local enable_mergejoin = off"
    )
}
