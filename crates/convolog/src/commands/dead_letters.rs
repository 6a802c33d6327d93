//! `convolog dead-letters`: streams of which an event cannot be projected; tried again, or the event discarded.

mod discard;
mod text;

use std::io::Write as _;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use domain::TenantId;
use projector::dead_letters::{self, DeadLetter, Unparked};
use store::ProjectorDatabase;
use uuid::Uuid;

use super::rebuilding::{OnlyTenant, connect, one_tenant};
use super::{Exit, Failure};
use crate::attach::{Attached, Role};
use crate::settings::ServiceSettings;

/// Shown below the help.
pub const EXAMPLES: &str = "A stream is parked when an event of it cannot be projected. Its later events wait, everything else goes on.

Examples:
  convolog dead-letters list                            all that are parked, and why
  convolog dead-letters list --email ada@example.com --json
  convolog dead-letters show 01a2046a-b01f-7338-8721-f968a8e95204 01890a5d-ac96-774b-bcce-b302099a8057
  convolog dead-letters retry --all                     after the cause is mended
  convolog dead-letters discard 01a2046a-b01f-7338-8721-f968a8e95204 01890a5d-ac96-774b-bcce-b302099a8057 \\
      --reason 'written by a broken script'             the event stays in the log, without effect on the read tables

Exit codes: 0 done, 1 `list` has found some or what was tried again is still parked, 2 bad usage, 3 a service is unavailable.";

/// Tenants that are looked up at once.
const LISTED: i32 = 200;

/// Settings of `convolog dead-letters`.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// What to do.
    #[command(subcommand)]
    pub what: What,
}

/// What to do with dead letters.
#[derive(Clone, Debug, Subcommand)]
pub enum What {
    /// List the parked streams: exit code 1 when there are any.
    List(List),
    /// Show a parked stream, its event and the error.
    Show(Show),
    /// Project what waits, after its cause is mended.
    Retry(Retry),
    /// Leave the event out for ever, and project what waits behind it.
    Discard(Discard),
}

/// Settings of `convolog dead-letters list`.
#[derive(Clone, Debug, Args)]
pub struct List {
    /// Which tenant.
    #[command(flatten)]
    pub only: OnlyTenant,
    /// Write each as JSON, in one line.
    #[arg(long)]
    pub json: bool,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub services: ServiceSettings,
}

/// A parked stream.
#[derive(Clone, Copy, Debug, Args)]
pub struct Parked {
    /// Whose.
    pub tenant: Uuid,
    /// Its id.
    pub stream: Uuid,
}

/// Settings of `convolog dead-letters show`.
#[derive(Clone, Debug, Args)]
pub struct Show {
    /// Which.
    #[command(flatten)]
    pub parked: Parked,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub services: ServiceSettings,
}

/// Settings of `convolog dead-letters retry`.
#[derive(Clone, Debug, Args)]
pub struct Retry {
    /// Whose.
    #[arg(required_unless_present = "all", requires = "stream")]
    pub tenant: Option<Uuid>,
    /// The parked stream.
    pub stream: Option<Uuid>,
    /// All parked streams of all tenants.
    #[arg(long, conflicts_with = "tenant")]
    pub all: bool,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub services: ServiceSettings,
}

/// Settings of `convolog dead-letters discard`.
#[derive(Clone, Debug, Args)]
pub struct Discard {
    /// Which.
    #[command(flatten)]
    pub parked: Parked,
    /// Why: part of the event that stands in the tenant's log from then on.
    #[arg(long)]
    pub reason: String,
    /// Where PostgreSQL and NATS are.
    #[command(flatten)]
    pub services: ServiceSettings,
}

/// Does one of these things.
pub async fn run(settings: &Settings) -> Result<Exit, Failure> {
    match &settings.what {
        What::List(settings) => list(settings).await,
        What::Show(settings) => show(settings).await,
        What::Retry(settings) => retry(settings).await,
        What::Discard(settings) => discard::run(settings).await,
    }
}

async fn list(settings: &List) -> Result<Exit, Failure> {
    let attached = Attached::find(&settings.services)?;
    let (database, replay) = connect(&attached, 1).await?;
    let only = one_tenant(&attached, &replay, &settings.only).await?;
    let letters = match only {
        Some(state) => dead_letters::of_tenant(&database, state.tenant).await?,
        None => all(&database).await?,
    };
    database.close().await;
    if settings.json {
        letters.iter().try_for_each(|letter| print(&text::json(letter)))?;
    } else {
        print(&text::table(&letters))?;
    }
    Ok(if letters.is_empty() { Exit::Done } else { Exit::Found })
}

/// Those of all tenants.
async fn all(database: &ProjectorDatabase) -> Result<Vec<DeadLetter>, Failure> {
    let (mut after, mut letters) = (Uuid::nil(), Vec::new());
    loop {
        let tenants = dead_letters::tenants(database, None, after, LISTED).await?;
        let Some(last) = tenants.last() else { return Ok(letters) };
        after = last.0;
        for tenant in tenants {
            letters.extend(dead_letters::of_tenant(database, tenant).await?);
        }
    }
}

async fn show(settings: &Show) -> Result<Exit, Failure> {
    let attached = Attached::find(&settings.services)?;
    let database = projector(&attached).await?;
    let letter = find(&database, settings.parked).await?;
    let content = dead_letters::content(&database, &letter).await?;
    database.close().await;
    print(&text::shown(&letter, content.as_ref()))?;
    Ok(Exit::Done)
}

async fn retry(settings: &Retry) -> Result<Exit, Failure> {
    let attached = Attached::find(&settings.services)?;
    let database = projector(&attached).await?;
    let chosen = match (settings.tenant, settings.stream) {
        (Some(tenant), Some(stream)) => vec![find(&database, Parked { tenant, stream }).await?],
        _ => all(&database).await?,
    };
    let mut exit = Exit::Done;
    for DeadLetter { tenant, category, stream, .. } in chosen {
        let unparked = dead_letters::retry(&database, tenant, stream).await?;
        print(&format!("tenant {tenant}, {category}/{stream}: {}", text::outcome(&unparked)))?;
        if !matches!(unparked, Unparked::Done(_) | Unparked::NotParked) {
            exit = Exit::Found;
        }
    }
    database.close().await;
    Ok(exit)
}

async fn projector(attached: &Attached) -> Result<ProjectorDatabase, Failure> {
    let settings = attached.database(Role::Projector, 1)?;
    Ok(ProjectorDatabase::connect(settings).await.context("the database cannot be used")?)
}

async fn find(database: &ProjectorDatabase, parked: Parked) -> Result<DeadLetter, Failure> {
    let letters = dead_letters::of_tenant(database, TenantId(parked.tenant)).await?;
    let found = letters.into_iter().find(|letter| letter.stream == parked.stream);
    found.ok_or_else(|| {
        let Parked { tenant, stream } = parked;
        let hint = "`convolog dead-letters list` shows what is";
        Failure::usage(format!("no stream {stream} of a tenant {tenant} is parked: {hint}"))
    })
}

fn print(line: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}
