//! Pools of connections, one type per role, so that no code holds a connection that may do more than it needs.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Connection as _, Executor as _};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::Error;
use crate::migrate::check_schema;
use crate::pool_meter::{PoolMeter, PoolUse};
use crate::role_check::{check_durable, check_one_tenant, check_role};

/// How to reach the database as one role.
#[derive(Clone, Debug)]
pub struct ConnectionSettings {
    pub(crate) options: PgConnectOptions,
    pub(crate) max_connections: u32,
}

impl ConnectionSettings {
    /// Longest wait of relay and projector for a free connection: they have time.
    pub const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

    /// Reads a URL; `variable` is the setting it came from, for the error.
    pub fn from_url(variable: &'static str, url: &str, max_connections: u32) -> Result<Self, Error> {
        let options = PgConnectOptions::from_str(url).map_err(|source| Error::Url { variable, source })?;
        Ok(Self { options: options.options([("jit", "off")]), max_connections })
    }

    /// The same server and database as another role.
    pub fn as_role(&self, role: &str, password: &str, max_connections: u32) -> Self {
        Self { options: self.options.clone().username(role).password(password), max_connections }
    }

    /// With another number of connections.
    #[must_use]
    pub fn with_connections(self, max_connections: u32) -> Self {
        Self { max_connections, ..self }
    }

    /// For whoever reads logs page by page. Their index gives events in order; a bitmap would be made of the whole rest of
    /// the log and sorted for each page, which a planner that has no statistics yet prefers.
    fn reading_in_order(self) -> Self {
        Self { options: self.options.options([("enable_bitmapscan", "off")]), ..self }
    }

    /// For whoever is waited for. A plan that was made while a table was empty stays until the table is analysed, and would
    /// read the whole of it meanwhile.
    fn by_index(self) -> Self {
        Self { options: self.options.options([("enable_seqscan", "off")]), ..self }
    }

    /// Opens a pool after checking that the role may not do more than it must.
    async fn connect(&self, name: &str, acquire_timeout: Duration) -> Result<PgPool, Error> {
        let options = self.options.clone().application_name(name);
        let mut connection = sqlx::PgConnection::connect_with(&options).await?;
        check_role(&mut connection).await?;
        check_schema(&mut connection).await?;
        connection.close().await?;
        Ok(self.pool(name, acquire_timeout))
    }

    fn pool(&self, name: &str, acquire_timeout: Duration) -> PgPool {
        PgPoolOptions::new()
            .max_connections(self.max_connections)
            .acquire_timeout(acquire_timeout)
            .test_before_acquire(false)
            // A cancelled `begin` leaves its transaction open on the connection, and whoever borrows it next would
            // be answered for writes that are never committed. With `begin` first there is no warning when there
            // is nothing to roll back.
            .after_release(|connection, _| {
                Box::pin(async move { connection.execute("begin; rollback").await.map(|_| true) })
            })
            .connect_lazy_with(self.options.clone().application_name(name))
    }
}

macro_rules! database {
    ($(#[$doc:meta])* $name:ident, $role:literal, $application:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
            pub(crate) pool: PgPool,
        }

        impl $name {
            /// Connects; refuses a role that fails [`check_role`].
            pub async fn connect(settings: ConnectionSettings) -> Result<Self, Error> {
                let settings = settings.reading_in_order();
                Ok(Self { pool: settings.connect($application, ConnectionSettings::ACQUIRE_TIMEOUT).await? })
            }

            /// The gauges of its pool.
            pub fn pool_meter(&self) -> PoolMeter {
                PoolMeter::new($role, self.pool.clone())
            }

            /// Ends all connections.
            pub async fn close(&self) {
                self.pool.close().await;
            }
        }
    };
}

database!(
    /// The database as the projector's role: the read tables of the tenants it names.
    ProjectorDatabase,
    "projector",
    "convolog-projector"
);
database!(
    /// The database as the relay's role: reads the log of all tenants, writes its cursors.
    RelayDatabase,
    "relay",
    "convolog-relay"
);

/// The database as the API's role: one tenant at a time.
#[derive(Clone, Debug)]
pub struct ApiDatabase {
    pub(crate) pool: PgPool,
    /// One connection that requests cannot take: whether this process is well is found out however busy it is.
    pub(crate) checks: PgPool,
    waiting: Arc<Semaphore>,
}

impl ApiDatabase {
    /// Longest wait for a free connection. Somebody waits for the answer meanwhile, and is better told to come back.
    pub const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(1);
    /// Who may wait for a connection at the same time: what a pool of 16 does within about [`Self::ACQUIRE_TIMEOUT`].
    pub const MAX_WAITING: usize = 512;

