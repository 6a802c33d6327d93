//! The load generator: a plan in, figures out. A closed loop per connection, or a fixed rate in [`crate::paced`].

use std::io::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use uuid::Uuid;

use crate::fleet::Target;
use crate::http::Client;
use crate::node::{NodeProcess, this_program};
use crate::services::Services;
use crate::{machine, paced, process, storm};

const BEGIN: &str = "begin";

/// What to send.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) address: String,
    pub(crate) connections: usize,
    pub(crate) targets: Vec<Target>,
    pub(crate) shape: Shape,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum Shape {
    /// So many messages into every session.
    Each { times: usize },
    /// One read after the other on each connection, and how long they take.
    Reads { kind: ReadKind, measured: Duration },
    /// Each connection sends as soon as it is answered; what is answered before `warm_up` is over does not count.
    ClosedLoop { warm_up: Duration, measured: Duration },
    /// See [`paced`].
    Paced(paced::Pace),
    /// See [`storm`].
    Storm(storm::Storm),
}

/// What is read.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum ReadKind {
    /// A page of a session's messages.
    List,
    /// A session.
    Point,
}

/// What came of it; times in microseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// Commands that were answered in the measured time.
    pub(crate) commands: usize,
    pub(crate) per_second: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// From sending a command until its row was visible.
    pub(crate) visible_p50: f64,
    pub(crate) visible_p99: f64,
    /// Of a storm: commands and log-ins that were refused, log-ins per second, the p99 and the failures of
    /// `/health/ready`.
    pub(crate) refused: usize,
    pub(crate) logins_per_second: f64,
    pub(crate) logins_refused: usize,
    pub(crate) ready_p99: f64,
    pub(crate) ready_failed: usize,
    /// CPU seconds per second.
    pub(crate) load_cores: f64,
    pub(crate) api_cores: f64,
    pub(crate) postgres_cores: f64,
    pub(crate) nats_cores: f64,
}

/// CPU seconds of what is measured.
fn cpu(services: &Services, node: &NodeProcess) -> [f64; 3] {
    let postgres = process::cpu_seconds_with_children(services.postgres.pid());
    [process::cpu_seconds(node.pid), postgres, process::cpu_seconds(services.nats_pid())]
}

/// Runs a plan in a process of its own.
pub(crate) async fn run(services: &Services, node: &NodeProcess, plan: &Plan) -> anyhow::Result<Figures> {
    let mut child = this_program("load")?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    stdin.write_all(&serde_json::to_vec(plan)?).await?;
    drop(stdin);
    let mut lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
    anyhow::ensure!(lines.next_line().await?.as_deref() == Some(BEGIN), "the load generator has failed");
    let (begun, before) = (Instant::now(), cpu(services, node));
    let answer = lines.next_line().await?.context("the load generator has failed")?;
    let (elapsed, after) = (begun.elapsed().as_secs_f64(), cpu(services, node));
    let mut figures: Figures = serde_json::from_str(&answer)?;
    [figures.api_cores, figures.postgres_cores, figures.nats_cores] =
        [0, 1, 2].map(|at| (after[at] - before[at]) / elapsed);
    anyhow::ensure!(child.wait().await?.success(), "the load generator has failed");
    Ok(figures)
}

/// The process itself.
pub(crate) async fn main() -> anyhow::Result<()> {
    let plan: Plan = serde_json::from_reader(std::io::stdin().lock())?;
    let clients = connect(&plan).await?;
    let figures = match &plan.shape {
        Shape::Each { times } => each(&plan, clients, *times).await?,
        Shape::Reads { kind, measured } => reads(&plan, clients, *kind, *measured).await?,
        Shape::ClosedLoop { warm_up, measured } => closed_loop(&plan, clients, *warm_up, *measured).await?,
        Shape::Storm(storm) => storm::run(&plan, clients, storm).await?,
        Shape::Paced(pace) => paced::run(&plan, clients, pace).await?,
    };
    say(&serde_json::to_string(&figures)?)
}

