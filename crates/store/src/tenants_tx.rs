//! A transaction over the rows of several named tenants, for the projector.

use domain::TenantId;
use sqlx::postgres::{PgConnection, Postgres};
use sqlx::{AssertSqlSafe, Transaction};

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
        let ids: Vec<String> = tenants.into_iter().map(|tenant| tenant.to_string()).collect();
        let sql = format!(
            "begin; set local synchronous_commit = off; set local app.current_tenant_ids = '{{{}}}'",
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
