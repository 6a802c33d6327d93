//! `convolog dev`: everything in one process, from an empty machine to the ready line and back.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use api::passwords::Cost;
use api::signing_keys::KEY_RELOAD;
use api::{Operations, RateLimitSettings, WebOrigin};
use chrono::{SubsecRound as _, Utc};
use clap::Args;
use projector::{ProjectorSettings, RelaySettings};
use store::{ApiDatabase, Log, LogSettings, OnCommit};

use super::serving::{self, HttpSettings};
use super::{Exit, Failure, UserFolders};
use crate::demo_key;
use crate::node::{ApiSettings, Node, NodeSettings, system_clock};
use crate::secrets::Secrets;
use crate::seed::{self, Demo, seed};
use crate::services::{Services, places};
use crate::settings::ServiceSettings;

/// Shown below the help.
pub const EXAMPLES: &str = "Examples:
  convolog                                 everything on this machine, at http://127.0.0.1:8080
  convolog dev --listen 127.0.0.1:0        the same on a free port, named in the ready line
  DATABASE_URL=postgres://… NATS_URL=nats://… convolog dev
                                           on servers that are already there";

/// How long the end may take in all; local services that have not stopped by then are killed.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(10);

/// Settings of `convolog dev`.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// How HTTP is served.
    #[command(flatten)]
    pub http: HttpSettings,
    /// Where PostgreSQL and NATS are.
    #[command(flatten)]
    pub services: ServiceSettings,
}

/// Runs until Ctrl-C or SIGTERM; a second one ends it without waiting for anybody.
pub async fn run(settings: &Settings, folders: &UserFolders) -> Result<Exit, Failure> {
    let (operations, export) = settings.http.operations()?;
    let who_asks = (settings.http.rate_limits()?, settings.http.allowed_origins()?);
    serving::allow_open_files();
    let start = Box::pin(async {
        let places = places(folders, &settings.services.data_dir)?;
        let secrets = Secrets::load_or_make(&places.data)?;
        let services = Services::start(&settings.services, &places, &secrets).await?;
        let node = start_node(settings, &services, &secrets, (operations, who_asks)).await?;
        Ok((node, services))
    });
    let stop = async |services: Services, begun| {
        let stopped = tokio::time::timeout_at(begun + SHUTDOWN_DEADLINE, services.stop()).await;
        stopped.context("the local services did not stop in time and were killed")?
    };
    serving::run(start, stop, export).await
}

async fn start_node(
    settings: &Settings,
    services: &Services,
    secrets: &Secrets,
    (operations, (rate_limits, allowed_origins)): (Operations, (RateLimitSettings, Vec<WebOrigin>)),
) -> anyhow::Result<Node> {
    let node = Node::start(NodeSettings {
        databases: services.databases.clone().into(),
        nats: services.nats_access.clone(),
        api: Some(ApiSettings {
            listen: settings.http.listen,
            public_url: settings.http.public_url.clone(),
            master_secret: secrets.master_secret()?,
            key_reload: KEY_RELOAD,
            password_cost: Cost::default(),
            log: LogSettings::default(),
            operations,
            server: api::ServerSettings::default(),
            rate_limits,
            allowed_origins,
            clock: system_clock,
        }),
        relay: Some(RelaySettings::named(&services.holder)),
        projector: Some(ProjectorSettings::named(&services.holder)),
        worker: None,
    })
    .await?;
    let mut demo_lines = Vec::new();
    if let Some(write_side) = node.write_side() {
        let is_ours = settings.services.database_url.is_none();
        demo_lines = demo(write_side, secrets, is_ours).await?;
    }
    let mut out = std::io::stdout().lock();
    for line in services.lines.iter().chain(&demo_lines) {
        writeln!(out, "{line}")?;
    }
    if let Some(address) = node.address() {
        writeln!(out, "convolog ready on http://{address}")?;
    }
    out.flush()?;
    Ok(node)
}

/// The demo, made at the first start, and what lets one in. The database is ours when nobody else has made a demo in it.
async fn demo(
    write_side: (&ApiDatabase, &Log, &OnCommit),
    secrets: &Secrets,
    is_ours: bool,
) -> anyhow::Result<Vec<String>> {
    let (database, _, on_commit) = write_side;
    let demo =
        Demo { email: seed::EMAIL.into(), password: secrets.demo_password.clone(), tenant_name: seed::TENANT.into() };
    let master = secrets.master_secret()?;
    let mut password = secrets.demo_password.as_str();
    #[expect(clippy::disallowed_methods, reason = "the demo's conversations were yesterday")]
    let now = Utc::now().trunc_subsecs(6);
    // On later starts it is not even looked through: that is for `convolog seed`.
    if seed::tenant(database, &demo).await?.is_none() {
        seed(write_side, &demo, Cost::default(), now).await?;
        if let Some(owner) = seed::owner(database, &demo).await? {
            demo_key::create((database, on_commit), owner, &master, now).await?;
        }
    } else if !is_ours && !seed::is_password(database, &demo, Cost::default()).await? {
        password = "the password that it was made with";
    }
    let mut lines = vec![format!("Demo log-in  {} / {password}", seed::EMAIL)];
    if let Some(owner) = seed::owner(database, &demo).await?
        && let Some(key) = demo_key::find(database, owner, &master).await?
    {
        lines.push(format!("Demo API key {}", key.text()));
    }
    Ok(lines)
}
