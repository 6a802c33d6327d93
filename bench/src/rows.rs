//! The rows of the table, each measured between two raw figures.

mod aims;
mod overload;
mod projected;
mod reads;
mod rebuild;
mod scale;

use std::io::Write as _;
use std::time::{Duration, Instant};

use clap::ValueEnum as _;
use serde_json::json;
use sqlx::Executor as _;

use crate::fleet::{Fleet, Target};
use crate::load::{self, Figures, Plan, Shape};
use crate::machine::{Machine, median};
use crate::node::NodeProcess;
use crate::paced::Pace;
use crate::raw::{self, Inserters, Raw};
use crate::report::{Aim, Report};
use crate::services::{DATABASE, Services};
use crate::{Group, Settings, lag, process};

/// How much is measured.
struct Size {
    rounds: usize,
    raw: Duration,
    warm_up: Duration,
    measured: Duration,
    /// The same for commands at a steady rate: the slowest hundredth of them is to be more than one stall.
    paced: Duration,
    tenants: usize,
    sessions: usize,
    /// Events that are rebuilt, at least.
    rebuilt: i32,
    /// Tenants of the smallest database of those that are compared by size.
    scaled_tenants: usize,
    starts: usize,
}

const QUICK: Size = Size {
    rounds: 1,
    raw: Duration::from_secs(1),
    warm_up: Duration::from_millis(500),
    measured: Duration::from_secs(2),
    paced: Duration::from_secs(2),
    tenants: 1000,
    sessions: 4,
    rebuilt: 25_000,
    scaled_tenants: 1,
    starts: 2,
};

const FULL: Size = Size {
    rounds: 3,
    raw: Duration::from_secs(3),
    warm_up: Duration::from_secs(1),
    measured: Duration::from_secs(3),
    paced: Duration::from_secs(6),
    tenants: 1000,
    sessions: 20,
    rebuilt: 125_000,
    scaled_tenants: 4,
    starts: 3,
};

/// Of the raw figure that throughput is compared with.
const MANY: Inserters = Inserters { clients: 32, per_second: None };
/// Of the raw figure that the times of one client are compared with.
const ONE: Inserters = Inserters { clients: 1, per_second: None };
/// Of the raw figure that commands at a steady rate are compared with.
const STEADY: Inserters = Inserters { clients: 32, per_second: Some(PACE) };
/// Commands per second of the row about visibility.
const PACE: u32 = 200;
/// Connections of that row: enough that a stall does not hold back the next command.
const PACED_CONNECTIONS: usize = 32;

struct Bench {
    services: Services,
    fleet: Fleet,
    node: NodeProcess,
    size: &'static Size,
    report: Report,
    /// The raw figure that was taken last, when nothing else has run since.
    last_raw: Option<(Inserters, Raw)>,
}

/// Measures what the settings ask for.
pub(crate) async fn run(settings: &Settings) -> anyhow::Result<()> {
    let size = if settings.quick { &QUICK } else { &FULL };
    let wanted = |group: &Group| settings.rows.is_empty() || settings.rows.contains(group);
    let begun = Instant::now();
    tell("starting PostgreSQL and NATS")?;
    let services = Services::start(&settings.scratch).await?;
    let machine = Machine::facts(&services).await?;
    tell(&format!("founding {} tenants with {} sessions each", size.tenants, size.sessions))?;
    raw::prepare(&services).await?;
    let database = services.api_database(DATABASE).await?;
    let fleet = Fleet::found(&database, &services.secrets.master_secret()?, size.tenants, size.sessions).await?;
    database.close().await;
    // As autovacuum does it on a database in use, only sooner.
    services.admin.execute("vacuum analyze").await?;
    let node = NodeProcess::start(&services, DATABASE, false).await?;
    let mut bench = Bench { services, fleet, node, size, report: Report::default(), last_raw: None };
    tell("posting into every session once")?;
    bench.load_each().await?;
    for group in Group::value_variants().iter().filter(|group| wanted(group)) {
        let begun = Instant::now();
        match group {
            Group::Rebuild => bench.rebuild().await?,
            Group::Projected => bench.projected().await?,
            Group::Everything => bench.everything().await?,
            Group::Visible => bench.visible().await?,
            Group::Commands => bench.commands().await?,
            Group::Hot => bench.hot().await?,
            Group::Single => bench.single().await?,
            Group::Overload => bench.overload().await?,
            Group::Reads => bench.reads().await?,
            Group::Scale => bench.scale().await?,
            Group::Process => bench.process().await?,
        }
        tell(&format!("{group:?}: {} s", begun.elapsed().as_secs()).to_lowercase())?;
    }
    let Bench { services, node, report, .. } = bench;
    node.stop().await?;
    report.finish(&machine, &settings.json)?;
    tell(&format!("{} s in all; figures in {}", begun.elapsed().as_secs(), settings.json.display()))?;
    services.stop().await
}

