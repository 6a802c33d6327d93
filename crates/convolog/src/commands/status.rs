//! `convolog status`: how the service does, asked of PostgreSQL and NATS themselves, so that it works without the API.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use api::report::{DatabaseFacts, Facts, LagView, Report, Status};
use bus::User;
use clap::Args;
use store::ApiDatabase;
use tokio_util::sync::CancellationToken;

use super::{Exit, Failure};
use crate::attach::{Attached, Role};
use crate::settings::ServiceSettings;

/// Shown below the help.
pub const EXAMPLES: &str = "Examples:
  convolog status                          of the `convolog dev` that runs in this folder
  convolog status --json | jq .reasons     the report of GET /health
  convolog status --watch                  again every two seconds
  CONVOLOG_API_DATABASE_URL=postgres://… NATS_URL=nats://… convolog status

Exit codes: 0 all is well, 1 something is not as it should be, 3 a service is unavailable.";

/// How long NATS is waited for.
const NATS_PATIENCE: Duration = Duration::from_secs(2);
/// How long PostgreSQL is waited for, log-in included.
const POSTGRESQL_PATIENCE: Duration = Duration::from_secs(5);
/// Pause of `--watch`.
const WATCH_PAUSE: Duration = Duration::from_secs(2);

/// Settings of `convolog status`.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// Write the report as JSON, in one line.
    #[arg(long)]
    pub json: bool,
    /// Report again and again, until Ctrl-C.
    #[arg(long)]
    pub watch: bool,
    /// Where PostgreSQL and NATS are.
    #[command(flatten)]
    pub services: ServiceSettings,
}

/// Reports once, or until Ctrl-C. The exit is that of the last report.
pub async fn run(settings: &Settings) -> Result<Exit, Failure> {
    let stop = CancellationToken::new();
    super::stop_on_signal(stop.clone())?;
    loop {
        let report = tokio::select! {
            report = ask(&settings.services) => report?,
            () = stop.cancelled() => return Ok(Exit::Done),
        };
        write(settings, &report)?;
        if !settings.watch {
            return match report.status {
                Status::Ok => Ok(Exit::Done),
                Status::Degraded => Ok(Exit::Found),
                Status::Failing => Err(Failure::Unavailable(anyhow::Error::msg("the service does not work"))),
            };
        }
        tokio::select! {
            () = tokio::time::sleep(WATCH_PAUSE) => {}
            () = stop.cancelled() => return Ok(Exit::Done),
        }
    }
}

async fn ask(services: &ServiceSettings) -> Result<Report, Failure> {
    let attached = Attached::find(services)?;
    let ((database, isolation), nats) = tokio::join!(ask_postgresql(&attached), ask_nats(&attached));
    Ok(Report::of(Facts { database, isolation, nats, process: None }))
}

type PostgresqlFacts = (std::sync::Arc<DatabaseFacts>, Result<(), String>);

async fn ask_postgresql(attached: &Attached) -> PostgresqlFacts {
    let asked = async {
        let settings = attached.database(Role::Api, 1).map_err(|failure| failure.to_string())?;
        let database = ApiDatabase::connect(settings).await.map_err(|error| store::chain(&error))?;
        let isolation = database.self_check().await.map_err(|error| store::chain(&error));
        let facts = DatabaseFacts::ask(database.clone()).await;
        database.close().await;
        Ok((facts, isolation))
    };
    let answered = tokio::time::timeout(POSTGRESQL_PATIENCE, asked).await;
    let answered = answered.unwrap_or_else(|_elapsed| Err("no answer in time".to_owned()));
    answered.unwrap_or_else(|error: String| (DatabaseFacts::unreachable(error.clone()), Err(error)))
}

async fn ask_nats(attached: &Attached) -> Result<(), String> {
    let nats = attached.nats().ok_or("NATS_URL is not set and no local one runs")?;
    let bus = nats.connect(User::Api).await.map_err(|error| format!("{error:#}"))?;
    if bus.ready(NATS_PATIENCE).await { Ok(()) } else { Err("no connection in time".to_owned()) }
}

fn write(settings: &Settings, report: &Report) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    if settings.json {
        writeln!(out, "{}", serde_json::to_string(report)?)?;
    } else {
        if settings.watch && out.is_terminal() {
            // From the top of a cleared screen.
            write!(out, "\x1b[2J\x1b[H")?;
        }
        write!(out, "{}", text(report, out.is_terminal()))?;
    }
    out.flush()?;
    Ok(())
}

/// The report for people: a line for each part, then what is wrong.
fn text(report: &Report, colours: bool) -> String {
    let paint = |status: Status, text: &str| match (colours, status) {
        (false, _) => text.to_owned(),
        (true, Status::Ok) => format!("\x1b[32m{text}\x1b[0m"),
        (true, Status::Degraded) => format!("\x1b[33m{text}\x1b[0m"),
        (true, Status::Failing) => format!("\x1b[31m{text}\x1b[0m"),
    };
    let postgresql = &report.postgresql;
    let server = match (&postgresql.version, postgresql.latency_us) {
        (Some(version), Some(micros)) => format!("{version}, answers in {micros} µs"),
        _ => "does not answer".to_owned(),
    };
    let snapshot = match postgresql.oldest_snapshot_seconds {
        Some(seconds) => format!("{seconds} s old"),
        None => "unknown".to_owned(),
    };
    let log = report.log.as_ref();
    let log = log.map_or("unknown".to_owned(), |log| format!("{} events of {} tenants", log.events, log.tenants));
    let mut lines = vec![
        ("Status", paint(report.status, report.status.as_str())),
        ("PostgreSQL", server),
        ("Tenants apart", postgresql.row_level_security.to_owned()),
        ("Oldest snapshot", snapshot),
        ("NATS", if report.nats.connected { "connected" } else { "not connected" }.to_owned()),
        ("Log", log),
        ("Relay", lag(report.relay.as_ref())),
        ("Read tables", lag(report.read_model.as_ref())),
    ];
    let reasons = report.reasons.iter().map(|reason| ("", paint(reason.status, &reason.detail)));
    lines.extend(reasons);
    lines.iter().map(|(name, value)| format!("{name:<16}{value}\n")).collect()
}

fn lag(view: Option<&LagView>) -> String {
    match view {
        None => "unknown".to_owned(),
        Some(LagView { behind_events: 0, shards, .. }) => format!("up to date, {shards} of 64 shards at work"),
        Some(LagView { behind_tenants, behind_events, behind_seconds, shards, .. }) => format!(
            "{behind_events} events of {behind_tenants} tenants behind, {behind_seconds} s, {shards} of 64 shards at work"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_aligned_and_coloured_for_terminals_alone() {
        let gone = "gone".to_owned();
        let facts = Facts {
            database: DatabaseFacts::unreachable(gone.clone()),
            isolation: Err(gone.clone()),
            nats: Err(gone),
            process: None,
        };
        let report = Report::of(facts);
        let plain = text(&report, false);
        assert!(plain.starts_with("Status          failing\nPostgreSQL      does not answer\n"), "{plain}");
        assert!(plain.contains("\n                PostgreSQL does not answer: gone\n"), "{plain}");
        assert!(!plain.contains('\x1b'));
        assert!(text(&report, true).starts_with("Status          \x1b[31mfailing\x1b[0m\n"));
    }
}