    /// Connects; refuses a role that fails [`check_role`].
    pub async fn connect(settings: ConnectionSettings) -> Result<Self, Error> {
        let settings = settings.by_index();
        let pool = settings.connect("convolog-api", Self::ACQUIRE_TIMEOUT).await?;
        let checks = settings.with_connections(1).pool("convolog-check", Self::ACQUIRE_TIMEOUT);
        Ok(Self::of(pool, checks))
    }

    fn of(pool: PgPool, checks: PgPool) -> Self {
        Self { pool, checks, waiting: Arc::new(Semaphore::new(Self::MAX_WAITING)) }
    }

    /// The gauges of its pool.
    pub fn pool_meter(&self) -> PoolMeter {
        PoolMeter::new("api", self.pool.clone())
    }

    /// How full its pool is.
    pub fn pool_use(&self) -> PoolUse {
        PoolUse::of(&self.pool)
    }

    /// Room to wait for a connection, given back when dropped; [`Error::Overloaded`] when too many wait already.
    pub(crate) fn room_to_wait(&self) -> Result<SemaphorePermit<'_>, Error> {
        self.waiting.try_acquire().map_err(|_full| Error::Overloaded)
    }

    /// Ends all connections.
    pub async fn close(&self) {
        self.checks.close().await;
        self.pool.close().await;
    }
}

impl RelayDatabase {
    /// The pool itself: the relay's role is not bound to a tenant, what it may reach is bound by its policies.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }
}

impl ProjectorDatabase {
    /// The pool itself, for what is not a tenant's: leases and what is behind. Tenant rows are reached through
    /// [`crate::TenantsTx`]; without it row-level security shows none.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }
}

impl ApiDatabase {
    /// Checks on a live connection that the role is still harmless, that its policies are about the current tenant, that
    /// a tenant that does not exist, and no tenant at all, see nothing, and that commits wait for the disk.
    pub async fn self_check(&self) -> Result<(), Error> {
        let canary = domain::TenantId(uuid::Uuid::now_v7());
        let mut tx = crate::TenantTx::begin_on(&self.checks, canary, "begin read only").await?;
        check_role(tx.connection()).await?;
        check_one_tenant(tx.connection()).await?;
        check_durable(tx.connection()).await?;
        let leak = "select exists (select from events) or exists (select from users)";
        let seen: bool = sqlx::query_scalar(leak).fetch_one(tx.connection()).await?;
        tx.commit().await?;
        let seen_without: bool = sqlx::query_scalar(leak).fetch_one(&self.checks).await?;
        if seen || seen_without {
            let reason = "a tenant that does not exist sees rows".to_owned();
            return Err(Error::UnsafeRole { role: "convolog_api".to_owned(), reason });
        }
        Ok(())
    }

    /// How far `group` is for these tenants; tenants without a checkpoint are missing.
    pub async fn checkpoints(
        &self,
        group: &str,
        tenants: &[domain::TenantId],
    ) -> Result<Vec<(domain::TenantId, u64)>, Error> {
        let ids: Vec<_> = tenants.iter().map(|tenant| tenant.0).collect();
        let rows: Vec<(uuid::Uuid, i64)> = sqlx::query_as("select tenant_id, seq from checkpoints_of($1, $2)")
            .bind(group)
            .bind(ids)
            .fetch_all(&self.pool)
            .await?;
        Ok(rows.into_iter().map(|(tenant, seq)| (domain::TenantId(tenant), seq.cast_unsigned())).collect())
    }

    /// Where the logs of these tenants end; a tenant without a log is missing.
    pub async fn heads(&self, tenants: &[domain::TenantId]) -> Result<Vec<(domain::TenantId, u64)>, Error> {
        let ids: Vec<_> = tenants.iter().map(|tenant| tenant.0).collect();
        let rows: Vec<(uuid::Uuid, i64)> =
            sqlx::query_as("select tenant_id, seq from heads_of($1)").bind(ids).fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(|(tenant, seq)| (domain::TenantId(tenant), seq.cast_unsigned())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TenantTx;

    #[tokio::test]
    async fn who_would_wait_behind_too_many_for_a_connection_is_refused_at_once() {
        // Nobody answers there: whoever has room to wait does.
        let settings = ConnectionSettings::from_url("URL", "postgres://nobody@127.0.0.1:1/none", 1).unwrap();
        let pool = settings.pool("test", Duration::from_secs(60));
        let database = ApiDatabase::of(pool.clone(), pool);
        let begin = async || {
            let begun = TenantTx::begin_with(&database, domain::TenantId(uuid::Uuid::nil()), "begin");
            tokio::time::timeout(Duration::ZERO, begun).await
        };
        let mut waiting: Vec<_> = (0..ApiDatabase::MAX_WAITING).map(|_| database.room_to_wait().unwrap()).collect();
        assert!(matches!(begin().await, Ok(Err(Error::Overloaded))));
        waiting.pop();
        assert!(begin().await.is_err());
    }
}
