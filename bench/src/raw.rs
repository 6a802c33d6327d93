//! The raw figure: `pgbench` of the same PostgreSQL, one durable insert of one comparable row per transaction.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use sqlx::Executor as _;
use sqlx::postgres::PgPoolOptions;
use tokio::process::Command;
use uuid::Uuid;

use crate::services::Services;
use crate::{http, machine};

const TABLE: &str = "
create table raw_events (
  tenant_id uuid not null,
  seq bigint generated always as identity,
  stream_id uuid not null,
  version bigint not null,
  type text not null,
  payload json not null,
  primary key (tenant_id, seq),
  unique (tenant_id, stream_id, version)
)";

/// 1,000 tenants with 20 streams each; a random version takes as long to find its place as the next one.
const SCRIPT: &str = r"\set tenant random(1, 1000)
\set stream random(1, 20)
\set version random(1, 1000000000000)
insert into raw_events (tenant_id, stream_id, version, type, payload)
values (lpad(to_hex(:tenant::int), 32, '0')::uuid, lpad(to_hex(:stream::int), 32, '0')::uuid, :version, 'message_posted', :payload);
";

/// Who inserts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Inserters {
    pub(crate) clients: u32,
    /// How many inserts begin per second, whatever has become of those before; `None`: a client's next one when its last is
    /// done. A stall counts for all that it delays in the first case, and once per client in the other.
    pub(crate) per_second: Option<u32>,
}

/// Times in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Raw {
    pub(crate) per_second: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

pub(crate) async fn prepare(services: &Services) -> anyhow::Result<()> {
    let pool = PgPoolOptions::new().max_connections(1).connect(&services.raw_url()).await?;
    pool.execute(TABLE).await?;
    pool.close().await;
    Ok(())
}

/// Inserts for so long.
pub(crate) async fn inserts(services: &Services, who: Inserters, time: Duration) -> anyhow::Result<Raw> {
    let folder = std::env::temp_dir().join(format!("convolog-bench-{}", Uuid::now_v7().simple()));
    fs::create_dir(&folder)?;
    let measured = pgbench(services, &folder, who, time).await;
    fs::remove_dir_all(&folder)?;
    measured
}

async fn pgbench(services: &Services, folder: &Path, who: Inserters, time: Duration) -> anyhow::Result<Raw> {
    let Inserters { clients, per_second } = who;
    let (script, prefix) = (folder.join("insert.sql"), folder.join("log"));
    fs::write(&script, SCRIPT)?;
    let output = Command::new(services.program("pgbench"))
        .args(["-n", "-M", "prepared", "-c", &clients.to_string(), "-j", &clients.min(2).to_string()])
        .args(["-T", &time.as_secs().max(1).to_string(), "-D", &format!("payload={}", http::raw_payload()), "-l"])
        .arg(format!("--log-prefix={}", prefix.display()))
        .args(per_second.map(|rate| format!("--rate={rate}")))
        .arg("-f")
        .arg(&script)
        .arg(services.raw_url())
        .stdin(Stdio::null())
        .output()
        .await
        .context("pgbench")?;
    let text = String::from_utf8_lossy(&output.stdout);
    anyhow::ensure!(output.status.success(), "pgbench: {}", String::from_utf8_lossy(&output.stderr));
    let per_second = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    let mut latencies = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path != script {
            let log = fs::read_to_string(path)?;
            latencies.extend(log.lines().filter_map(|line| line.split(' ').nth(2)?.parse::<u32>().ok()));
        }
    }
    let (p50, p99) = machine::percentiles(&mut latencies);
    Ok(Raw { per_second: per_second.with_context(|| format!("no tps in: {text}"))?, p50, p99 })
}