fn tell(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stderr(), "{line}")?)
}

fn mean(before: f64, after: f64) -> f64 {
    f64::midpoint(before, after)
}

/// CPU per command and how busy the cores were; the former hardly depends on what else the machine does.
fn cpu(figures: &Figures) -> String {
    let per_command = |cores: f64| 1e6 * cores / figures.per_second.max(1.0);
    let Figures { api_cores, postgres_cores, nats_cores, load_cores, .. } = figures;
    format!(
        "CPU µs/command api {:.0} pg {:.0} nats {:.0} load {:.0}, {:.2} cores in all",
        per_command(*api_cores),
        per_command(*postgres_cores),
        per_command(*nats_cores),
        per_command(*load_cores),
        api_cores + postgres_cores + nats_cores + load_cores
    )
}

impl Bench {
    fn plan(
        &mut self,
        connections: usize,
        shape: Shape,
        choose: impl Fn(&[Target]) -> Vec<Target>,
    ) -> anyhow::Result<Plan> {
        let targets = choose(self.fleet.targets()?);
        Ok(Plan { address: self.node.address.clone(), connections, targets, shape })
    }

    async fn load_each(&mut self) -> anyhow::Result<()> {
        let plan = self.plan(64, Shape::Each { times: 1 }, <[Target]>::to_vec)?;
        load::run(&self.services, &self.node, &plan).await.map(drop)
    }

    /// A closed loop over the chosen part of the fleet.
    async fn closed_loop(
        &mut self,
        connections: usize,
        choose: impl Fn(&[Target]) -> Vec<Target>,
    ) -> anyhow::Result<Figures> {
        self.last_raw = None;
        let shape = Shape::ClosedLoop { warm_up: self.size.warm_up, measured: self.size.measured };
        let plan = self.plan(connections, shape, choose)?;
        load::run(&self.services, &self.node, &plan).await
    }

    /// The raw figure; one that was taken just now serves as the next row's first, too.
    async fn raw(&mut self, who: Inserters) -> anyhow::Result<Raw> {
        if let Some((_, raw)) = self.last_raw.take_if(|(of, _)| *of == who) {
            return Ok(raw);
        }
        raw::inserts(&self.services, who, self.size.raw).await
    }

    async fn raw_after(&mut self, who: Inserters) -> anyhow::Result<Raw> {
        let raw = raw::inserts(&self.services, who, self.size.raw).await?;
        self.last_raw = Some((who, raw));
        Ok(raw)
    }

    fn add_throughput(
        &mut self,
        aim: Aim,
        figures: &Figures,
        (before, after): (Raw, Raw),
        more: &str,
    ) -> anyhow::Result<()> {
        let raw = mean(before.per_second, after.per_second);
        let from = format!(
            "{:.0}/s ÷ raw {:.0} and {:.0}; p50 {:.1} p99 {:.1} ms, raw p99 {:.1} and {:.1}; {}{more}",
            figures.per_second,
            before.per_second,
            after.per_second,
            figures.p50 / 1e3,
            figures.p99 / 1e3,
            before.p99 / 1e3,
            after.p99 / 1e3,
            cpu(figures)
        );
        self.report.add(aim, figures.per_second / raw, from, &json!({"http": figures, "raw": [before, after]}))
    }

