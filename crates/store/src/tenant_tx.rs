//! The only door to one tenant's rows.

use domain::{Actor, TenantId};
use sqlx::postgres::{PgConnection, PgPool, Postgres};
use sqlx::{AssertSqlSafe, Transaction};

use crate::error::is_connection_end;
use crate::log::OnCommit;
use crate::{ApiDatabase, Error};

/// Whose request this is: proof that somebody has checked it.
///
/// Made by [`TenantContext::authenticated`] alone, which `clippy.toml` bans everywhere but where credentials are
/// checked and in tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantContext {
    tenant: TenantId,
    actor: Actor,
}

impl TenantContext {
    /// The caller's credentials were checked and belong to this actor of this tenant.
    pub fn authenticated(tenant: TenantId, actor: Actor) -> Self {
        Self { tenant, actor }
    }

    /// The tenant that all rows will be stamped with.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Who is calling.
    pub fn actor(&self) -> Actor {
        self.actor
    }
}

/// A transaction that sees and writes the rows of one tenant; rolled back when dropped.
pub struct TenantTx {
    transaction: Transaction<'static, Postgres>,
    tenant: TenantId,
}

impl TenantTx {
    /// Begins; the tenant is set in the same round trip, before anything is planned.
    pub async fn begin(database: &ApiDatabase, context: &TenantContext) -> Result<Self, Error> {
        Self::begin_with(database, context.tenant(), "begin").await
    }

    /// Begins a transaction whose statements all see the same snapshot, for reads of several statements.
    pub async fn begin_snapshot(database: &ApiDatabase, context: &TenantContext) -> Result<Self, Error> {
        Self::begin_with(database, context.tenant(), "begin isolation level repeatable read read only").await
    }

    pub(crate) async fn begin_with(database: &ApiDatabase, tenant: TenantId, begin: &str) -> Result<Self, Error> {
        let _waiting = database.room_to_wait()?;
        Self::begin_on(&database.pool, tenant, begin).await
    }

    pub(crate) async fn begin_on(pool: &PgPool, tenant: TenantId, begin: &str) -> Result<Self, Error> {
        // The id is a Uuid: there is nothing to quote. One simple query, so one round trip.
        let sql = format!("{begin}; set local app.current_tenant_id = '{tenant}'");
        // All idle connections may have died with the server they were made to. Nothing has been done on them yet, and
        // each one that is found leaves the pool, so nobody needs to hear of it.
        let mut dead = 0;
        loop {
            #[expect(clippy::disallowed_methods, reason = "this is the door")]
            match pool.begin_with(AssertSqlSafe(sql.clone())).await {
                Ok(transaction) => return Ok(Self { transaction, tenant }),
                Err(error @ (sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed)) => return Err(error.into()),
                Err(error) if is_connection_end(&error) && dead < pool.options().get_max_connections() => dead += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The tenant whose rows are visible.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// The connection to run queries on. They name the tenant too (`tenant_id = $n`), so that the planner can
    /// estimate; row-level security is the check.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    /// Makes what was written durable.
    pub async fn commit(self) -> Result<(), Error> {
        Ok(self.transaction.commit().await?)
    }

    /// The same for what must not be done twice: when the connection is lost on the way, nobody knows whether it was done.
    pub(crate) async fn commit_unsure(self) -> Result<(), Error> {
        self.commit()
            .await
            .map_err(|error| if matches!(error, Error::Unavailable(_)) { Error::OutcomeUnknown } else { error })
    }

    /// The same for events, the last of which has the number `seq`: whoever waits for them hears of it.
    pub(crate) async fn commit_appended(self, on_commit: &OnCommit, seq: u64) -> Result<u64, Error> {
        let tenant = self.tenant;
        self.commit_unsure().await?;
        on_commit(&[(tenant, seq)]);
        Ok(seq)
    }
}
