//! `convolog replay`: rebuilds the read tables from the log, or shows them as they were.

use std::io::{BufWriter, ErrorKind, Write as _};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, FixedOffset};
use clap::Args;
use projector::replay::{AsOf, Counters, DEFAULT_WORKERS, Kept, Point, Replay, TenantState};
use store::chain;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::rebuilding::{OnlyTenant, Progress, connect, one_tenant, rate, say};
use super::{Exit, Failure};
use crate::attach::Attached;
use crate::settings::ServiceSettings;

/// Shown below the help.
pub const EXAMPLES: &str =
    "Rows that are as they should be are left alone. Readers never see a row missing or half built, and projecting goes
on meanwhile. It may be ended at any time, also by kill -9: the same command goes on where it was.

Examples:
  convolog replay                                       all tenants
  convolog replay --tenant 01a2046a-b01f-7338-8721-f968a8e95204
  convolog replay --email ada@example.com --to-seq 1000
                                                        her tenant's rows as they were after event 1000, kept
                                                        under a run id beside today's
  convolog replay --email ada@example.com --to-time 2026-11-01T00:00:00Z --print > then.jsonl
                                                        written as JSON lines, and not kept
  convolog replay --runs                                what is kept
  convolog replay --drop 01a2046a-c0de-7aaa-8000-0123456789ab

Exit codes: 0 done, 1 it was ended before its time or some tenants could not be rebuilt, 2 bad usage, 3 a service is
unavailable.";

/// Tenants that are looked up at once.
const LISTED: i32 = 1_000;

/// Settings of `convolog replay`.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// Which tenant.
    #[command(flatten)]
    pub only: OnlyTenant,
    /// Tenants, or groups of small ones, that are rebuilt at the same time; each takes about a core of PostgreSQL's machine
    /// from the commands.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_WORKERS)]
    pub workers: NonZeroU32,
    /// Forget how far an interrupted replay of all tenants was.
    #[arg(long, conflicts_with_all = ["tenant", "email"])]
    pub restart: bool,
    /// Change nothing, but build the rows as they were after the event of this number; needs a tenant.
    #[arg(long, value_name = "N", conflicts_with_all = ["to_time", "restart"])]
    pub to_seq: Option<u64>,
    /// The same, as they were at this time.
    #[arg(long, value_name = "TIME", conflicts_with = "restart")]
    pub to_time: Option<DateTime<FixedOffset>>,
    /// With --to-seq or --to-time: write the rows as JSON lines and do not keep them.
    #[arg(long)]
    pub print: bool,
    /// List the runs whose rows are kept.
    #[arg(long, conflicts_with_all = ["tenant", "email", "print", "to_seq", "to_time", "restart"])]
    pub runs: bool,
    /// Drop the rows of a run.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["runs", "print", "to_seq", "to_time", "restart"])]
    pub drop: Option<Uuid>,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub services: ServiceSettings,
}

/// Does one of these things.
pub async fn run(settings: &Settings) -> Result<Exit, Failure> {
    let stop = CancellationToken::new();
    super::stop_on_signal(stop.clone())?;
    let time = settings.to_time.map(|time| Point::Time(time.to_utc()));
    let point = settings.to_seq.map(Point::Seq).or(time);
    if settings.print && point.is_none() {
        return Err(Failure::usage("--print writes rows as they were: say when, with --to-seq or --to-time"));
    }
    if point.is_some() && settings.only.tenant.is_none() && settings.only.email.is_none() {
        return Err(Failure::usage("--to-seq and --to-time are about one tenant: name it with --tenant or --email"));
    }
    let attached = Attached::find(&settings.services)?;
    let (database, replay) = connect(&attached, settings.workers.get() + 1).await?;
    let exit = match (settings.runs, settings.drop) {
        (true, _) => list(&replay).await,
        (_, Some(run)) => drop_run(&replay, run).await,
        _ => {
            let state = one_tenant(&attached, &replay, &settings.only).await?;
            match (point, state) {
                (Some(point), Some(state)) => look_back(&replay, state, point, settings.print, &stop).await,
                (_, state) => rebuild(&replay, state, settings, &stop).await,
            }
        }
    };
    database.close().await;
    exit
}

