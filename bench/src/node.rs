//! The product in a process of its own, as `convolog dev` runs it, with relay and projector on order.

use std::io::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use api::passwords::Cost;
use api::signing_keys::KEY_RELOAD;
use api::{Operations, RateLimitSettings};
use convolog::node::{ApiSettings, Databases, Nats, Node, NodeDatabases, NodeSettings, system_clock};
use convolog::secrets::{NatsPasswords, master_secret};
use projector::{ProjectorSettings, RelaySettings};
use serde::{Deserialize, Serialize};
use store::{ConnectionSettings, LogSettings};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;

use crate::fleet::PUBLIC_URL;
use crate::services::Services;

const WORKERS_ON: &str = "workers on";
const WORKERS_OFF: &str = "workers off";
/// The name in which leases are taken; only one node at a time has workers.
const HOLDER: &str = "bench";

/// What the process is told first, as one line of JSON.
#[derive(Clone, Serialize, Deserialize)]
struct Start {
    api: String,
    projector: String,
    relay: String,
    nats_url: String,
    nats_passwords: NatsPasswords,
    signing_key: String,
    /// Relay and projector from the start.
    workers: bool,
}

/// The process as the benchmark sees it.
pub(crate) struct NodeProcess {
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    pub(crate) pid: u32,
    pub(crate) address: String,
    /// From the start of the process until it took requests.
    pub(crate) start_to_ready: Duration,
}

impl NodeProcess {
    pub(crate) async fn start(services: &Services, database: &str, workers: bool) -> anyhow::Result<Self> {
        let roles = services.secrets.roles();
        let start = Start {
            api: services.url_as(database, "convolog_api", &roles.api),
            projector: services.url_as(database, "convolog_projector", &roles.projector),
            relay: services.url_as(database, "convolog_relay", &roles.relay),
            nats_url: services.nats_access().url,
            nats_passwords: services.secrets.nats().clone(),
            signing_key: services.secrets.signing_key().to_owned(),
            workers,
        };
        let begun = Instant::now();
        let mut child = this_program("node")?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (orders, answers) = (child.stdin.take().context("no stdin")?, child.stdout.take().context("no stdout")?);
        let answers = BufReader::new(answers).lines();
        let pid = child.id().context("the node has ended")?;
        let start_to_ready = Duration::ZERO;
        let mut node = Self { child, orders, answers, pid, address: String::new(), start_to_ready };
        node.address = node.order(&serde_json::to_string(&start)?).await?;
        node.start_to_ready = begun.elapsed();
        Ok(node)
    }

    pub(crate) async fn workers_on(&mut self) -> anyhow::Result<()> {
        self.order(WORKERS_ON).await.map(drop)
    }

    pub(crate) async fn workers_off(&mut self) -> anyhow::Result<()> {
        self.order(WORKERS_OFF).await.map(drop)
    }

    async fn order(&mut self, line: &str) -> anyhow::Result<String> {
        self.orders.write_all(format!("{line}\n").as_bytes()).await?;
        self.answers.next_line().await?.context("the node has ended")
    }

    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        drop(self.orders);
        let status = self.child.wait().await?;
        anyhow::ensure!(status.success(), "the node ended with {status}");
        Ok(())
    }
}

/// This very program as one of its parts; killed when it is dropped.
pub(crate) fn this_program(part: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(part).kill_on_drop(true);
    Ok(command)
}

/// The process itself: takes orders until standard input ends.
pub(crate) async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_ansi(false).with_env_filter("warn,bus=error").with_writer(std::io::stderr).init();
    let mut orders = orders();
    let start: Start = serde_json::from_str(&orders.recv().await.context("no settings")?)?;
    let node = Node::start(settings(&start, true, start.workers)?).await?;
    let mut workers = None;
    let mut answer = node.address().context("no address")?.to_string();
    loop {
        writeln!(std::io::stdout(), "{answer}")?;
        let Some(order) = orders.recv().await else { break };
        match (order.as_str(), workers.take()) {
            (WORKERS_ON, None) => workers = Some(Node::start(settings(&start, false, true)?).await?),
            (WORKERS_OFF, Some(running)) => running.stop().await?,
            (other, _) => anyhow::bail!("no such order now: {other}"),
        }
        answer = order;
    }
    if let Some(workers) = workers {
        workers.stop().await?;
    }
    node.stop().await
}

/// The lines of standard input, read by a thread that costs nothing while it waits.
fn orders() -> mpsc::UnboundedReceiver<String> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let lines = std::io::stdin().lines();
        lines.map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    receiver
}

fn settings(start: &Start, api: bool, workers: bool) -> anyhow::Result<NodeSettings> {
    let database = |url: &str, connections| ConnectionSettings::from_url("DATABASE_URL", url, connections);
    Ok(NodeSettings {
        databases: NodeDatabases::from(Databases {
            api: database(&start.api, 16)?,
            projector: database(&start.projector, 6)?,
            relay: database(&start.relay, 4)?,
        }),
        nats: Nats { url: start.nats_url.clone(), passwords: start.nats_passwords.all() },
        api: api
            .then(|| {
                Ok::<_, anyhow::Error>(ApiSettings {
                    listen: "127.0.0.1:0".parse()?,
                    public_url: Some(PUBLIC_URL.to_owned()),
                    master_secret: master_secret(&start.signing_key).context("no signing key")?,
                    key_reload: KEY_RELOAD,
                    password_cost: Cost::default(),
                    log: LogSettings::default(),
                    operations: Operations::default(),
                    server: api::ServerSettings::default(),
                    rate_limits: RateLimitSettings::off(),
                    allowed_origins: vec![],
                    clock: system_clock,
                })
            })
            .transpose()?,
        relay: workers.then(|| RelaySettings::named(HOLDER)),
        projector: workers.then(|| ProjectorSettings::named(HOLDER)),
        worker: None,
    })
}
