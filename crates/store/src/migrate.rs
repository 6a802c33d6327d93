//! Brings a database up to today's schema: roles, rights, then the numbered migrations.

use std::cmp::Ordering;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
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
    /// All of them, to let them log in.
    pub fn logins(&self) -> [RoleLogin; 3] {
        [("convolog_api", &self.api), ("convolog_projector", &self.projector), ("convolog_relay", &self.relay)]
            .map(|(role, password)| RoleLogin { role, password: Some(password.clone()) })
    }
}

/// A role that logs in.
#[derive(Clone)]
pub struct RoleLogin {
    /// Its name.
    pub role: &'static str,
    /// `None`: the server lets it in by other means.
    pub password: Option<String>,
}

/// What [`migrate`] has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// Version of the schema.
    pub version: i64,
    /// Migrations that were run.
    pub run: usize,
}

/// Version of the schema that this program works with: its last migration.
pub const SCHEMA_VERSION: i64 = MIGRATIONS[MIGRATIONS.len() - 1].0;

const ROLES: &str = include_str!("../../../migrations/roles.sql");

const MIGRATIONS: [(i64, &str, &str); 22] = [
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
    (11, "lease_holders", include_str!("../../../migrations/0011_lease_holders.sql")),
    (12, "dead_letters", include_str!("../../../migrations/0012_dead_letters.sql")),
    (13, "relay_rewind", include_str!("../../../migrations/0013_relay_rewind.sql")),
    (14, "sign_ins", include_str!("../../../migrations/0014_sign_ins.sql")),
    (15, "members", include_str!("../../../migrations/0015_members.sql")),
    (16, "signing_keys", include_str!("../../../migrations/0016_signing_keys.sql")),
    (17, "api_keys", include_str!("../../../migrations/0017_api_keys.sql")),
    (18, "cookies", include_str!("../../../migrations/0018_cookies.sql")),
    (19, "accounts", include_str!("../../../migrations/0019_accounts.sql")),
    (20, "renewed_cookies", include_str!("../../../migrations/0020_renewed_cookies.sql")),
    (21, "plain_batches", include_str!("../../../migrations/0021_plain_batches.sql")),
    (22, "last_commit", include_str!("../../../migrations/0022_last_commit.sql")),
];

/// Migrates the administrator's database and lets these runtime roles log in; a role that is not among them keeps its
/// log-in as it is. Safe to run again and by several at once; refuses a database that a newer version has migrated.
pub async fn migrate(administrator: &ConnectionSettings, logins: &[RoleLogin]) -> Result<Migrated, Error> {
    let mut connection = prepare_cluster_and_database(administrator).await?;
    for RoleLogin { role, password } in logins {
        let sql: String =
            sqlx::query_scalar("select format('alter role %I login' || coalesce(format(' password %L', $2), ''), $1)")
                .bind(role)
                .bind(password)
                .fetch_one(&mut connection)
                .await?;
        retry_concurrent_update(&mut connection, &sql).await?;
    }
    // Objects belong to a role that nobody logs in as.
    connection.execute("set role convolog_owner").await?;
    let before = applied(&mut connection).await?;
    let migrations = MIGRATIONS.map(|(version, name, sql)| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    });
    let migrated = Migrator::with_migrations(migrations.into()).run(&mut connection).await;
    if let Err(error) = migrated {
        let newer = if let MigrateError::VersionMissing(found) = error { Some(found) } else { None };
        return Err(newer.map_or(Error::Migrate(error), |found| Error::NewerSchema { found, known: SCHEMA_VERSION }));
    }
    connection.close().await?;
    Ok(Migrated { version: SCHEMA_VERSION, run: MIGRATIONS.len().saturating_sub(before) })
}

/// How many migrations have run.
async fn applied(connection: &mut PgConnection) -> Result<usize, Error> {
    let there: bool =
        sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null").fetch_one(&mut *connection).await?;
    if !there {
        return Ok(0);
    }
    let count: i64 = sqlx::query_scalar("select count(*) from _sqlx_migrations").fetch_one(connection).await?;
    Ok(usize::try_from(count).unwrap_or_default())
}

/// Refuses a schema of another version than this program's.
pub(crate) async fn check_schema(connection: &mut PgConnection) -> Result<(), Error> {
    let found: Result<Option<i64>, sqlx::Error> =
        sqlx::query_scalar("select max(version) from public._sqlx_migrations where success")
            .fetch_one(connection)
            .await;
    let found = match found {
        Ok(found) => found.unwrap_or_default(),
        // There is no such table, or it is of a version that told nobody.
        Err(error)
            if error.as_database_error().is_some_and(|e| matches!(e.code().as_deref(), Some("42P01" | "42501"))) =>
        {
            0
        }
        Err(error) => return Err(error.into()),
    };
    match found.cmp(&SCHEMA_VERSION) {
        Ordering::Less => Err(Error::OlderSchema { needed: SCHEMA_VERSION }),
        Ordering::Equal => Ok(()),
        Ordering::Greater => Err(Error::NewerSchema { found, known: SCHEMA_VERSION }),
    }
}

/// Creates the database that the administrator's URL names, unless it is there.
pub async fn create_database(administrator: &ConnectionSettings) -> Result<(), Error> {
    let missing = match administrator.options.connect().await {
        Ok(connection) => return Ok(connection.close().await?),
        Err(error) => error,
    };
    let name = administrator.options.get_database().map(str::to_owned);
    let is_missing = missing.as_database_error().is_some_and(|error| error.code().as_deref() == Some("3D000"));
    let Some(name) = name.filter(|_| is_missing) else { return Err(missing.into()) };
    let elsewhere =
        ConnectionSettings { options: administrator.options.clone().database("postgres"), max_connections: 1 };
    match ensure_database(&elsewhere, &name).await {
        // Somebody else was first.
        Err(Error::Database(error))
            if error.as_database_error().is_some_and(|e| matches!(e.code().as_deref(), Some("42P04" | "23505"))) =>
        {
            Ok(())
        }
        made => made,
    }
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
