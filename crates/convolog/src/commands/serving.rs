//! What the subcommands share that run until they are told to end: how they serve HTTP, start, and stop in order.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use api::{Operations, OperatorToken, RateLimitSettings, WebOrigin};
use clap::{Args, ValueEnum};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use super::{Exit, Failure};
use crate::node::Node;
use crate::otlp::Export;
use crate::settings::secret;

/// How long the node may take to end, whatever clients and PostgreSQL do; requests get
/// [`api::server::SHUTDOWN_GRACE`] of it.
const NODE_DEADLINE: Duration = Duration::from_secs(8);

/// How the API is served.
#[derive(Clone, Debug, Args)]
pub struct HttpSettings {
    /// Where the API listens; port 0 picks a free one.
    #[arg(long, env = "CONVOLOG_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// The URL by which clients reach the API, also the issuer of access tokens.
    #[arg(long, env = "CONVOLOG_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<String>,
    /// Whether requests are limited by client address, account and tenant; off only where CONVOLOG_LISTEN is this machine alone.
    #[arg(long, env = "CONVOLOG_RATE_LIMITS", value_enum, default_value = "on")]
    pub rate_limits: Switch,
    /// How many proxies before the API add to X-Forwarded-For; none is believed when 0.
    #[arg(long, env = "CONVOLOG_TRUSTED_PROXIES", default_value_t = 0, value_name = "NUMBER")]
    pub trusted_proxies: u8,
    /// Origins of web pages that may ask with a browser's cookie, beside that of the public URL, such as https://app.example.com.
    #[arg(long, env = "CONVOLOG_ALLOWED_ORIGINS", value_name = "ORIGINS", value_delimiter = ',')]
    pub allowed_origins: Vec<String>,
    /// What operators set.
    #[command(flatten)]
    pub operator: OperatorSettings,
    /// The collector that gets a span of every request, by OTLP over HTTP; none when not set.
    #[arg(long, env = "CONVOLOG_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

/// What operators set.
#[derive(Clone, Debug, Args)]
pub struct OperatorSettings {
    /// Opens /metrics and /health to whoever sends it as a bearer token; without it they are for this machine alone.
    #[arg(long, env = "CONVOLOG_OPERATOR_TOKEN", hide_env_values = true, value_name = "TOKEN", value_parser = secret)]
    pub operator_token: Option<String>,
}

impl OperatorSettings {
    /// Not read by clap, which would repeat a bad one in its error.
    pub(super) fn token(&self) -> Result<Option<OperatorToken>, Failure> {
        let token = self.operator_token.as_deref().map(OperatorToken::new).transpose();
        token.map_err(|weak| Failure::usage(format!("CONVOLOG_OPERATOR_TOKEN: {weak}")))
    }
}

impl HttpSettings {
    /// How often somebody may ask.
    pub(super) fn rate_limits(&self) -> Result<RateLimitSettings, Failure> {
        let on = self.rate_limits == Switch::On;
        if !on && !self.listen.ip().to_canonical().is_loopback() {
            return Err(Failure::usage(format!(
                "CONVOLOG_RATE_LIMITS: off is for this machine alone, and CONVOLOG_LISTEN is {}: set it to on, or listen on 127.0.0.1",
                self.listen
            )));
        }
        let trusted_proxies = usize::from(self.trusted_proxies);
        Ok(RateLimitSettings { on, trusted_proxies, ..RateLimitSettings::default() })
    }

    /// Whose web pages may ask with a cookie.
    pub(super) fn allowed_origins(&self) -> Result<Vec<WebOrigin>, Failure> {
        // A variable that is set to nothing is not set.
        let origins = self.allowed_origins.iter().filter(|origin| self.allowed_origins.len() > 1 || !origin.is_empty());
        let origins = origins.map(|origin| WebOrigin::parse(origin)).collect::<Result<_, _>>();
        origins.map_err(|invalid| Failure::usage(format!("CONVOLOG_ALLOWED_ORIGINS: {invalid}")))
    }

    /// What concerns operators, and where spans go.
    pub(super) fn operations(&self) -> Result<(Operations, Option<Export>), Failure> {
        let export = self.otlp_endpoint.as_deref().map(Export::to).transpose();
        let export = export.map_err(|error| Failure::usage(format!("CONVOLOG_OTLP_ENDPOINT: {error:#}")))?;
        let on_answer = export.as_ref().map(Export::on_answer);
        Ok((Operations { token: self.operator.token()?, on_answer, ..Operations::default() }, export))
    }
}

/// Files that a process needs open for all the connections it takes, and for its own.
const OPEN_FILES: u64 = (api::server::MAX_CONNECTIONS + api::server::RESERVED_CONNECTIONS + 256) as u64;

/// Many systems give a process a low limit that it may raise itself. Beyond it connections wait in the kernel's queue.
pub(super) fn allow_open_files() {
    match rlimit::increase_nofile_limit(OPEN_FILES) {
        Ok(allowed) if allowed < OPEN_FILES => {
            tracing::warn!(allowed, wanted = OPEN_FILES, "few files may be open: fewer connections are taken");
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the limit of open files was not raised"),
    }
}

/// Ctrl-C and SIGTERM.
struct Ends {
    terminate: Signal,
    interrupt: Signal,
}

impl Ends {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Starts, runs until Ctrl-C or SIGTERM, then ends the node, what it stands on (`stop`, which is told when the end began), and the
/// export of spans. A second signal ends the process without waiting for anybody.
pub(super) async fn run<S>(
    start: impl Future<Output = Result<(Node, S), Failure>>,
    stop: impl AsyncFnOnce(S, Instant) -> anyhow::Result<()>,
    export: Option<Export>,
) -> Result<Exit, Failure> {
    // First of all: a signal during the start must not leave a half-started service behind.
    let mut ends = Ends { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? };
    let (node, below) = tokio::select! {
        started = start => started?,
        () = ends.next() => return Ok(Exit::Done),
    };
    ends.next().await;
    tracing::info!("stopping");
    let begun = Instant::now();
    let stopping = async {
        let stopped = tokio::time::timeout_at(begun + NODE_DEADLINE, node.stop()).await;
        stop(below, begun).await?;
        if let Some(export) = export {
            tokio::task::spawn_blocking(move || export.end()).await.context("the last spans were not exported")?;
        }
        stopped.context("the database kept the shutdown waiting; what was acknowledged is safe")??;
        Ok(Exit::Done)
    };
    tokio::select! {
        stopped = stopping => return stopped,
        () = ends.next() => {}
    }
    tracing::warn!("stopping at once: what is under way is answered with a broken connection");
    Ok(Exit::Done)
}
