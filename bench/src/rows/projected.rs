//! The row about completeness: rows that are not as the log says after appends from all sides and lost connections.

use std::time::Duration;

use projector::replay::Difference;
use serde_json::json;
use sqlx::Executor as _;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Bench, aims};
use crate::fleet::Target;

/// How often relay and projector lose all their connections to PostgreSQL, in the middle of whatever they do.
const LOSS: Duration = Duration::from_millis(700);
const LOSE: &str = "select pg_terminate_backend(pid) from pg_stat_activity
                    where usename in ('convolog_projector', 'convolog_relay') and datname = current_database()";
/// Tenants that are compared at a time.
const PAGE: i32 = 200;

impl Bench {
    /// Once: it counts, and no round can make good what another has lost.
    pub(super) async fn projected(&mut self) -> anyhow::Result<()> {
        self.last_raw = None;
        self.node.workers_on().await?;
        let admin = self.services.admin.clone();
        let losses = async {
            loop {
                tokio::time::sleep(LOSS).await;
                if let Err(error) = admin.execute(LOSE).await {
                    return anyhow::Error::from(error);
                }
            }
        };
        let figures = tokio::select! {
            figures = self.closed_loop(64, <[Target]>::to_vec) => figures?,
            error = losses => return Err(error),
        };
        self.drained().await?;
        self.node.workers_off().await?;
        let (rows, events) = self.differences().await?;
        let from = format!(
            "{rows} rows differ from a log of {events} events, after {} commands at {:.0}/s with all connections of relay and \
             projector lost every {} ms",
            figures.commands,
            figures.per_second,
            LOSS.as_millis()
        );
        self.report.add(aims::NEVER_PROJECTED, f64::from(rows), from, &json!({"events": events, "rows": rows}))
    }

    /// Rows of all read tables that are not as the log says, and how many events that is.
    async fn differences(&self) -> anyhow::Result<(u32, u64)> {
        let replay = self.replay().await?;
        let (mut rows, mut events, mut after) = (0, 0, Uuid::nil());
        let mut sink = |_: Difference| rows += 1;
        loop {
            let page = replay.tenants_after(after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.tenant.0;
            events += page.iter().filter_map(|state| state.checkpoint).map(|(seq, _)| seq).sum::<u64>();
            let verified = replay.verify(&page, &mut sink, &CancellationToken::new()).await?;
            anyhow::ensure!(verified.failures.is_empty(), "{:?}", verified.failures);
        }
        Ok((rows, events))
    }
}
