//! One throw-away PostgreSQL per test run, one database per test cloned from a migrated template; NATS per test.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use convolog::node::{Databases, Nats as NatsAccess};
use convolog::secrets::{NatsPasswords, Secrets};
use local::{Binaries, Nats, NatsOptions, Places, Storage, ThrowAwayDir};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, PgConnection};
use store::{ConnectionSettings, migrate, prepare_cluster_and_database};
use tokio::sync::{Mutex, OnceCell};

use crate::postgres::Server;

const TEMPLATE: &str = "convolog_template";

struct Cluster {
    postgres: Server,
    secrets: Secrets,
}

static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
static BINARIES: OnceCell<(Binaries, Places)> = OnceCell::const_new();
/// PostgreSQL clones a template for one at a time, and refuses the others.
static CLONING: Mutex<()> = Mutex::const_new(());
static DATABASES: AtomicUsize = AtomicUsize::new(0);

pub(crate) async fn binaries() -> &'static (Binaries, Places) {
    let provide = async || {
        #[expect(
            clippy::disallowed_methods,
            reason = "the harness has no settings: the cache is where the binary's is"
        )]
        let variable = |name| std::env::var_os(name).map(PathBuf::from);
        // Only named, never used: everything of these tests lies in throw-away directories.
        let unused = tempfile::tempdir().unwrap();
        let (home, cache) = (variable("HOME"), variable("XDG_CACHE_HOME"));
        let uid = local::current_uid().unwrap();
        let places = Places::from_process(uid, home.as_deref(), cache.as_deref(), unused.path()).unwrap();
        let tell = |progress: local::Progress| {
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "{progress}");
        };
        (Binaries::provide(&places, &tell).await.unwrap_or_else(|error| panic!("{error}")), places)
    };
    BINARIES.get_or_init(provide).await
}

async fn cluster() -> &'static Cluster {
    let start = async || {
        let postgres = Server::start().await;
        let secrets = Secrets::random().unwrap();
        let admin = ConnectionSettings::from_url("DATABASE_URL", &postgres.admin_url("postgres"), 1).unwrap();
        store::ensure_database(&admin, TEMPLATE).await.unwrap();
        let template = ConnectionSettings::from_url("DATABASE_URL", &postgres.admin_url(TEMPLATE), 1).unwrap();
        migrate(&template, &secrets.roles().logins()).await.unwrap();
        Cluster { postgres, secrets }
    };
    CLUSTER.get_or_init(start).await
}

/// A migrated database of a test's own.
pub struct TestDatabase {
    name: String,
    /// Its URL as the superuser.
    pub admin_url: String,
    /// As the superuser: to look at everything and to break things.
    pub admin: PgPool,
    /// As the runtime roles.
    pub databases: Databases,
}

/// Clones a new database.
pub async fn database() -> TestDatabase {
    let cluster = cluster().await;
    let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    {
        let _alone = CLONING.lock().await;
        let maintenance = pool(&cluster.postgres.admin_url("postgres")).await;
        let sql = format!("create database {name} template {TEMPLATE} strategy file_copy");
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&maintenance).await.unwrap();
        maintenance.close().await;
    }
    let admin_url = cluster.postgres.admin_url(&name);
    let admin_settings = ConnectionSettings::from_url("DATABASE_URL", &admin_url, 1).unwrap();
    // Rights on a database are not cloned with it.
    prepare_cluster_and_database(&admin_settings).await.unwrap();
    let roles = cluster.secrets.roles();
    let databases = Databases {
        api: admin_settings.as_role("convolog_api", &roles.api, 8),
        projector: admin_settings.as_role("convolog_projector", &roles.projector, 6),
        relay: admin_settings.as_role("convolog_relay", &roles.relay, 3),
    };
    TestDatabase { name, admin: pool(&admin_url).await, admin_url, databases }
}

async fn pool(url: &str) -> PgPool {
    PgPoolOptions::new().max_connections(4).connect(url).await.unwrap()
}

/// A NATS server of a test's own, with the users and permissions of production.
pub async fn start_nats() -> (Nats, NatsAccess) {
    let (binaries, places) = binaries().await;
    let passwords = NatsPasswords::random().unwrap();
    let options = NatsOptions {
        config_text: bus::SERVER_CONFIG.to_owned(),
        env: passwords.variables(),
        storage: Storage::ThrowAway(ThrowAwayDir::new(places).unwrap()),
        port: None,
    };
    let nats = Nats::start(binaries, options).await.unwrap();
    let access = NatsAccess { url: nats.url(), passwords: passwords.all() };
    (nats, access)
}

impl TestDatabase {
    /// What the server has logged as an error of this database, without connections that a test has killed.
    pub async fn logged_errors(&self) -> Vec<String> {
        let mark = format!("@{} ERROR:", self.name);
        let log = cluster().await.postgres.log().await;
        log.lines().filter(|line| line.contains(&mark)).map(str::to_owned).collect()
    }

    /// How to log in as one of the runtime roles, for statements that the store would not send.
    pub async fn login_options(&self, role: &str) -> PgConnectOptions {
        let passwords = cluster().await.secrets.roles();
        let password = match role {
            "convolog_api" => passwords.api,
            "convolog_projector" => passwords.projector,
            "convolog_relay" => passwords.relay,
            _ => panic!("{role} does not log in"),
        };
        self.admin_url.parse::<PgConnectOptions>().unwrap().username(role).password(&password)
    }

    /// A connection as one of the runtime roles.
    pub async fn login(&self, role: &str) -> PgConnection {
        self.login_options(role).await.connect().await.unwrap()
    }

    /// `psql`, `pgbench` and the like, of the same PostgreSQL.
    pub async fn bin() -> &'static Path {
        &binaries().await.0.postgres_bin
    }
}