async fn rebuild(
    replay: &Replay,
    state: Option<TenantState>,
    settings: &Settings,
    stop: &CancellationToken,
) -> Result<Exit, Failure> {
    let begun = Instant::now();
    let counters = Arc::new(Counters::default());
    let replaying = async {
        match state {
            Some(state) => replay.one(state, &counters, stop).await,
            None => replay.all(settings.workers.get() as usize, settings.restart, &counters, stop).await,
        }
    };
    let mut progress = Progress::new();
    let mut replaying = std::pin::pin!(replaying);
    let ended = loop {
        tokio::select! {
            ended = &mut replaying => break ended,
            () = tokio::time::sleep(Progress::TICK) => progress.show(count(&counters.events), count(&counters.total)),
        }
    };
    progress.close();
    for failure in counters.take_failures() {
        say(&format!("tenant {} was not rebuilt: {}", failure.tenant, chain(&failure.error)));
    }
    print(&summary(&counters, begun.elapsed()))?;
    let whole = ended.is_ok() && !stop.is_cancelled();
    if !whole {
        print("not everything is rebuilt: run the same command again to go on")?;
    }
    ended?;
    Ok(if whole && count(&counters.failed) == 0 { Exit::Done } else { Exit::Found })
}

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn summary(counters: &Counters, time: Duration) -> String {
    let (tenants, events) = (count(&counters.tenants), count(&counters.events));
    let mut text = format!("{tenants} tenants rebuilt, {} rows were not as they should be", count(&counters.touched));
    let more = [
        (&counters.before, "done before the interruption"),
        (&counters.other_version, "left to a projector of their version"),
        (&counters.failed, "could not be rebuilt"),
    ];
    for (counter, what) in more {
        if count(counter) > 0 {
            text.push_str(&format!(", {} {what}", count(counter)));
        }
    }
    let before = count(&counters.events_before);
    if before > 0 {
        text.push_str(&format!("; {before} events were projected before the interruption"));
    }
    let events = events - before;
    let (seconds, rate) = (time.as_secs(), rate(events, time));
    format!("{text}; {events} events in {seconds}.{:02} s ({rate} events/s)", time.subsec_millis() / 10)
}

async fn look_back(
    replay: &Replay,
    state: TenantState,
    point: Point,
    print_rows: bool,
    stop: &CancellationToken,
) -> Result<Exit, Failure> {
    let Some(seq) = replay.number_of(state, point).await? else {
        return Err(Failure::usage(format!("the log of tenant {} ends at {}", state.tenant, state.head)));
    };
    let reached = AtomicU64::new(0);
    let note = |seq| reached.store(seq, Ordering::Relaxed);
    let mut progress = Progress::new();
    let built = {
        let mut building = std::pin::pin!(replay.as_of(state.tenant, seq, &note, stop));
        loop {
            tokio::select! {
                built = &mut building => break built?,
                () = tokio::time::sleep(Progress::TICK) => progress.show(count(&reached), seq),
            }
        }
    };
    progress.close();
    let Some(as_of) = built else {
        say("ended before its time; nothing is kept");
        return Ok(Exit::Found);
    };
    if !print_rows {
        print(&kept(state, &as_of))?;
        return Ok(Exit::Done);
    }
    let mut out = BufWriter::new(std::io::stdout());
    let mut written = Ok(());
    let mut tell = |table: &str, row: &str| {
        written = writeln!(out, "{{\"table\":\"{table}\",\"row\":{row}}}");
        written.is_ok() && !stop.is_cancelled()
    };
    let told = replay.rows_of(state.tenant, as_of.run, &mut tell).await;
    replay.discard(state.tenant, as_of.run).await?;
    told?;
    match written.and_then(|()| out.flush()) {
        // Whoever reads only the beginning has what they want.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(if stop.is_cancelled() { Exit::Found } else { Exit::Done }),
    }
}

fn kept(state: TenantState, as_of: &AsOf) -> String {
    let AsOf { run, seq, rows } = as_of;
    let mut text = format!("tenant {} after event {seq}, kept as run {run}:\n", state.tenant);
    for (table, count) in rows {
        text.push_str(&format!("{count:>12}  staging.{table}\n"));
    }
    text.push_str(&format!(
        "Look at them as convolog_projector:
  set app.current_tenant_ids = '{{{}}}'; set app.current_run_id = '{run}';
  select * from staging.{};
Drop them:
  convolog replay --drop {run}",
        state.tenant,
        rows.first().map_or("sessions", |(table, _)| table)
    ));
    text
}

/// All runs, tenant by tenant.
async fn all_runs(replay: &Replay) -> Result<Vec<Kept>, Failure> {
    let (mut after, mut all) = (Uuid::nil(), Vec::new());
    loop {
        let page = replay.tenants_after(after, LISTED).await?;
        let Some(last) = page.last() else { return Ok(all) };
        after = last.tenant.0;
        all.extend(replay.runs(&page).await?);
    }
}

async fn list(replay: &Replay) -> Result<Exit, Failure> {
    for Kept { tenant, run, purpose, seq, complete, began_at } in all_runs(replay).await? {
        let (state, time) = (if complete { "complete" } else { "unfinished" }, began_at.format("%Y-%m-%dT%H:%M:%SZ"));
        print(&format!("{run}  {time}  {purpose}  tenant {tenant} after event {seq}, {state}"))?;
    }
    Ok(Exit::Done)
}

async fn drop_run(replay: &Replay, run: Uuid) -> Result<Exit, Failure> {
    let found: Vec<Kept> = all_runs(replay).await?.into_iter().filter(|kept| kept.run == run).collect();
    if found.is_empty() {
        return Err(Failure::usage(format!("there is no run {run}")));
    }
    for kept in found {
        replay.discard(kept.tenant, kept.run).await?;
    }
    Ok(Exit::Done)
}

fn print(line: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}
