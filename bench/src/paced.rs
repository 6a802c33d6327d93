//! A fixed rate of commands, each followed until it is visible in the read table.
//!
//! Visible is when the projector says so: it rings `projected` on NATS right after the commit of rows and checkpoint.
//! Nothing is polled and nothing is asked of the server for it. With `read_back` the client asks instead, with
//! `?min_seq=` right after the command's answer; that time contains the read itself.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bus::{Bus, User};
use convolog::secrets::NatsPasswords;
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::http::Client;
use crate::load::{Dice, Figures, Plan, begin, micros};
use crate::{machine, process};

/// How fast, how long, and where the projector rings.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Pace {
    pub(crate) per_second: u32,
    /// Commands that are sent before it is over do not count: connections and plans are new, and workers may just have begun.
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
    pub(crate) read_back: bool,
    pub(crate) nats_url: String,
    pub(crate) nats_passwords: NatsPasswords,
}

/// How long the last command may take to become visible.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Sent {
    tenant: Uuid,
    seq: u64,
    at: Instant,
    answered: Instant,
    read: Instant,
}

/// Connection `n` of `c` sends at the ticks `n`, `n + c`, … A command that is late because its connection was still
/// busy counts from its tick, so that a stall is seen by all that it delays.
pub(crate) async fn run(plan: &Plan, clients: Vec<Client>, pace: &Pace) -> anyhow::Result<Figures> {
    let bus = Bus::connect(&pace.nats_url, User::Api, Some(pace.nats_passwords.of(User::Api))).await?;
    anyhow::ensure!(bus.ready(PATIENCE).await, "NATS is away");
    let mut rings = bus.projected().subscribe().await?;
    bus.flush().await?;
    let tick = Duration::from_secs(1) / pace.per_second;
    let first = Instant::now() + tick;
    let from = first + pace.warm_up;
    let until = from + pace.measured;
    let clock = async {
        tokio::time::sleep_until(from.into()).await;
        begin()
    };
    let count = u32::try_from(clients.len())?;
    let sending = futures_util::future::try_join_all((0..count).zip(clients).map(|(n, mut client)| async move {
        let mut dice = Dice::new(n as usize);
        let mut sent = Vec::new();
        let mut next = first + tick * n;
        while next < until {
            let late = Instant::now() > next;
            tokio::time::sleep_until(next.into()).await;
            let at = if late { next } else { Instant::now() };
            let (target, session) = dice.session(&plan.targets);
            let seq = client.post(target, session).await?;
            let answered = Instant::now();
            if pace.read_back {
                client.read(target, session, seq).await?;
            }
            sent.push(Sent { tenant: target.tenant, seq, at, answered, read: Instant::now() });
            next += tick * count;
        }
        anyhow::Ok(sent)
    }));
    let mut heard: HashMap<Uuid, Vec<(u64, Instant)>> = HashMap::new();
    let mut sending = std::pin::pin!(futures_util::future::try_join(clock, sending));
    let (cpu_before, mut sent) = loop {
        tokio::select! {
            biased;
            ring = rings.next() => note(&mut heard, ring),
            sent = &mut sending => break sent.map(|(cpu, sent)| (cpu, sent.concat()))?,
        }
    };
    let seconds = from.elapsed().as_secs_f64();
    sent.retain(|it| it.at >= from);
    let load = process::cpu_seconds(std::process::id()) - cpu_before;
    let visible_at = |heard: &HashMap<Uuid, Vec<(u64, Instant)>>, it: &Sent| {
        heard.get(&it.tenant).and_then(|rings| rings.iter().find(|(seq, _)| *seq >= it.seq)).map(|(_, at)| *at)
    };
    let give_up = tokio::time::Instant::now() + PATIENCE;
    while sent.iter().any(|it| visible_at(&heard, it).is_none()) {
        let ring = tokio::time::timeout_at(give_up, rings.next()).await;
        note(&mut heard, ring.map_err(|_elapsed| anyhow::anyhow!("a command did not become visible in 5 s"))?);
    }
    let mut answers: Vec<u32> = sent.iter().map(|it| micros(it.answered - it.at)).collect();
    let visible = |it: &Sent| if pace.read_back { Some(it.read) } else { visible_at(&heard, it) };
    let mut visibles: Vec<u32> =
        sent.iter().filter_map(|it| Some(micros(visible(it)?.saturating_duration_since(it.at)))).collect();
    let (p50, p99) = machine::percentiles(&mut answers);
    let (visible_p50, visible_p99) = machine::percentiles(&mut visibles);
    let per_second = f64::from(u32::try_from(sent.len())?) / seconds;
    let load_cores = load / seconds;
    Ok(Figures {
        commands: sent.len(),
        per_second,
        p50,
        p99,
        visible_p50,
        visible_p99,
        load_cores,
        ..Figures::default()
    })
}

fn note(heard: &mut HashMap<Uuid, Vec<(u64, Instant)>>, ring: Option<Vec<(domain::TenantId, u64)>>) {
    let now = Instant::now();
    for (tenant, seq) in ring.into_iter().flatten() {
        heard.entry(tenant.0).or_default().push((seq, now));
    }
}
