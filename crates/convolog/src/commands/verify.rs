//! `convolog verify`: compares the read tables with what the log says.

use std::fmt::Write as _;
use std::io::{BufWriter, Write as _};
use std::time::Instant;

use clap::Args;
use projector::replay::{Difference, Replay, TenantState, Verified};
use serde_json::{Map, Value, json};
use store::chain;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::rebuilding::{OnlyTenant, Progress, connect, one_tenant, rate};
use super::{Exit, Failure};
use crate::attach::Attached;
use crate::settings::ServiceSettings;

/// Shown below the help.
pub const EXAMPLES: &str = "Changes nothing and leaves nothing behind. Each row that was changed, deleted or added is printed with what is there and
what should be; `convolog replay` puts it right.

Examples:
  convolog verify                                       all tenants
  convolog verify --tenant 01a2046a-b01f-7338-8721-f968a8e95204
  convolog verify --email ada@example.com --json | jq .table

Exit codes: 0 every row is as the log says, 1 some are not or it was ended before its time, 2 bad usage, 3 a service is
unavailable.";

/// Tenants that are compared between two looks at the progress.
const AT_ONCE: i32 = 200;

/// Settings of `convolog verify`.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// Which tenant.
    #[command(flatten)]
    pub only: OnlyTenant,
    /// Write each row that differs as JSON, in one line.
    #[arg(long)]
    pub json: bool,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub services: ServiceSettings,
}

/// Compares, until Ctrl-C.
pub async fn run(settings: &Settings) -> Result<Exit, Failure> {
    let stop = CancellationToken::new();
    super::stop_on_signal(stop.clone())?;
    let attached = Attached::find(&settings.services)?;
    let (database, replay) = connect(&attached, 2).await?;
    let state = one_tenant(&attached, &replay, &settings.only).await?;
    let begun = Instant::now();
    let mut out = Out { out: BufWriter::new(std::io::stdout()), json: settings.json, failed: Ok(()) };
    let mut all = Verified::default();
    let verified = match state {
        Some(state) => verify(&replay, &[state], &mut out, &mut all, &stop).await,
        None => verify_all(&replay, &mut out, &mut all, &stop).await,
    };
    database.close().await;
    verified?;
    let Verified { tenants, events, other_version, differences, failures } = all;
    for failure in &failures {
        super::rebuilding::say(&format!("tenant {} was not compared: {}", failure.tenant, chain(&failure.error)));
    }
    let time = begun.elapsed();
    let mut text = format!(
        "{differences} rows differ; {tenants} tenants with {events} events compared in {}.{:02} s ({} events/s)",
        time.as_secs(),
        time.subsec_millis() / 10,
        rate(events, time)
    );
    if other_version > 0 {
        text.push_str(&format!(", {other_version} left to a projector of their version"));
    }
    if stop.is_cancelled() {
        text.push_str("; ended before all were compared");
    }
    let Out { mut out, failed, .. } = out;
    failed?;
    match settings.json {
        // Lines of rows alone go where a program reads.
        true => super::rebuilding::say(&text),
        false => writeln!(out, "{text}")?,
    }
    out.flush()?;
    Ok(if differences > 0 || !failures.is_empty() || stop.is_cancelled() { Exit::Found } else { Exit::Done })
}

async fn verify_all(
    replay: &Replay,
    out: &mut Out,
    all: &mut Verified,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let length = |state: &TenantState| state.checkpoint.map_or(0, |(seq, _)| seq);
    let (mut after, mut total) = (Uuid::nil(), 0);
    loop {
        let page = replay.tenants_after(after, AT_ONCE).await?;
        let Some(last) = page.last() else { break };
        after = last.tenant.0;
        total += page.iter().map(length).sum::<u64>();
    }
    let mut progress = Progress::new();
    after = Uuid::nil();
    while !stop.is_cancelled() {
        let page = replay.tenants_after(after, AT_ONCE).await?;
        let Some(last) = page.last() else { break };
        after = last.tenant.0;
        verify(replay, &page, out, all, stop).await?;
        progress.show(all.events, total);
    }
    progress.close();
    Ok(())
}

async fn verify(
    replay: &Replay,
    states: &[TenantState],
    out: &mut Out,
    all: &mut Verified,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let mut sink = |difference: Difference| out.write(&difference);
    let verified = replay.verify(states, &mut sink, stop).await?;
    all.tenants += verified.tenants;
    all.events += verified.events;
    all.other_version += verified.other_version;
    all.differences += verified.differences;
    all.failures.extend(verified.failures);
    Ok(())
}

struct Out {
    out: BufWriter<std::io::Stdout>,
    json: bool,
    failed: std::io::Result<()>,
}

impl Out {
    fn write(&mut self, difference: &Difference) {
        let text = if self.json { as_json(difference) } else { as_text(difference) };
        if self.failed.is_ok() {
            self.failed = writeln!(self.out, "{text}");
        }
    }
}

type Row = Vec<(String, Option<String>)>;

fn what(difference: &Difference) -> &'static str {
    match (&difference.there, &difference.expected) {
        (Some(_), Some(_)) => "changed",
        (None, _) => "missing",
        (Some(_), None) => "added",
    }
}

/// The columns of a changed row that are not as they should be: what is there, what should be.
fn changed<'a>(there: &'a Row, expected: &'a Row) -> impl Iterator<Item = (&'a str, Option<&'a str>, Option<&'a str>)> {
    let pairs = there.iter().zip(expected).filter(|(is, should)| is.1 != should.1);
    pairs.map(|((name, is), (_, should))| (name.as_str(), is.as_deref(), should.as_deref()))
}

fn as_text(difference: &Difference) -> String {
    let shown = |value: Option<&str>| value.map_or_else(|| "null".to_owned(), |text| format!("{text:?}"));
    let key = difference.key.iter().map(|(name, value)| format!("{name} {}", value.as_deref().unwrap_or("null")));
    let key = key.collect::<Vec<_>>().join(", ");
    let mut text = format!("tenant {}: {} row of {}: {key}", difference.tenant, what(difference), difference.table);
    match (&difference.there, &difference.expected) {
        (Some(there), Some(expected)) => {
            for (name, is, should) in changed(there, expected) {
                let _ = write!(text, "\n    {name}: is {}, should be {}", shown(is), shown(should));
            }
        }
        (Some(row), None) | (None, Some(row)) => {
            let verb = if difference.there.is_some() { "is" } else { "should be" };
            for (name, value) in row.iter().filter(|(name, value)| name != "tenant_id" && value.is_some()) {
                let _ = write!(text, "\n    {name}: {verb} {}", shown(value.as_deref()));
            }
        }
        (None, None) => {}
    }
    text
}

/// Values as PostgreSQL writes them: strings, so that no amount loses a digit.
fn as_json(difference: &Difference) -> String {
    let object = |row: &Row| row.iter().map(|(name, value)| (name.clone(), json!(value))).collect::<Map<_, _>>();
    let row = |row: &Option<Row>| row.as_ref().map_or(Value::Null, |row| Value::Object(object(row)));
    let columns = match (&difference.there, &difference.expected) {
        (Some(there), Some(expected)) => changed(there, expected).map(|(name, _, _)| name.to_owned()).collect(),
        _ => Vec::new(),
    };
    json!({
        "tenant": difference.tenant.0,
        "table": difference.table,
        "what": what(difference),
        "key": object(&difference.key),
        "columns": columns,
        "there": row(&difference.there),
        "expected": row(&difference.expected),
    })
    .to_string()
}
