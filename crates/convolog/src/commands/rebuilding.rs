//! What `replay` and `verify` share: the projector's role, the tenant that is named, and how progress is shown.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use projector::replay::{Replay, Sizes, TenantState};
use store::{ApiDatabase, ProjectorDatabase};
use uuid::Uuid;

use super::Failure;
use super::tenant::{choose, unknown};
use crate::attach::{Attached, Role};

/// How often a line is written where there is no terminal.
const EVERY: Duration = Duration::from_secs(5);

/// Connects as the projector's role.
pub(super) async fn connect(attached: &Attached, connections: u32) -> Result<(ProjectorDatabase, Replay), Failure> {
    let settings = attached.database(Role::Projector, connections)?;
    let database = ProjectorDatabase::connect(settings).await.context("the database cannot be used")?;
    let replay = Replay::new(database.clone(), Sizes::default()).await?;
    Ok((database, replay))
}

/// The only tenant that it is about; all when none is named.
#[derive(Clone, Debug, Args)]
pub struct OnlyTenant {
    /// Only this tenant.
    #[arg(long, value_name = "UUID")]
    pub tenant: Option<Uuid>,
    /// Only the tenant of the user with this address.
    #[arg(long, conflicts_with = "tenant")]
    pub email: Option<String>,
}

/// The tenant that is named by its id or by a user's address; `None` when none is.
pub(super) async fn one_tenant(
    attached: &Attached,
    replay: &Replay,
    only: &OnlyTenant,
) -> Result<Option<TenantState>, Failure> {
    let email = only.email.as_deref();
    let tenant = match (only.tenant, email) {
        (Some(tenant), _) => domain::TenantId(tenant),
        (None, None) => return Ok(None),
        // Addresses are the API's business.
        (None, Some(_)) => {
            let database = ApiDatabase::connect(attached.database(Role::Api, 1)?).await;
            let database = database.context("the database cannot be used")?;
            let chosen = choose(&database, None, email).await?;
            database.close().await;
            let Some((tenant, _)) = chosen else { return Ok(None) };
            tenant
        }
    };
    replay.tenant(tenant).await?.map(Some).ok_or_else(|| unknown(tenant))
}

/// Shows how many events are done: a bar on a terminal, else a line every few seconds, both on standard error.
pub(super) struct Progress {
    begun: Instant,
    bar: Option<ProgressBar>,
    last: Instant,
    /// Events that were done before.
    before: Option<u64>,
}

impl Progress {
    /// How often it should be told.
    pub(super) const TICK: Duration = Duration::from_millis(100);

    pub(super) fn new() -> Self {
        let begun = Instant::now();
        let bar = std::io::stderr().is_terminal().then(|| {
            let template = "{bar:30} {human_pos}/{human_len} events, {msg}, {eta} left";
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(0).with_style(style)
        });
        Self { begun, bar, last: begun, before: None }
    }

    /// So many events of so many are done.
    pub(super) fn show(&mut self, events: u64, total: u64) {
        let before = *self.before.get_or_insert(events);
        let rate = rate(events - before, self.begun.elapsed());
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(events.min(total));
            bar.set_message(format!("{rate} events/s"));
        } else if self.last.elapsed() >= EVERY {
            self.last = Instant::now();
            let percent = (events * 100).checked_div(total).unwrap_or(100).min(100);
            let left = total.saturating_sub(events).checked_div(rate).unwrap_or(0);
            say(&format!("{events} of {total} events ({percent} %), {rate} events/s, {left} s left"));
        }
    }

    /// The bar goes away.
    pub(super) fn close(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Per second, rounded down.
pub(super) fn rate(count: u64, time: Duration) -> u64 {
    let per_second = u128::from(count) * 1000 / time.as_millis().max(1);
    u64::try_from(per_second).unwrap_or(u64::MAX)
}

/// A line on standard error.
pub(super) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