    async fn commands(&mut self) -> anyhow::Result<()> {
        for _ in 0..self.size.rounds {
            for (connections, aim) in [(64, aims::COMMANDS_64), (256, aims::COMMANDS_256)] {
                let before = self.raw(MANY).await?;
                let figures = self.closed_loop(connections, <[Target]>::to_vec).await?;
                let after = self.raw_after(MANY).await?;
                self.add_throughput(aim, &figures, (before, after), "")?;
            }
        }
        Ok(())
    }

    async fn everything(&mut self) -> anyhow::Result<()> {
        for _ in 0..self.size.rounds {
            let before = self.raw(MANY).await?;
            self.node.workers_on().await?;
            self.published().await?;
            let shape = Shape::ClosedLoop { warm_up: self.size.warm_up, measured: self.size.measured };
            let plan = self.plan(64, shape, <[Target]>::to_vec)?;
            self.last_raw = None;
            let (figures, lags) = {
                let load = load::run(&self.services, &self.node, &plan);
                let mut load = std::pin::pin!(load);
                let mut lags = Vec::new();
                let figures = loop {
                    tokio::select! {
                        figures = &mut load => break figures?,
                        () = tokio::time::sleep(Duration::from_secs(1)) => lags.push(lag::of(lag::PROJECTOR, &self.services.admin).await?),
                    }
                };
                (figures, lags)
            };
            let begun = Instant::now();
            self.drained().await?;
            let drain = begun.elapsed();
            self.node.workers_off().await?;
            let after = self.raw_after(MANY).await?;
            let (early, late) = lags.split_at(lags.len() / 2);
            let halves = [early, late].map(|half| median(&half.iter().map(|lag| f64::from(*lag)).collect::<Vec<_>>()));
            let more = format!(
                "; lag {} events, median of the halves {:.0} and {:.0}, drained in {:.2} s",
                lags.iter().map(u32::to_string).collect::<Vec<_>>().join(" "),
                halves[0],
                halves[1],
                drain.as_secs_f64()
            );
            self.add_throughput(aims::EVERYTHING, &figures, (before, after), &more)?;
        }
        Ok(())
    }

    /// Until the projector has come to the end of the log.
    async fn drained(&self) -> anyhow::Result<()> {
        lag::ended(lag::PROJECTOR, &self.services.admin).await
    }

    /// Until the relay has come there, too: what was written while it was paused delays nothing that is written now.
    async fn published(&self) -> anyhow::Result<()> {
        lag::ended(lag::RELAY, &self.services.admin).await?;
        self.drained().await
    }

    async fn hot(&mut self) -> anyhow::Result<()> {
        let one_tenant = |targets: &[Target]| targets[..1].to_vec();
        let one_stream = |targets: &[Target]| {
            targets[..1].iter().map(|it| Target { sessions: it.sessions[..1].to_vec(), ..it.clone() }).collect()
        };
        for _ in 0..self.size.rounds {
            let mut before = self.closed_loop(64, <[Target]>::to_vec).await?;
            for aim in [aims::HOT_TENANT, aims::HOT_STREAM] {
                let hot = match aim.name == aims::HOT_TENANT.name {
                    true => self.closed_loop(64, one_tenant).await?,
                    false => self.closed_loop(64, one_stream).await?,
                };
                let after = self.closed_loop(64, <[Target]>::to_vec).await?;
                let from = format!(
                    "{:.0}/s ÷ {:.0} and {:.0} of many; p50 {:.1} p99 {:.1} ms; {}",
                    hot.per_second,
                    before.per_second,
                    after.per_second,
                    hot.p50 / 1e3,
                    hot.p99 / 1e3,
                    cpu(&hot)
                );
                let value = hot.per_second / mean(before.per_second, after.per_second);
                self.report.add(aim, value, from, &json!({"hot": hot, "many": [&before, &after]}))?;
                before = after;
            }
        }
        Ok(())
    }

