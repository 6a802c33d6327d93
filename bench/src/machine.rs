//! Facts about the machine and the versions, so that a figure can be judged later; and the one percentile function.

use std::fs;
use std::process::Command;

use serde::Serialize;

use crate::services::Services;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) cpu: String,
    pub(crate) memory_gb: f64,
    pub(crate) kernel: String,
    pub(crate) file_system: String,
    pub(crate) postgresql: String,
    pub(crate) nats: String,
    pub(crate) commit: String,
    pub(crate) measured_at: String,
}

impl Machine {
    pub(crate) async fn facts(services: &Services) -> anyhow::Result<Self> {
        let value = |file: &str, name: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(':'));
            line.map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
        };
        let kib = value("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse().unwrap_or(0.0);
        #[expect(clippy::disallowed_methods, reason = "the benchmark has no other clock")]
        let now = chrono::Utc::now();
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            cpu: value("/proc/cpuinfo", "model name"),
            memory_gb: kib * 1024.0 / 1e9,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            file_system: services.file_system()?,
            postgresql: sqlx::query_scalar("show server_version").fetch_one(&services.admin).await?,
            nats: output(Command::new(&services.binaries.nats_server).arg("--version")),
            commit: output(Command::new("git").args(["describe", "--always", "--dirty"])),
            measured_at: now.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
        })
    }
}

fn output(command: &mut Command) -> String {
    let output = command.output().ok().filter(|output| output.status.success());
    output.map_or_else(|| "unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The 50th and the 99th percentile of what is sorted here; 0 of nothing.
pub(crate) fn percentiles(values: &mut [u32]) -> (f64, f64) {
    values.sort_unstable();
    let at = |percent: usize| values.get(values.len() * percent / 100).copied().map_or(0.0, f64::from);
    (at(50), at(99))
}

/// The middle one; 0 of nothing.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}
