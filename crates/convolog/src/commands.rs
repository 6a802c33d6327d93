//! The subcommands, one file each: settings with examples, and `run`.

pub mod api;
pub mod dead_letters;
pub mod dev;
pub mod import;
pub mod keys;
pub mod migrate;
pub mod openapi;
pub mod projector;
mod rebuilding;
pub mod replay;
pub mod seed;
mod serving;
pub mod status;
mod tenant;
pub mod verify;

use std::path::PathBuf;

use clap::Subcommand;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the HTTP API on PostgreSQL and NATS that are there already; several processes may do so.
    #[command(after_help = api::EXAMPLES)]
    Api(api::Settings),
    /// Look after streams of which an event cannot be projected.
    #[command(after_help = dead_letters::EXAMPLES)]
    DeadLetters(dead_letters::Settings),
    /// Run API, relay and projector with local PostgreSQL and NATS, fetched on the first start.
    #[command(after_help = dev::EXAMPLES)]
    Dev(dev::Settings),
    /// Import conversations, or an export of costs, into a tenant's log.
    #[command(after_help = import::EXAMPLES)]
    Import(import::Settings),
    /// Look after the keys that sign access tokens.
    #[command(after_help = keys::EXAMPLES)]
    Keys(keys::Settings),
    /// Bring a database up to this version: roles, rights and schema.
    #[command(after_help = migrate::EXAMPLES)]
    Migrate(migrate::Settings),
    /// Print the OpenAPI document of the HTTP API; needs no service.
    #[command(after_help = openapi::EXAMPLES)]
    Openapi,
    /// Publish events and keep the read tables; several processes share the work.
    #[command(after_help = projector::EXAMPLES)]
    Projector(projector::Settings),
    /// Rebuild the read tables from the log, while they are read and written; or show how they were.
    #[command(after_help = replay::EXAMPLES)]
    Replay(replay::Settings),
    /// Make the demo tenant, with two weeks of conversations, in a database that is already there.
    #[command(after_help = seed::EXAMPLES)]
    Seed(seed::Settings),
    /// Tell how the service does: what is behind, what is missing, what slows it down.
    #[command(after_help = status::EXAMPLES)]
    Status(status::Settings),
    /// Compare the read tables with what the log says, and show each row that differs.
    #[command(after_help = verify::EXAMPLES)]
    Verify(verify::Settings),
}

/// How a subcommand ended when nothing was in its way; the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Done = 0,
    /// It has found something that somebody should look at.
    Found = 1,
}

/// Why a subcommand could not do its work; [`Failure::code`] is the exit code.
#[derive(Debug)]
pub enum Failure {
    /// What was asked for makes no sense, or names something that does not exist.
    Usage(anyhow::Error),
    /// A service is not there, or does not do what it should. What `?` makes of any error.
    Unavailable(anyhow::Error),
}

impl Failure {
    /// Bad usage, in a sentence.
    pub fn usage(reason: impl Into<String>) -> Self {
        Self::Usage(anyhow::Error::msg(reason.into()))
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Unavailable(_) => 3,
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Unavailable(error.into())
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Usage(error) | Self::Unavailable(error)) = self;
        write!(f, "{error:#}")
    }
}

/// What `main` has read of the environment beside the settings.
#[derive(Clone, Debug, Default)]
pub struct UserFolders {
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// `XDG_CACHE_HOME`.
    pub xdg_cache_home: Option<PathBuf>,
}

impl Command {
    /// What is logged when nothing is set: a server says what it does, a tool only what is wrong.
    pub fn default_log(&self) -> &'static str {
        match self {
            Self::Dev(_) | Self::Api(_) | Self::Projector(_) => "info,async_nats=warn,sqlx=warn",
            Self::DeadLetters(_)
            | Self::Import(_)
            | Self::Keys(_)
            | Self::Migrate(_)
            | Self::Seed(_)
            | Self::Openapi
            | Self::Replay(_)
            | Self::Verify(_) => "warn,async_nats=error,bus=error",
            // What is wrong is in the report.
            Self::Status(_) => "off",
        }
    }

    /// Runs it to its end.
    pub async fn run(self, folders: &UserFolders) -> Result<Exit, Failure> {
        match self {
            Self::Api(settings) => api::run(&settings).await,
            Self::DeadLetters(settings) => dead_letters::run(&settings).await,
            Self::Dev(settings) => dev::run(&settings, folders).await,
            Self::Import(settings) => import::run(&settings).await,
            Self::Keys(settings) => keys::run(&settings).await,
            Self::Migrate(settings) => migrate::run(&settings).await,
            Self::Openapi => openapi::run(),
            Self::Projector(settings) => projector::run(&settings).await,
            Self::Replay(settings) => replay::run(&settings).await,
            Self::Seed(settings) => seed::run(&settings).await,
            Self::Status(settings) => status::run(&settings).await,
            Self::Verify(settings) => verify::run(&settings).await,
        }
    }
}

/// Cancels at Ctrl-C or SIGTERM; a second one ends the process at once.
fn stop_on_signal(stop: CancellationToken) -> std::io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    store::spawn("signals", async move {
        for end in [false, true] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if end {
                std::process::exit(130);
            }
            stop.cancel();
        }
    });
    Ok(())
}
