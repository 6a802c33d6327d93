//! `convolog dev`: everything in one process, from an empty machine to the ready line and back.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use api::passwords::Cost;
use api::{Operations, OperatorToken};
use chrono::{SubsecRound as _, Utc};
use clap::Args;
use projector::{ProjectorSettings, RelaySettings};
use store::LogSettings;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::{Exit, Failure, UserFolders};
use crate::node::{ApiSettings, Node, NodeSettings};
use crate::otlp::Export;
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

/// How long the node may take to end, whatever clients and PostgreSQL do; requests get
/// [`api::server::SHUTDOWN_GRACE`] of it.
const NODE_DEADLINE: Duration = Duration::from_secs(8);
/// How long the end may take in all; local services that have not stopped by then are killed.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(10);

/// Settings of `convolog dev`.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// Where the API listens; port 0 picks a free one.
    #[arg(long, env = "CONVOLOG_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// The URL by which clients reach the API, also the issuer of access tokens.
    #[arg(long, env = "CONVOLOG_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<String>,
    /// Opens /metrics and /health to whoever sends it as a bearer token; without it they are for this machine alone.
    #[arg(long, env = "CONVOLOG_OPERATOR_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub operator_token: Option<String>,
    /// The collector that gets a span of every request, by OTLP over HTTP; none when not set.
    #[arg(long, env = "CONVOLOG_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// Where PostgreSQL and NATS are.
    #[command(flatten)]
    pub services: ServiceSettings,
}

impl Settings {
    /// Not read by clap, which would repeat a bad one in its error.
    fn operator_token(&self) -> Result<Option<OperatorToken>, Failure> {
        let token = self.operator_token.as_deref().map(OperatorToken::new).transpose();
        token.map_err(|weak| Failure::usage(format!("CONVOLOG_OPERATOR_TOKEN: {weak}")))
    }

    fn export(&self) -> Result<Option<Export>, Failure> {
        let export = self.otlp_endpoint.as_deref().map(Export::to).transpose();
        export.map_err(|error| Failure::usage(format!("CONVOLOG_OTLP_ENDPOINT: {error:#}")))
    }
}

/// Files that a process needs open for all the connections it takes, and for its own.
const OPEN_FILES: u64 = (api::server::MAX_CONNECTIONS + api::server::RESERVED_CONNECTIONS + 256) as u64;

/// Runs until Ctrl-C or SIGTERM; a second one ends it without waiting for anybody.
pub async fn run(settings: &Settings, folders: &UserFolders) -> Result<Exit, Failure> {
    let export = settings.export()?;
    let on_answer = export.as_ref().map(Export::on_answer);
    let operations = Operations { token: settings.operator_token()?, on_answer, ..Operations::default() };
    allow_open_files();
    // First of all: a signal during the start must not leave a half-started service behind.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let start = async {
        let places = places(folders, &settings.services.data_dir)?;
        let secrets = Secrets::load_or_make(&places.data)?;
        let services = Services::start(&settings.services, &places, &secrets).await?;
        let node = start_node(settings, &services, &secrets, operations).await?;
        Ok::<_, anyhow::Error>((services, node))
    };
    let (services, node) = tokio::select! {
        started = start => started?,
        _ = terminate.recv() => return Ok(Exit::Done),
        _ = interrupt.recv() => return Ok(Exit::Done),
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    let begun = Instant::now();
    let stop = async {
        let stopped = tokio::time::timeout_at(begun + NODE_DEADLINE, node.stop()).await;
        let services = tokio::time::timeout_at(begun + SHUTDOWN_DEADLINE, services.stop()).await;
        services.context("the local services did not stop in time and were killed")??;
        if let Some(export) = export {
            tokio::task::spawn_blocking(move || export.end()).await.context("the last spans were not exported")?;
        }
        stopped.context("the database kept the shutdown waiting; what was acknowledged is safe")??;
        Ok(Exit::Done)
    };
    tokio::select! {
        stopped = stop => return stopped,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::warn!("stopping at once: what is under way is answered with a broken connection");
    Ok(Exit::Done)
}

/// Many systems give a process a low limit that it may raise itself. Beyond it connections wait in the kernel's queue.
fn allow_open_files() {
    match rlimit::increase_nofile_limit(OPEN_FILES) {
        Ok(allowed) if allowed < OPEN_FILES => {
            tracing::warn!(allowed, wanted = OPEN_FILES, "few files may be open: fewer connections are taken");
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the limit of open files was not raised"),
    }
}

async fn start_node(
    settings: &Settings,
    services: &Services,
    secrets: &Secrets,
    operations: Operations,
) -> anyhow::Result<Node> {
    let node = Node::start(NodeSettings {
        databases: services.databases.clone(),
        nats: services.nats_access.clone(),
        api: Some(ApiSettings {
            listen: settings.listen,
            public_url: settings.public_url.clone(),
            signing_seed: secrets.signing_seed()?,
            password_cost: Cost::default(),
            log: LogSettings::default(),
            operations,
            server: api::ServerSettings::default(),
        }),
        relay: Some(RelaySettings::named(&services.holder)),
        projector: Some(ProjectorSettings::named(&services.holder)),
    })
    .await?;
    let mut demo_password = secrets.demo_password.as_str();
    if let Some(write_side) = node.write_side() {
        let demo = Demo {
            email: seed::EMAIL.into(),
            password: secrets.demo_password.clone(),
            tenant_name: seed::TENANT.into(),
        };
        #[expect(clippy::disallowed_methods, reason = "the demo's conversations were yesterday")]
        let now = Utc::now().trunc_subsecs(6);
        // On later starts it is not even looked through: that is for `convolog seed`.
        if seed::tenant(write_side.0, &demo).await?.is_none() {
            seed(write_side, &demo, Cost::default(), now).await?;
        } else if settings.services.database_url.is_some()
            && !seed::is_password(write_side.0, &demo, Cost::default()).await?
        {
            demo_password = "the password that it was made with";
        }
    }
    let mut out = std::io::stdout().lock();
    for line in &services.lines {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "Demo log-in  {} / {}", seed::EMAIL, demo_password)?;
    if let Some(address) = node.address() {
        writeln!(out, "convolog ready on http://{address}")?;
    }
    out.flush()?;
    Ok(node)
}
