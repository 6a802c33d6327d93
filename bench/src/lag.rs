//! How far whoever follows the logs is behind them.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, PgPool};

/// Tables that say how far somebody is.
pub(crate) const PROJECTOR: &str = "projection_checkpoints";
pub(crate) const RELAY: &str = "relay_cursors";

/// How long [`ended`] waits.
const PATIENCE: Duration = Duration::from_secs(120);

/// Events of all logs that one of them has yet to see.
pub(crate) async fn of(table: &str, admin: &PgPool) -> anyhow::Result<u32> {
    let sql = format!(
        "select coalesce(sum(h.seq - coalesce(c.seq, 0)), 0)::int from tenant_heads h left join {table} c using (tenant_id)"
    );
    let events: i32 = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(admin).await?;
    Ok(u32::try_from(events)?)
}

/// Waits until it has come to the end of all logs.
pub(crate) async fn ended(table: &str, admin: &PgPool) -> anyhow::Result<()> {
    let begun = Instant::now();
    while of(table, admin).await? > 0 {
        anyhow::ensure!(begun.elapsed() < PATIENCE, "{table} does not reach the end of the logs");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
