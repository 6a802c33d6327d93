//! The rows about rebuilding the read tables: how fast, and what commands notice of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use projector::PROJECTIONS;
use projector::replay::{Counters, DEFAULT_WORKERS, Replay, Sizes};
use serde_json::json;
use sqlx::{AssertSqlSafe, Executor as _};
use store::{ConnectionSettings, ProjectorDatabase};
use tokio_util::sync::CancellationToken;

use super::{Bench, aims, mean, tell};
use crate::process;
use crate::services::DATABASE;

/// Of a rebuild that has the machine for itself.
const WORKERS: usize = 2;

/// A rebuild or a COPY: rows or events per second.
struct Speed {
    per_second: f64,
    /// CPU seconds of PostgreSQL.
    postgres: f64,
    /// CPU seconds of this process.
    client: f64,
}

fn tables() -> impl Iterator<Item = &'static str> {
    PROJECTIONS.iter().flat_map(|projection| projection.tables()).map(|table| table.name)
}

fn number(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

impl Bench {
    pub(super) async fn rebuild(&mut self) -> anyhow::Result<()> {
        self.last_raw = None;
        let events = self.enough_events().await?;
        tell(&format!("rebuilding {events} events"))?;
        let replay = self.replay().await?;
        for _ in 0..self.size.rounds {
            let before = self.copy().await?;
            let rebuilt = self.replay_all(&replay).await?;
            let after = self.copy().await?;
            self.add_rebuild(aims::REBUILD, &rebuilt, (&before, &after), events)?;
            self.truncate().await?;
            let filled = self.replay_all(&replay).await?;
            let last = self.copy().await?;
            self.add_rebuild(aims::REBUILD_EMPTY, &filled, (&after, &last), events)?;
        }
        self.node.workers_on().await?;
        self.published().await?;
        for _ in 0..self.size.rounds {
            let before = self.paced(false).await?;
            let (during, replays) = {
                let stop = CancellationToken::new();
                let endless = async {
                    let mut replays = 0_u32;
                    while !stop.is_cancelled() {
                        replay.all(DEFAULT_WORKERS.get() as usize, true, &Arc::new(Counters::default()), &stop).await?;
                        replays += 1;
                    }
                    anyhow::Ok(replays)
                };
                let load = async {
                    let figures = self.paced(false).await;
                    stop.cancel();
                    figures
                };
                tokio::try_join!(load, endless)?
            };
            let after = self.paced(false).await?;
            let from = format!(
                "p50 {:.2} ms ÷ {:.2} and {:.2}; p99 {:.1}, without {:.1} and {:.1}; visible p50 {:.1}, without {:.1} and \
                 {:.1}; {replays} replays",
                during.p50 / 1e3,
                before.p50 / 1e3,
                after.p50 / 1e3,
                during.p99 / 1e3,
                before.p99 / 1e3,
                after.p99 / 1e3,
                during.visible_p50 / 1e3,
                before.visible_p50 / 1e3,
                after.visible_p50 / 1e3
            );
            let value = during.p50 / mean(before.p50, after.p50);
            let figures = json!({"during": during, "without": [before, after]});
            self.report.add(aims::REBUILD_APPEND, value, from, &figures)?;
        }
        self.node.workers_off().await
    }

    /// Posts until the log is long enough, and waits for the read tables.
    async fn enough_events(&mut self) -> anyhow::Result<i32> {
        let count = "select coalesce(sum(seq), 0)::int from tenant_heads";
        let mut events: i32 = sqlx::query_scalar(count).fetch_one(&self.services.admin).await?;
        while events < self.size.rebuilt {
            self.load_each().await?;
            events = sqlx::query_scalar(count).fetch_one(&self.services.admin).await?;
        }
        self.node.workers_on().await?;
        self.drained().await?;
        self.node.workers_off().await?;
        self.services.admin.execute("vacuum analyze").await?;
        Ok(events)
    }

    pub(super) async fn replay(&self) -> anyhow::Result<Replay> {
        let url = self.services.url_as(DATABASE, "convolog_projector", &self.services.secrets.roles().projector);
        let connections = u32::try_from(WORKERS)? + 1;
        let settings = ConnectionSettings::from_url("DATABASE_URL", &url, connections)?;
        Ok(Replay::new(ProjectorDatabase::connect(settings).await?, Sizes::default()).await?)
    }

    fn cpu(&self) -> [f64; 2] {
        let postgres = process::cpu_seconds_with_children(self.services.postgres.pid());
        [postgres, process::cpu_seconds(std::process::id())]
    }

    async fn replay_all(&self, replay: &Replay) -> anyhow::Result<Speed> {
        let counters = Arc::new(Counters::default());
        let (begun, before) = (Instant::now(), self.cpu());
        replay.all(WORKERS, true, &counters, &CancellationToken::new()).await?;
        let (seconds, after) = (begun.elapsed().as_secs_f64(), self.cpu());
        anyhow::ensure!(counters.failed.load(Ordering::Relaxed) == 0, "{:?}", counters.take_failures());
        let per_second = number(counters.events.load(Ordering::Relaxed)) / seconds;
        Ok(Speed { per_second, postgres: after[0] - before[0], client: after[1] - before[1] })
    }

    async fn truncate(&self) -> anyhow::Result<()> {
        let all = tables().collect::<Vec<_>>().join(", ");
        self.services.admin.execute(AssertSqlSafe(format!("truncate {all}"))).await?;
        Ok(())
    }

    /// The rows as they are, out to files of the server and into the emptied tables again.
    async fn copy(&self) -> anyhow::Result<Speed> {
        let admin = &self.services.admin;
        let folder: String = sqlx::query_scalar("show data_directory").fetch_one(admin).await?;
        let file = |table: &str| format!("{folder}/bench_{table}.copy");
        for table in tables() {
            // Made anew, so that the rows do not lie as a previous COPY has left them.
            let sql = format!("copy {table} to '{}'", file(table));
            admin.execute(AssertSqlSafe(sql)).await?;
        }
        self.truncate().await?;
        admin.execute("checkpoint").await?;
        let (begun, before) = (Instant::now(), self.cpu());
        let mut rows = 0;
        for table in tables() {
            let sql = format!("copy {table} from '{}'", file(table));
            rows += admin.execute(AssertSqlSafe(sql)).await?.rows_affected();
        }
        let (seconds, after) = (begun.elapsed().as_secs_f64(), self.cpu());
        admin.execute("vacuum analyze").await?;
        let per_second = number(rows) / seconds;
        Ok(Speed { per_second, postgres: after[0] - before[0], client: after[1] - before[1] })
    }

    fn add_rebuild(
        &mut self,
        aim: crate::report::Aim,
        rebuilt: &Speed,
        (before, after): (&Speed, &Speed),
        events: i32,
    ) -> anyhow::Result<()> {
        let per_event = |seconds: f64| 1e6 * seconds / f64::from(events);
        let from = format!(
            "{:.0} events/s ÷ COPY of {:.0} and {:.0} rows/s; CPU µs/event pg {:.1} client {:.1}, of the COPY {:.1}",
            rebuilt.per_second,
            before.per_second,
            after.per_second,
            per_event(rebuilt.postgres),
            per_event(rebuilt.client),
            per_event(before.postgres)
        );
        let value = rebuilt.per_second / mean(before.per_second, after.per_second);
        self.report.add(aim, value, from, &json!({"events": events}))
    }
}
