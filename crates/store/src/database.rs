//! Pools of connections, one type per role, so that no code holds a connection that may do more than it needs.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Connection as _, Executor as _};

use crate::Error;
use crate::pool_meter::{PoolMeter, PoolUse};
use crate::role_check::{check_one_tenant, check_role};

/// How to reach the database as one role.
#[derive(Clone, Debug)]
pub struct ConnectionSettings {
    pub(crate) options: PgConnectOptions,
    pub(crate) max_connections: u32,
}

impl ConnectionSettings {
    /// Longest wait for a free connection.
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

    /// Opens a pool after checking that the role may not do more than it must.
    async fn connect(&self, name: &str) -> Result<PgPool, Error> {
        let options = self.options.clone().application_name(name);
        let mut connection = sqlx::PgConnection::connect_with(&options).await?;
        check_role(&mut connection).await?;
        connection.close().await?;
        let pool = PgPoolOptions::new()
            .max_connections(self.max_connections)
            .acquire_timeout(Self::ACQUIRE_TIMEOUT)
            .test_before_acquire(false)
            // A cancelled `begin` leaves its transaction open on the connection, and whoever borrows it next would
            // be answered for writes that are never committed. With `begin` first there is no warning when there
            // is nothing to roll back.
            .after_release(|connection, _| {
                Box::pin(async move { connection.execute("begin; rollback").await.map(|_| true) })
            })
            .connect_lazy_with(options);
        Ok(pool)
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
                Ok(Self { pool: settings.connect($application).await? })
            }

            /// The gauges of its pool.
            pub fn pool_meter(&self) -> PoolMeter {
                PoolMeter::new($role, self.pool.clone())
            }

            /// How full its pool is.
            pub fn pool_use(&self) -> PoolUse {
                PoolUse::of(&self.pool)
            }

            /// Ends all connections.
            pub async fn close(&self) {
                self.pool.close().await;
            }
        }
    };
}

database!(
    /// The database as the API's role: one tenant at a time.
    ApiDatabase,
    "api",
    "convolog-api"
);
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
    /// Checks on a live connection that the role is still harmless, that its policies are about the current tenant, and
    /// that a tenant that does not exist, and no tenant at all, see nothing.
    pub async fn self_check(&self) -> Result<(), Error> {
        let canary = domain::TenantId(uuid::Uuid::now_v7());
        let mut tx = crate::TenantTx::begin_with(self, canary, "begin read only").await?;
        check_role(tx.connection()).await?;
        check_one_tenant(tx.connection()).await?;
        let leak = "select exists (select from events) or exists (select from users)";
        let seen: bool = sqlx::query_scalar(leak).fetch_one(tx.connection()).await?;
        tx.commit().await?;
        let seen_without: bool = sqlx::query_scalar(leak).fetch_one(&self.pool).await?;
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
}
