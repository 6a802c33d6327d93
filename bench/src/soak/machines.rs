//! PostgreSQL, NATS and the product's processes of a run, each of which can be killed, frozen and brought back.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bus::User;
use convolog::secrets::Secrets;
use local::{Binaries, Nats, NatsOptions, Postgres, PostgresOptions, Storage};
use sqlx::postgres::{PgPool, PgPoolOptions};
use store::{ApiDatabase, ConnectionSettings, ensure_database, migrate};

use super::clients::Shared;
use super::product::Product;
use crate::fleet::PUBLIC_URL;
use crate::services::binaries;

pub(crate) const DATABASE: &str = "convolog";
/// API processes, and as many projectors.
pub(crate) const PROCESSES: usize = 2;
/// How long a server may take to go when it is told to.
const GONE: Duration = Duration::from_secs(30);

pub(crate) struct Machines {
    pub(crate) folder: PathBuf,
    pub(crate) secrets: Secrets,
    pub(crate) postgres: Postgres,
    pub(crate) nats: Nats,
    pub(crate) apis: Vec<Option<Product>>,
    pub(crate) projectors: Vec<Option<Product>>,
    /// As the superuser: for looking, never for writing.
    pub(crate) admin: PgPool,
}

impl Machines {
    /// The services, durable as in production; the product's processes are started by [`Machines::start_all`].
    pub(crate) async fn start(folder: PathBuf, scratch: &Path) -> anyhow::Result<Self> {
        let (_, binaries): (_, Binaries) = binaries(scratch).await?;
        let secrets = Secrets::random()?;
        let kept = |name| Storage::Kept(folder.join(name));
        let nats = NatsOptions {
            config_text: bus::SERVER_CONFIG.to_owned(),
            env: secrets.nats().variables(),
            storage: kept("nats"),
            port: None,
        };
        let postgres = PostgresOptions::new(kept("postgres"));
        let (postgres, nats) = tokio::try_join!(Postgres::start(&binaries, postgres), Nats::start(&binaries, nats))?;
        ensure_database(&ConnectionSettings::from_url("DATABASE_URL", &postgres.admin_url("postgres"), 1)?, DATABASE)
            .await?;
        let url = postgres.admin_url(DATABASE);
        migrate(&ConnectionSettings::from_url("DATABASE_URL", &url, 1)?, &secrets.roles().logins()).await?;
        let admin = PgPoolOptions::new().max_connections(4).connect(&url).await?;
        let none = || (0..PROCESSES).map(|_| None).collect();
        Ok(Self { folder, secrets, postgres, nats, apis: none(), projectors: none(), admin })
    }

    pub(crate) async fn api_database(&self) -> anyhow::Result<ApiDatabase> {
        let url = self.url_as("convolog_api", &self.secrets.roles().api, DATABASE);
        Ok(ApiDatabase::connect(ConnectionSettings::from_url("DATABASE_URL", &url, 4)?).await?)
    }

    fn url_as(&self, role: &str, password: &str, database: &str) -> String {
        format!("postgres://{role}:{password}@127.0.0.1:{}/{database}", self.postgres.port())
    }

    /// What every process is told, with so much for each as it needs.
    pub(crate) fn env(&self, database: &str) -> Vec<(String, String)> {
        let roles = self.secrets.roles();
        let nats = |user: User| (user.password_variable().to_owned(), self.secrets.nats().of(user).to_owned());
        let url = |name: &str, role: &str, password: &str| (name.to_owned(), self.url_as(role, password, database));
        vec![
            url("CONVOLOG_API_DATABASE_URL", "convolog_api", &roles.api),
            url("CONVOLOG_PROJECTOR_DATABASE_URL", "convolog_projector", &roles.projector),
            url("CONVOLOG_RELAY_DATABASE_URL", "convolog_relay", &roles.relay),
            ("NATS_URL".to_owned(), self.nats.url()),
            nats(User::Api),
            nats(User::Projector),
            nats(User::Relay),
            ("CONVOLOG_SIGNING_KEY".to_owned(), self.secrets.signing_key().to_owned()),
            ("CONVOLOG_PUBLIC_URL".to_owned(), PUBLIC_URL.to_owned()),
            ("CONVOLOG_RATE_LIMITS".to_owned(), "off".to_owned()),
            ("CONVOLOG_DATA_DIR".to_owned(), self.folder.join("none").display().to_string()),
        ]
    }

