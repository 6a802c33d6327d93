//! Brings a database up to today's schema: roles, rights, then the numbered migrations.

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, SqlSafeStr as _};

use crate::{ConnectionSettings, Error};

/// Passwords of the roles that log in.
#[derive(Clone)]
pub struct RolePasswords {
    /// Of `convolog_api`.
    pub api: String,
    /// Of `convolog_projector`.
    pub projector: String,
    /// Of `convolog_relay`.
    pub relay: String,
}

impl RolePasswords {
    /// Each role with its password.
    pub fn all(&self) -> [(&'static str, &str); 3] {
        [
            ("convolog_api", self.api.as_str()),
            ("convolog_projector", self.projector.as_str()),
            ("convolog_relay", self.relay.as_str()),
        ]
    }
}

const ROLES: &str = include_str!("../../../migrations/roles.sql");

const MIGRATIONS: [(i64, &str, &str); 11] = [
    (1, "tenancy", include_str!("../../../migrations/0001_tenancy.sql")),
    (2, "log", include_str!("../../../migrations/0002_log.sql")),
    (3, "members", include_str!("../../../migrations/0003_members.sql")),
    (4, "progress", include_str!("../../../migrations/0004_progress.sql")),
    (5, "sessions", include_str!("../../../migrations/0005_sessions.sql")),
    (6, "monitoring", include_str!("../../../migrations/0006_monitoring.sql")),
    (7, "stream", include_str!("../../../migrations/0007_stream.sql")),
    (8, "ledger", include_str!("../../../migrations/0008_ledger.sql")),
    (9, "staging", include_str!("../../../migrations/0009_staging.sql")),
    (10, "tenant_plan", include_str!("../../../migrations/0010_tenant_plan.sql")),
    (12, "dead_letters", include_str!("../../../migrations/0012_dead_letters.sql")),
];

/// Migrates the administrator's database and lets these runtime roles log in with these passwords; a role that is not
/// among them keeps its log-in as it is. Safe to run again and by several at once; refuses a database that a newer
/// version has migrated.
pub async fn migrate(administrator: &ConnectionSettings, passwords: &[(&str, &str)]) -> Result<(), Error> {
    let mut connection = prepare_cluster_and_database(administrator).await?;
    for (role, password) in passwords {
        let sql: String = sqlx::query_scalar("select format('alter role %I login password %L', $1, $2)")
            .bind(role)
            .bind(password)
            .fetch_one(&mut connection)
            .await?;
        retry_concurrent_update(&mut connection, &sql).await?;
    }
    // Objects belong to a role that nobody logs in as.
    connection.execute("set role convolog_owner").await?;
    let migrations = MIGRATIONS.map(|(version, name, sql)| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    });
    let migrated = Migrator::with_migrations(migrations.into()).run(&mut connection).await;
    migrated.map_err(Error::Migrate)?;
    Ok(connection.close().await?)
}

/// Creates the roles and sets the rights on this database: what neither a numbered migration nor a template carries.
pub async fn prepare_cluster_and_database(administrator: &ConnectionSettings) -> Result<PgConnection, Error> {
    let mut connection = administrator.options.clone().application_name("convolog-migrate").connect().await?;
    connection.execute("set client_min_messages = warning").await?;
    retry_concurrent_update(&mut connection, ROLES).await?;
    Ok(connection)
}

/// Roles are shared by all databases of a cluster; PostgreSQL answers XX000 "tuple concurrently updated" or 23505 when two change one at
/// the same moment.
async fn retry_concurrent_update(connection: &mut PgConnection, sql: &str) -> Result<(), Error> {
    for _ in 0..20 {
        let result = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await;
        let concurrent = match &result {
            Ok(_) => return Ok(()),
            Err(error) => {
                error.as_database_error().and_then(|e| e.code()).is_some_and(|c| c == "XX000" || c == "23505")
            }
        };
        if !concurrent {
            result?;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await?;
    Ok(())
}

/// Creates a database unless it is there; `administrator` is connected to another one of the cluster.
pub async fn ensure_database(administrator: &ConnectionSettings, name: &str) -> Result<(), Error> {
    let mut connection = administrator.options.connect().await?;
    let sql: Option<String> = sqlx::query_scalar(
        "select format('create database %I', $1) where not exists (select from pg_database where datname = $1)",
    )
    .bind(name)
    .fetch_optional(&mut connection)
    .await?;
    if let Some(sql) = sql {
        connection.execute(AssertSqlSafe(sql)).await?;
    }
    Ok(connection.close().await?)
}