    async fn single(&mut self) -> anyhow::Result<()> {
        for _ in 0..self.size.rounds {
            let before = self.raw(ONE).await?;
            let figures = self.closed_loop(1, <[Target]>::to_vec).await?;
            let after = self.raw_after(ONE).await?;
            let from = format!(
                "{:.2} ms ÷ raw {:.2} and {:.2}; p99 {:.1} ms, raw p99 {:.1} and {:.1}; {}",
                figures.p50 / 1e3,
                before.p50 / 1e3,
                after.p50 / 1e3,
                figures.p99 / 1e3,
                before.p99 / 1e3,
                after.p99 / 1e3,
                cpu(&figures)
            );
            let value = figures.p50 / mean(before.p50, after.p50);
            self.report.add(aims::ONE_CLIENT, value, from, &json!({"http": figures, "raw": [before, after]}))?;
        }
        Ok(())
    }

    async fn visible(&mut self) -> anyhow::Result<()> {
        for _ in 0..self.size.rounds {
            let before = self.raw(STEADY).await?;
            self.node.workers_on().await?;
            self.published().await?;
            self.last_raw = None;
            let rung = self.paced(false).await?;
            let read_back = self.paced(true).await?;
            self.node.workers_off().await?;
            let after = self.raw_after(STEADY).await?;
            let all = json!({"rung": rung, "read_back": read_back, "raw": [before, after]});
            let from = format!(
                "answered after {:.2}, read back with min_seq after {:.2}; raw p50 {:.2} and {:.2}; {:.0}/s; {}",
                rung.p50 / 1e3,
                read_back.visible_p50 / 1e3,
                before.p50 / 1e3,
                after.p50 / 1e3,
                rung.per_second,
                cpu(&rung)
            );
            self.report.add(aims::VISIBLE_P50, rung.visible_p50 / 1e3, from, &all)?;
            let from = format!(
                "{:.1} ms ÷ raw {:.1} and {:.1}; answered after {:.1}, read back after {:.1}",
                rung.visible_p99 / 1e3,
                before.p99 / 1e3,
                after.p99 / 1e3,
                rung.p99 / 1e3,
                read_back.visible_p99 / 1e3
            );
            self.report.add(aims::VISIBLE_P99, rung.visible_p99 / mean(before.p99, after.p99), from, &all)?;
        }
        Ok(())
    }

    async fn paced(&mut self, read_back: bool) -> anyhow::Result<Figures> {
        let nats = self.services.nats_access();
        let pace = Pace {
            per_second: PACE,
            warm_up: self.size.warm_up,
            measured: self.size.paced,
            read_back,
            nats_url: nats.url,
            nats_passwords: self.services.secrets.nats().clone(),
        };
        let plan = self.plan(PACED_CONNECTIONS, Shape::Paced(pace), <[Target]>::to_vec)?;
        load::run(&self.services, &self.node, &plan).await
    }

    /// A node of its own, so that what other rows have done to the first does not count.
    async fn process(&mut self) -> anyhow::Result<()> {
        for start in 1..=self.size.starts {
            let node = NodeProcess::start(&self.services, DATABASE, true).await?;
            let milliseconds = node.start_to_ready.as_secs_f64() * 1e3;
            self.report.add(aims::START, milliseconds, "API, relay and projector".into(), &json!(milliseconds))?;
            if start < self.size.starts {
                node.stop().await?;
                continue;
            }
            let rest = process::memory_mb(node.pid, "VmRSS")?;
            std::mem::replace(&mut self.node, node).stop().await?;
            self.drained().await?;
            let caught_up = process::memory_mb(self.node.pid, "VmRSS")?;
            self.load_each().await?;
            let figures = self.closed_loop(64, <[Target]>::to_vec).await?;
            let [now, peak] = ["VmRSS", "VmHWM"].map(|line| process::memory_mb(self.node.pid, line));
            let (now, peak) = (now?, peak?);
            let from = format!(
                "the peak; ready {rest:.0}, caught up {caught_up:.0}, after the load {now:.0}; {:.0}/s on 64 connections",
                figures.per_second
            );
            self.report.add(aims::MEMORY, peak, from, &json!({"ready": rest, "caught_up": caught_up, "after": now}))?;
        }
        Ok(())
    }
}
