//! The services of a run: a durable PostgreSQL and NATS in a folder that is gone afterwards.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use convolog::commands::UserFolders;
use convolog::node::Nats as NatsAccess;
use convolog::secrets::Secrets;
use convolog::services::places;
use local::{Binaries, Nats, NatsOptions, Places, Postgres, PostgresOptions, Storage, ThrowAwayDir};
use sqlx::postgres::{PgPool, PgPoolOptions};
use store::{ApiDatabase, ConnectionSettings, ensure_database, migrate};

/// The product's database.
pub(crate) const DATABASE: &str = "convolog";
const RAW_DATABASE: &str = "raw";

pub(crate) struct Services {
    pub(crate) postgres: Postgres,
    nats: Nats,
    folder: ThrowAwayDir,
    pub(crate) binaries: Binaries,
    pub(crate) secrets: Secrets,
    /// As the superuser, on the product's database: for looking, never for writing.
    pub(crate) admin: PgPool,
}

/// Where things lie, with `scratch` as the place of what is removed again, and the servers' programs.
pub(crate) async fn binaries(scratch: &Path) -> anyhow::Result<(Places, Binaries)> {
    #[expect(clippy::disallowed_methods, reason = "the cache of binaries is where the product has it")]
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let folders = UserFolders { home: variable("HOME"), xdg_cache_home: variable("XDG_CACHE_HOME") };
    let data = std::env::temp_dir().join("convolog-bench");
    let mut places = places(&folders, &data)?;
    scratch.clone_into(&mut places.scratch);
    let tell = |progress| {
        let _ = writeln!(std::io::stderr(), "{progress}");
    };
    let binaries = Binaries::provide(&places, &tell).await?;
    Ok((places, binaries))
}

impl Services {
    pub(crate) async fn start(scratch: &Path) -> anyhow::Result<Self> {
        let (places, binaries) = binaries(scratch).await?;
        let folder = ThrowAwayDir::new(&places)?;
        let secrets = Secrets::random()?;
        // Kept, though not for long: with fsync and the settings that `convolog dev` has.
        let kept = |name| Storage::Kept(folder.path().join(name));
        let nats = NatsOptions {
            config_text: bus::SERVER_CONFIG.to_owned(),
            env: secrets.nats().variables(),
            storage: kept("nats"),
            port: None,
        };
        let (postgres, nats) = tokio::try_join!(
            Postgres::start(&binaries, PostgresOptions::new(kept("postgres"))),
            Nats::start(&binaries, nats)
        )?;
        ensure_database(&maintenance(&postgres)?, RAW_DATABASE).await?;
        let admin = product_database(&postgres, &secrets, DATABASE).await?;
        Ok(Self { postgres, nats, folder, binaries, secrets, admin })
    }

    pub(crate) fn nats_pid(&self) -> u32 {
        self.nats.pid()
    }

    pub(crate) fn nats_access(&self) -> NatsAccess {
        NatsAccess { url: self.nats.url(), passwords: self.secrets.nats().all() }
    }

    /// The URL of a database of the product as one of its roles.
    pub(crate) fn url_as(&self, database: &str, role: &str, password: &str) -> String {
        format!("postgres://{role}:{password}@127.0.0.1:{}/{database}", self.postgres.port())
    }

    /// A database of the product as the API's role.
    pub(crate) async fn api_database(&self, database: &str) -> anyhow::Result<ApiDatabase> {
        let url = self.url_as(database, "convolog_api", &self.secrets.roles().api);
        Ok(ApiDatabase::connect(ConnectionSettings::from_url("DATABASE_URL", &url, 16)?).await?)
    }

    /// The superuser's URL of a database of the product.
    pub(crate) fn admin_url(&self, database: &str) -> String {
        self.postgres.admin_url(database)
    }

    /// Makes another database of the product, and a superuser's connections to it.
    pub(crate) async fn new_database(&self, database: &str) -> anyhow::Result<PgPool> {
        product_database(&self.postgres, &self.secrets, database).await
    }

    /// The superuser's URL of the database for raw inserts.
    pub(crate) fn raw_url(&self) -> String {
        self.postgres.admin_url(RAW_DATABASE)
    }

    /// A program of the same PostgreSQL.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.binaries.postgres_bin.join(name)
    }

    /// The type of the file system that the data is on.
    pub(crate) fn file_system(&self) -> anyhow::Result<String> {
        let mounts = fs::read_to_string("/proc/mounts")?;
        let path = self.folder.path();
        let of = |line: &str| {
            let mut fields = line.split(' ').skip(1);
            let (mount, kind) = (fields.next()?.to_owned(), fields.next()?.to_owned());
            path.starts_with(&mount).then_some((mount.len(), kind))
        };
        let (_, kind) = mounts.lines().filter_map(of).max_by_key(|(length, _)| *length).context("no mount")?;
        anyhow::ensure!(kind != "tmpfs", "{} is in memory; name a folder on a disk with --scratch", path.display());
        Ok(kind)
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.admin.close().await;
        self.nats.stop().await?;
        self.postgres.stop().await?;
        self.folder.removed().await;
        Ok(())
    }
}

fn maintenance(postgres: &Postgres) -> anyhow::Result<ConnectionSettings> {
    Ok(ConnectionSettings::from_url("DATABASE_URL", &postgres.admin_url("postgres"), 1)?)
}

async fn product_database(postgres: &Postgres, secrets: &Secrets, database: &str) -> anyhow::Result<PgPool> {
    ensure_database(&maintenance(postgres)?, database).await?;
    let url = postgres.admin_url(database);
    migrate(&ConnectionSettings::from_url("DATABASE_URL", &url, 1)?, &secrets.roles().logins()).await?;
    Ok(PgPoolOptions::new().max_connections(2).connect(&url).await?)
}
