//! `convolog import --costs`: the costs of an export into a tenant's ledgers.

use std::io::{self, BufRead};

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Settings, Source, into, open, print};
use crate::attach::Attached;
use crate::commands::{Exit, Failure};
use crate::import::Progress;
use crate::import::costs::{Format, Ledger, Report, read, run as import};
use crate::write_side::WriteSide;

/// Reads the file, once or twice, and records its costs.
pub(super) async fn run(
    settings: &Settings,
    source: Source,
    now: DateTime<Utc>,
    stop: &CancellationToken,
) -> Result<Exit, Failure> {
    if !settings.dry_run && !settings.strict {
        return record(settings, source, now, stop).await;
    }
    let report = pass(None, settings, source, now, stop).await?.0;
    if settings.dry_run || report.findings.bad > 0 || report.interrupted {
        print(&report.as_read())?;
        return Ok(exit(&report));
    }
    record(settings, open(&settings.file)?, now, stop).await
}

async fn record(
    settings: &Settings,
    source: Source,
    now: DateTime<Utc>,
    stop: &CancellationToken,
) -> Result<Exit, Failure> {
    let attached = Attached::find(&settings.services)?;
    let write_side = WriteSide::attach(&attached).await?;
    let (tenant, name) = into(&write_side.database, settings).await?;
    let ledger = Ledger::new(write_side.database.clone(), write_side.log.clone(), tenant, Uuid::now_v7());
    let passed = pass(Some(&ledger), settings, source, now, stop).await;
    drop(ledger);
    let grown = passed.as_ref().ok().filter(|(report, _)| report.new > 0).map(|(report, _)| (tenant, report.seq));
    write_side.close(grown).await?;
    let (report, imported) = passed?;
    print(&format!("{name} ({tenant}): {report}"))?;
    if imported.is_err() || report.interrupted {
        print("not all of it is imported: run the same command again to go on")?;
    }
    imported?;
    Ok(exit(&report))
}

/// Reads the file once. The inner result is the import's own, whose counts hold in either case.
async fn pass(
    ledger: Option<&Ledger>,
    settings: &Settings,
    (mut source, size): Source,
    now: DateTime<Utc>,
    stop: &CancellationToken,
) -> Result<(Report, anyhow::Result<()>), Failure> {
    let mut report = Report::new(Progress::new(size, "costs"));
    let format = format_of(settings, &mut source)?;
    let file = settings.file.display();
    let rows = read(source, format, now).map_err(|error| Failure::usage(format!("{file}: {error}")))?;
    let imported = import(ledger, rows, stop, &mut report).await;
    report.findings.close();
    if ledger.is_none() {
        imported?;
        return Ok((report, Ok(())));
    }
    Ok((report, imported))
}

/// As the settings say, or the file's name, or its first character.
fn format_of(settings: &Settings, source: &mut impl BufRead) -> io::Result<Format> {
    if let Some(format) = settings.format {
        return Ok(format);
    }
    let extension = settings.file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "csv" => return Ok(Format::Csv),
        "jsonl" | "ndjson" | "json" => return Ok(Format::Jsonl),
        _ => {}
    }
    let begin = source.fill_buf()?;
    let begin = begin.strip_prefix(b"\xef\xbb\xbf").unwrap_or(begin).trim_ascii_start();
    Ok(if begin.starts_with(b"{") { Format::Jsonl } else { Format::Csv })
}

fn exit(report: &Report) -> Exit {
    if report.findings.bad > 0 || report.interrupted { Exit::Found } else { Exit::Done }
}