    pub(crate) async fn start_api(&mut self, which: usize, shared: &Arc<Shared>) -> anyhow::Result<()> {
        let log = self.folder.join(format!("api-{which}.log"));
        let (api, address) = Product::up(&["api", "--listen", "127.0.0.1:0"], &self.env(DATABASE), &log).await?;
        shared.front.set_address(which, address);
        self.apis[which] = Some(api);
        Ok(())
    }

    pub(crate) async fn start_projector(&mut self, which: usize) -> anyhow::Result<()> {
        let log = self.folder.join(format!("projector-{which}.log"));
        let (projector, _) = Product::up(&["projector"], &self.env(DATABASE), &log).await?;
        self.projectors[which] = Some(projector);
        Ok(())
    }

    pub(crate) async fn start_all(&mut self, shared: &Arc<Shared>) -> anyhow::Result<()> {
        for which in 0..PROCESSES {
            self.start_api(which, shared).await?;
            self.start_projector(which).await?;
        }
        Ok(())
    }

    /// A command of an operator: `replay` or `verify`.
    pub(crate) fn tool(&self, arguments: &[&str], database: &str) -> anyhow::Result<Product> {
        Product::spawn(arguments, &self.env(database), &self.folder.join(format!("{}.log", arguments[0])))
    }

    /// Processes that have ended although nobody has ended them.
    pub(crate) fn ended_by_themselves(&mut self) -> anyhow::Result<Vec<String>> {
        let mut ended = Vec::new();
        for (name, processes) in [("api", &mut self.apis), ("projector", &mut self.projectors)] {
            for (which, process) in processes.iter_mut().enumerate() {
                if let Some(status) = process.as_mut().map(Product::ended).transpose()?.flatten() {
                    ended.push(format!("{name} {which} has ended by itself: {status}"));
                    *process = None;
                }
            }
        }
        Ok(ended)
    }

    /// Ends PostgreSQL with a signal and waits until it is gone.
    pub(crate) async fn end_postgres(&mut self, signal: &str) -> anyhow::Result<()> {
        super::product::send(self.postgres.pid(), signal).await?;
        let begun = std::time::Instant::now();
        while self.postgres.ended().is_none() {
            anyhow::ensure!(begun.elapsed() < GONE, "PostgreSQL does not go");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Keeps a copy of what NATS has stored; it must not run.
    pub(crate) async fn copy_nats(&self) -> anyhow::Result<()> {
        self.shell(r#"rm -rf "$1/nats-copy" && if [ -d "$1/nats/jetstream" ]; then cp -a "$1/nats/jetstream" "$1/nats-copy"; fi"#)
            .await
    }

    /// Puts the copy in the place of what NATS has stored; it must not run.
    pub(crate) async fn restore_nats(&self) -> anyhow::Result<()> {
        self.shell(r#"rm -rf "$1/nats/jetstream" && if [ -d "$1/nats-copy" ]; then cp -a "$1/nats-copy" "$1/nats/jetstream"; fi"#)
            .await
    }

    async fn shell(&self, script: &str) -> anyhow::Result<()> {
        let mut shell = tokio::process::Command::new("/bin/sh");
        let status = shell.args(["-c", script, "sh"]).arg(&self.folder).status().await.context("a copy of NATS")?;
        anyhow::ensure!(status.success(), "NATS could not be copied");
        Ok(())
    }

    /// Ends the product's processes, the services stay.
    pub(crate) async fn end_processes(&mut self) -> anyhow::Result<()> {
        for process in self.apis.iter_mut().chain(&mut self.projectors) {
            if let Some(process) = process.take() {
                process.kill().await?;
            }
        }
        Ok(())
    }

    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.end_processes().await?;
        self.admin.close().await;
        self.nats.stop().await?;
        self.postgres.stop().await?;
        Ok(())
    }
}
