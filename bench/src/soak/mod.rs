//! The soak: many clients, a fault every few seconds, and the proof that nothing acknowledged is lost or done twice.
//!
//! Commands and faults follow from the seed; what a fault meets does not, because time is the machine's.

mod books;
mod chance;
mod checks;
mod clients;
mod faults;
mod follow;
mod front;
mod gate;
mod judge;
mod machines;
mod memory;
mod plan;
mod probe;
pub(crate) mod product;
mod report;
mod sabotage;
mod stream;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bus::User;
use serde_json::json;
use tokio::task::JoinHandle;
use uuid::Uuid;

use self::books::Books;
use self::clients::{Client, Shared};
use self::faults::Schedule;
use self::front::{Answer, Front, lock};
use self::machines::{DATABASE, Machines};
use self::memory::{Memory, Told};
use self::plan::{Doing, Plan, SHARED, Step};
use self::report::{Report, Violation, Violations, say};
use self::sabotage::Sabotage;
use crate::fleet::{Fleet, Target};

/// Shown below the help.
pub(crate) const EXAMPLES: &str = "Examples:
  cargo run --release -p bench -- soak --minutes 10                a seed of its own choice, which it tells
  cargo run --release -p bench -- soak --minutes 10 --seed 4711    the same commands and faults again
  cargo run --release -p bench -- soak --minutes 0.3 --sabotage all --json soak.json
                                                                   and a proof that each check can fail

Exit codes: 0 nothing was violated, 1 something was, or the run could not go on. Then the data is kept.";

/// Clients of each tenant.
const CLIENTS: usize = 2;
/// Everything is looked at this often, and at the end.
const LOOK: Duration = Duration::from_secs(60);
/// After so long without a command nothing may lag.
const CALM: Duration = Duration::from_secs(15);
/// Events that the relay publishes per second, at least: a NATS that was wiped gets all logs again, and they grow.
const PUBLISHED_PER_SECOND: u64 = 1_000;
/// Until then a command under way must have its outcome, when nothing is wrong any more.
const OUTCOME: Duration = Duration::from_secs(60);
/// Tokens are good for five minutes.
const REISSUE: Duration = Duration::from_secs(60);

/// How long, and from which seed.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Settings {
    /// How long faults are made, in minutes; may be a fraction.
    #[arg(long, default_value_t = 5.0, value_name = "N")]
    minutes: f64,
    /// Where commands and faults follow from; one is chosen and told when not set.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    #[arg(long, default_value_t = 40, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1_000))]
    /// Tenants, with two clients each.
    tenants: u16,
    /// Where the report goes as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The folder in which the data is made, and removed unless something was violated; it must be on a disk.
    #[arg(long, default_value = "/tmp", value_name = "DIRECTORY")]
    scratch: PathBuf,
    /// When the run is over, do this damage to a copy of what it has left and fail if no check sees it; may be repeated.
    #[arg(long, value_enum, value_name = "WHAT")]
    sabotage: Vec<Sabotage>,
}

struct Soak {
    seed: u64,
    machines: Machines,
    shared: Arc<Shared>,
    /// The session that all clients of a tenant write into.
    sessions: Vec<Uuid>,
    books: Arc<Mutex<Books>>,
    report: Report,
    tasks: Vec<JoinHandle<()>>,
    probes: u64,
}