async fn connect(plan: &Plan) -> anyhow::Result<Vec<Client>> {
    let run = Uuid::now_v7().simple().to_string();
    let connecting = (0..plan.connections).map(|n| Client::connect(&plan.address, format!("{run}-{n}")));
    stream::iter(connecting).buffered(16).try_collect().await
}

fn say(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

/// The measured time begins: whoever has started us looks at the clocks now.
pub(crate) fn begin() -> anyhow::Result<f64> {
    say(BEGIN)?;
    Ok(process::cpu_seconds(std::process::id()))
}

async fn each(plan: &Plan, clients: Vec<Client>, times: usize) -> anyhow::Result<Figures> {
    begin()?;
    let sessions: Vec<(&Target, Uuid)> =
        plan.targets.iter().flat_map(|target| target.sessions.iter().map(move |session| (target, *session))).collect();
    let count = clients.len();
    let all = clients.into_iter().enumerate().map(|(n, mut client)| {
        let sessions = &sessions;
        async move {
            for _ in 0..times {
                for (target, session) in sessions.iter().skip(n).step_by(count) {
                    client.post(target, *session).await?;
                }
            }
            anyhow::Ok(())
        }
    });
    futures_util::future::try_join_all(all).await?;
    Ok(Figures { commands: sessions.len() * times, ..Figures::default() })
}

async fn reads(plan: &Plan, clients: Vec<Client>, kind: ReadKind, measured: Duration) -> anyhow::Result<Figures> {
    begin()?;
    let until = Instant::now() + measured;
    let all = clients.into_iter().enumerate().map(|(n, mut client)| async move {
        let mut dice = Dice::new(n);
        let mut latencies = Vec::new();
        while Instant::now() < until {
            let (target, session) = dice.session(&plan.targets);
            let sent = Instant::now();
            match kind {
                ReadKind::List => client.list(target, session).await?,
                ReadKind::Point => client.session(target, session).await?,
            }
            latencies.push(micros(sent.elapsed()));
        }
        anyhow::Ok(latencies)
    });
    let mut latencies = futures_util::future::try_join_all(all).await?.concat();
    let (p50, p99) = machine::percentiles(&mut latencies);
    let per_second = f64::from(u32::try_from(latencies.len())?) / measured.as_secs_f64();
    Ok(Figures { commands: latencies.len(), per_second, p50, p99, ..Figures::default() })
}

async fn closed_loop(
    plan: &Plan,
    clients: Vec<Client>,
    warm_up: Duration,
    measured: Duration,
) -> anyhow::Result<Figures> {
    let from = Instant::now() + warm_up;
    let until = from + measured;
    let clock = async {
        tokio::time::sleep_until(from.into()).await;
        begin()
    };
    let all = futures_util::future::try_join_all(clients.into_iter().enumerate().map(|(n, mut client)| async move {
        let mut dice = Dice::new(n);
        let mut latencies = Vec::new();
        loop {
            let (target, session) = dice.session(&plan.targets);
            let sent = Instant::now();
            client.post(target, session).await?;
            let answered = Instant::now();
            if answered > until {
                return anyhow::Ok(latencies);
            }
            if answered > from {
                latencies.push(micros(answered - sent));
            }
        }
    }));
    let (cpu_before, latencies) = tokio::try_join!(clock, all)?;
    let load = process::cpu_seconds(std::process::id()) - cpu_before;
    let mut latencies = latencies.concat();
    let (p50, p99) = machine::percentiles(&mut latencies);
    let seconds = measured.as_secs_f64();
    let commands = latencies.len();
    let per_second = f64::from(u32::try_from(commands)?) / seconds;
    Ok(Figures { commands, per_second, p50, p99, load_cores: load / seconds, ..Figures::default() })
}

pub(crate) fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

/// Pseudo-random choices (xorshift64*), the same in every run.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: usize) -> Self {
        Self(0x9e37_79b9_7f4a_7c15 ^ ((seed as u64 + 1) << 17))
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap_or(0) % limit.max(1)
    }

    pub(crate) fn session<'a>(&mut self, targets: &'a [Target]) -> (&'a Target, Uuid) {
        let target = &targets[self.below(targets.len())];
        (target, target.sessions[self.below(target.sessions.len())])
    }
}
