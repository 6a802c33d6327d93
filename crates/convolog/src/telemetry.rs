//! Where the process counts: one recorder for all nodes in it, installed by the first.
#![expect(clippy::disallowed_types, reason = "the values of metrics are floating point numbers")]

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{describe_gauge, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;

/// Bounds of histograms of times, in seconds: from a cached read to a client's patience.
const SECONDS: [f64; 15] =
    [0.000_25, 0.000_5, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0, 2.5, 5.0];
/// Bounds of histograms of commands and events in a batch.
const COUNTS: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];
/// Bounds of histograms of bytes.
const BYTES: [f64; 8] = [256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262_144.0, 1_048_576.0, 4_194_304.0];
/// Measurements wait in memory until they are sorted into buckets; this happens so often even if nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

struct Recorder {
    handle: PrometheusHandle,
    process: Collector,
}

static RECORDER: OnceLock<Option<Recorder>> = OnceLock::new();

/// Makes the process count. Whoever registers meters earlier counts nothing; a second call does nothing.
pub fn install() {
    RECORDER.get_or_init(|| match recorder() {
        Ok(recorder) => Some(recorder),
        Err(error) => {
            tracing::warn!(error = error.as_ref() as &dyn std::error::Error, "there will be no metrics");
            None
        }
    });
}

/// All metrics in the text format of Prometheus; empty before [`install`].
pub fn render() -> String {
    let Some(Some(recorder)) = RECORDER.get() else { return String::new() };
    recorder.process.collect();
    recorder.handle.render()
}

fn recorder() -> Result<Recorder, Box<dyn std::error::Error + Send + Sync>> {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), &BYTES)?
        .set_buckets_for_metric(Matcher::Full("convolog_append_batch_commands".to_owned()), &COUNTS)?
        .set_buckets_for_metric(Matcher::Full("convolog_append_batch_events".to_owned()), &COUNTS)?;
    let handle = builder.install_recorder()?;
    let upkeep = handle.clone();
    // A thread, because a process of several nodes may have several runtimes, and none that outlives the others.
    std::thread::Builder::new().name("metrics".to_owned()).spawn(move || {
        loop {
            std::thread::sleep(UPKEEP);
            upkeep.run_upkeep();
        }
    })?;
    let process = Collector::new("convolog_");
    process.describe();
    describe_gauge!("convolog_build_info", "Always 1, with the version of the program");
    gauge!("convolog_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1);
    Ok(Recorder { handle, process })
}