/// Runs it; `true` when something was violated.
pub(crate) async fn run(settings: &Settings) -> anyhow::Result<bool> {
    // Short enough to be typed.
    let seed = settings.seed.unwrap_or_else(|| Uuid::now_v7().as_u64_pair().1 % 1_000_000);
    say(&format!("soak: seed {seed}, {} minutes (--seed {seed} repeats it)", settings.minutes));
    let folder = settings.scratch.join(format!("convolog-soak-{seed}-{}", std::process::id()));
    let soaked = tokio::select! {
        soaked = soak(settings, seed, folder.clone()) => soaked,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    match &soaked {
        Ok(false) => std::fs::remove_dir_all(&folder).context("the data")?,
        _ => say(&format!("soak: seed {seed}; data and logs are kept in {}", folder.display())),
    }
    soaked
}

async fn soak(settings: &Settings, seed: u64, folder: PathBuf) -> anyhow::Result<bool> {
    let begun = Instant::now();
    let mut soak = Soak::start(settings, seed, folder).await?;
    say(&format!("soak: ready after {} s", begun.elapsed().as_secs()));
    let looked = soak.suffer(Duration::from_secs_f64(settings.minutes * 60.0)).await;
    if let Err(error) = looked {
        soak.shared.violations.add("recovery", format!("it could not go on: {error:#}"));
    }
    soak.finish(settings, begun).await
}

impl Soak {
    async fn start(settings: &Settings, seed: u64, folder: PathBuf) -> anyhow::Result<Self> {
        let mut machines = Machines::start(folder, &settings.scratch).await?;
        let database = machines.api_database().await?;
        let number = usize::from(settings.tenants);
        let mut fleet = Fleet::found(&database, &machines.secrets.master_secret()?, number, 0).await?;
        database.close().await;
        let targets = fleet.targets()?;
        let tenants = targets.iter().map(|target| target.tenant).collect();
        let shared = Arc::new(Shared {
            front: Front::new(tenants, tokens(targets))?,
            memory: Mutex::default(),
            violations: Violations::new(seed),
            gate: gate::Gate::default(),
            over: AtomicBool::new(false),
        });
        machines.start_all(&shared).await?;
        let books = Arc::new(Mutex::new(Books::default()));
        let (url, password) = (machines.nats.url(), machines.secrets.nats().of(User::Viewer).to_owned());
        let listening = books::listen(url, password, books.clone());
        let renewing = renew(fleet, shared.clone());
        let tasks = vec![
            store::spawn("books", async move {
                if let Err(error) = listening.await {
                    say(&format!("soak: the consumer has ended: {error:#}"));
                }
            }),
            store::spawn("tokens", renewing),
            store::spawn("follower", follow::follow(shared.clone())),
        ];
        let mut soak =
            Self { seed, machines, shared, sessions: vec![], books, report: Report::default(), tasks, probes: 0 };
        for tenant in 0..number {
            soak.start_shared_session(tenant).await?;
        }
        // So that there is an older copy to restore.
        soak.probe(Instant::now()).await;
        soak.machines.nats.kill().await?;
        soak.machines.copy_nats().await?;
        soak.machines.nats.start_again().await?;
        let begun = checks::now();
        for client in 0..number * CLIENTS {
            let tenant = client % number;
            let one = Client::new(soak.shared.clone(), tenant, (SHARED.to_owned(), soak.sessions[tenant]));
            soak.tasks.push(store::spawn("client", one.run(Plan::new(seed, client as u64, begun))));
        }
        Ok(soak)
    }

    async fn start_shared_session(&mut self, tenant: usize) -> anyhow::Result<()> {
        let marker = format!("{SHARED}-t{tenant}");
        let key = Some(marker.clone());
        let (doing, reads) = (Doing::Start { id: None }, false);
        let step = Step { number: 0, doing, marker: marker.clone(), key, via: 0, reads, pause_ms: 0 };
        lock(&self.shared.memory).send(tenant, &step);
        let body = json!({"mode": "text", "metadata": {"soak": marker}});
        let answer = self.shared.front.post(tenant, tenant, "/v1/sessions", &body, Some(&marker)).await;
        let Answer::Http { status: 201, body, .. } = &answer else { anyhow::bail!("no session: {answer:?}") };
        let id: Uuid = body["id"].as_str().context("no id")?.parse()?;
        let told = Told { seq: body["seq"].as_u64(), version: body["version"].as_u64(), id: Some(id) };
        lock(&self.shared.memory).told(&marker, told);
        self.sessions.push(id);
        Ok(())
    }

    /// Faults, one after the other, until the time is over or something is violated; everything is looked at in between.
    async fn suffer(&mut self, time: Duration) -> anyhow::Result<()> {
        let (begun, mut looked) = (Instant::now(), Instant::now());
        for fault in Schedule::new(self.seed) {
            tokio::time::sleep(fault.after).await;
            if begun.elapsed() >= time || !self.shared.violations.all().is_empty() {
                break;
            }
            let recovering = fault.happen(&mut self.machines, &self.shared).await?;
            let back = recovering.elapsed();
            let recovered = self.probe(recovering).await;
            self.report.fault(fault.kind, recovered);
            say(&format!(
                "soak: {:>4} s, {}, {} s; back after {} ms, all served after {} ms",
                begun.elapsed().as_secs(),
                fault.kind.name(),
                fault.lasts.as_secs(),
                back.as_millis(),
                recovered.as_millis()
            ));
            for ended in self.machines.ended_by_themselves()? {
                self.shared.violations.add("recovery", ended);
            }
            if looked.elapsed() >= LOOK {
                self.look().await?;
                looked = Instant::now();
                self.shared.gate.open();
            }
        }
        self.look().await
    }

    async fn probe(&mut self, begun: Instant) -> Duration {
        self.probes += 1;
        probe::recovered(&self.shared, &self.sessions, self.probes, begun).await
    }

    /// Keeps the clients out and compares everything; they stay out.
    async fn look(&mut self) -> anyhow::Result<()> {
        if tokio::time::timeout(OUTCOME, self.shared.gate.close()).await.is_err() {
            self.shared.over.store(true, Ordering::Relaxed);
            tokio::time::timeout(OUTCOME, self.shared.gate.close()).await.context("clients do not end")?;
        }
        let lagged = self.calm().await?;
        books::fill(&self.shared, &self.books).await?;
        let (memory, books) = self.known();
        let tenants = &self.shared.front.tenants;
        let mut found = checks::all(&self.machines.admin, tenants, &memory, &books).await?;
        found.extend(verify(&self.machines, DATABASE).await?);
        found.extend(stream::missing(&self.machines).await?);
        self.report.checks += 1;
        for Violation { check, what } in found {
            self.shared.violations.add(check, what);
        }
        say(&format!(
            "soak: looked at everything: {} events acknowledged, nothing lagged after {} ms, {} violations",
            memory.acknowledged(),
            lagged.as_millis(),
            self.shared.violations.all().len()
        ));
        Ok(())
    }

    /// Waits until nothing lags, or for too long.
    async fn calm(&mut self) -> anyhow::Result<Duration> {
        let (begun, mut patience) = (Instant::now(), CALM);
        loop {
            let behind = checks::behind(&self.machines.admin).await?;
            patience = patience.max(CALM + Duration::from_secs(behind.unpublished / PUBLISHED_PER_SECOND));
            if behind.unprojected > 0 {
                self.report.longest_lag = self.report.longest_lag.max(begun.elapsed());
            }
            let too_long = if behind.unprojected > 0 { CALM } else { patience };
            if behind == checks::Behind::default() || begun.elapsed() > too_long {
                return Ok(begun.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn known(&self) -> (Memory, Books) {
        (lock(&self.shared.memory).clone(), lock(&self.books).clone())
    }

    async fn finish(mut self, settings: &Settings, begun: Instant) -> anyhow::Result<bool> {
        self.shared.gate.end();
        for task in self.tasks.drain(..) {
            task.abort();
        }
        self.machines.end_processes().await?;
        let (memory, books) = self.known();
        let tenants = &self.shared.front.tenants;
        let mut violations = self.shared.violations.all();
        if violations.is_empty() && !settings.sabotage.is_empty() {
            let unseen = sabotage::unseen(&settings.sabotage, &self.machines, tenants, &memory, &books).await?;
            violations.extend(unseen);
        }
        let of = (self.seed, begun.elapsed(), tenants.len());
        self.report.finish(of, &memory, &books, &violations, settings.json.as_deref())?;
        self.machines.stop().await?;
        Ok(!violations.is_empty())
    }
}

fn tokens(targets: &[Target]) -> Vec<String> {
    targets.iter().map(|target| target.token.clone()).collect()
}

/// Gives everybody new tokens in time.
async fn renew(mut fleet: Fleet, shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(REISSUE).await;
        match fleet.targets() {
            Ok(targets) => shared.front.set_tokens(tokens(targets)),
            Err(error) => say(&format!("soak: no new tokens: {error:#}")),
        }
    }
}

/// What `convolog verify` says of all tenants.
async fn verify(machines: &Machines, database: &str) -> anyhow::Result<Vec<Violation>> {
    let (status, lines) = machines.tool(&["verify", "--json"], database)?.finish().await?;
    let log = machines.folder.join("verify.log");
    let compared = matches!(status.code(), Some(0 | 1));
    anyhow::ensure!(compared, "verify ended with {status}; see {}", log.display());
    let mut found: Vec<Violation> =
        lines.into_iter().take(10).map(|what| Violation { check: "verify", what }).collect();
    if !status.success() && found.is_empty() {
        found.push(Violation { check: "verify", what: format!("not all was compared; see {}", log.display()) });
    }
    Ok(found)
}
