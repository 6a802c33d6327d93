//! `convolog import`: conversations from a file of JSON lines, or costs from an export, into a tenant's log.

mod costs;

use std::fs::File;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};

use chrono::{DateTime, SubsecRound as _, Utc};
use clap::Args;
use domain::TenantId;
use store::ApiDatabase;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::tenant::choose;
use super::{Exit, Failure};
use crate::attach::Attached;
use crate::import::costs::Format;
use crate::import::report::Report;
use crate::import::{Progress, Target, lines, run as import};
use crate::settings::ServiceSettings;
use crate::write_side::WriteSide;

/// Shown below the help.
pub const EXAMPLES: &str = "Each line is one conversation:
  {\"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}, {\"role\": \"assistant\", \"content\": \"Hi!\"}],
   \"id\": \"chat-17\", \"created\": \"2026-11-02T09:30:00Z\", \"model\": \"gpt-4\", \"metadata\": {\"channel\": \"web\"}}
Only `messages` is required. `usage` of a message or of the line becomes the cost of its reply.
With --costs each row is one cost, for example
  id,occurred_at,model,amount,currency,input_uncached,output_text
  req-17,2026-11-02T09:30:00Z,gpt-4o,0.000123,USD,420,96
What is in the log already is left as it is: after an interruption, run it again.

Examples:
  convolog import chats.jsonl --email ada@example.com
  convolog import chats.jsonl --dry-run
  convolog import spend.csv --costs --email ada@example.com
  zcat chats.jsonl.gz | convolog import - --tenant 01a2046a-b01f-7338-8721-f968a8e95204

Exit codes: 0 all is in the log, 1 some lines are not, 2 bad usage, 3 a service is unavailable.";

const NO_TENANT: &str = "into which tenant? Name it with --tenant <UUID>, or with --email <address of its user>";
/// Settings of `convolog import`.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// A file of JSON lines, or with --costs also of comma-separated values; `-` is standard input.
    pub file: PathBuf,
    /// The file is an export of costs, not of conversations.
    #[arg(long)]
    pub costs: bool,
    /// How an export of costs is written; when not set, its name or its first character says it.
    #[arg(long, requires = "costs")]
    pub format: Option<Format>,
    /// The tenant, by its id.
    #[arg(long, value_name = "UUID")]
    pub tenant: Option<Uuid>,
    /// The tenant, by the address of a user who belongs to no other.
    #[arg(long, conflicts_with = "tenant")]
    pub email: Option<String>,
    /// Check the whole file first and import nothing when a line is bad; the file is read twice.
    #[arg(long)]
    pub strict: bool,
    /// Only read and check; needs no service.
    #[arg(long, conflicts_with = "strict")]
    pub dry_run: bool,
    /// Where PostgreSQL and NATS are.
    #[command(flatten)]
    pub services: ServiceSettings,
}

/// Runs to the end of the file, or until Ctrl-C and the end of what is under way then.
pub async fn run(settings: &Settings) -> Result<Exit, Failure> {
    let stop = CancellationToken::new();
    super::stop_on_signal(stop.clone())?;
    #[expect(clippy::disallowed_methods, reason = "what has no time of its own happens when it is imported")]
    let now = Utc::now().trunc_subsecs(6);
    // Opened once, unless it is read twice: a pipe can't be opened again.
    let source = open(&settings.file)?;
    if settings.tenant.is_none() && settings.email.is_none() && !settings.dry_run {
        return Err(Failure::usage(NO_TENANT));
    }
    if settings.strict && source.1.is_none() {
        return Err(Failure::usage("--strict reads the file twice: it must be a file, not a pipe or standard input"));
    }
    if settings.costs {
        return costs::run(settings, source, now, &stop).await;
    }
    if !settings.dry_run && !settings.strict {
        return record(settings, source, now, &stop).await;
    }
    let report = only_read(source, now, &stop).await?;
    if settings.dry_run || report.findings.bad > 0 || report.interrupted {
        print(&format!(
            "{} conversations with {} messages and {} costs, {} bad lines; nothing was imported",
            report.new, report.messages, report.costs, report.findings.bad
        ))?;
        return Ok(if report.findings.bad > 0 || report.interrupted { Exit::Found } else { Exit::Done });
    }
    record(settings, open(&settings.file)?, now, &stop).await
}

async fn only_read((source, size): Source, now: DateTime<Utc>, stop: &CancellationToken) -> Result<Report, Failure> {
    let mut report = Report::new(Progress::new(size, "messages"), now);
    let read = import(None, lines::read(source), stop, &mut report).await;
    report.findings.close();
    read?;
    Ok(report)
}

async fn record(
    settings: &Settings,
    (source, size): Source,
    now: DateTime<Utc>,
    stop: &CancellationToken,
) -> Result<Exit, Failure> {
    let attached = Attached::find(&settings.services)?;
    let write_side = WriteSide::attach(&attached).await?;
    let (tenant, name) = into(&write_side.database, settings).await?;
    let mut report = Report::new(Progress::new(size, "messages"), now);
    let target = Target::new(write_side.log.clone(), tenant, Uuid::now_v7(), now);
    let imported = import(Some(&target), lines::read(source), stop, &mut report).await;
    drop(target);
    write_side.close((report.events > 0).then_some((tenant, report.seq))).await?;
    report.findings.close();
    print(&format!("{name} ({tenant}): {report}"))?;
    if imported.is_err() || report.interrupted {
        print("not all of it is imported: run the same command again to go on")?;
    }
    imported?;
    Ok(if report.findings.bad > 0 || report.interrupted { Exit::Found } else { Exit::Done })
}

/// The tenant that the settings name, and its name.
async fn into(database: &ApiDatabase, settings: &Settings) -> Result<(TenantId, String), Failure> {
    let chosen = choose(database, settings.tenant, settings.email.as_deref()).await?;
    chosen.ok_or_else(|| Failure::usage(NO_TENANT))
}

/// A file, and its size when it can be read again.
type Source = (Box<dyn BufRead + Send>, Option<u64>);

fn open(file: &Path) -> Result<Source, Failure> {
    if file == Path::new("-") {
        return Ok((Box::new(BufReader::new(std::io::stdin())), None));
    }
    let unreadable = |error: std::io::Error| Failure::usage(format!("{} can't be read: {error}", file.display()));
    let opened = File::open(file).map_err(unreadable)?;
    let about = opened.metadata().map_err(unreadable)?;
    if about.is_dir() {
        return Err(Failure::usage(format!("{} is a folder", file.display())));
    }
    Ok((Box::new(BufReader::with_capacity(256 * 1024, opened)), about.is_file().then_some(about.len())))
}

fn print(line: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}
