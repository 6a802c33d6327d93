//! More than can be done: clients that never back off, log-ins at a fixed rate whatever comes of them.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::http::Client;
use crate::load::{Dice, Figures, Plan, begin, micros};
use crate::{machine, process};

/// What blows beside the commands of the plan's connections.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Storm {
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
    /// Connections that log in one after the other.
    pub(crate) login_connections: usize,
    /// Log-ins that are begun per second, each on a connection of its own.
    pub(crate) logins_per_second: u32,
}

/// An answer after this time is of no use to anybody.
const USEFUL: Duration = Duration::from_secs(2);
/// Between two questions whether the service is ready.
const PULSE: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Default)]
struct Count {
    done: usize,
    refused: usize,
}

pub(crate) async fn run(plan: &Plan, clients: Vec<Client>, storm: &Storm) -> anyhow::Result<Figures> {
    let from = Instant::now() + storm.warm_up;
    let until = from + storm.measured;
    let commands = futures_util::future::try_join_all(
        clients.into_iter().enumerate().map(|(n, client)| command_loop(plan, client, n, (from, until))),
    );
    let looping = futures_util::future::try_join_all(
        (0..storm.login_connections).map(|n| login_loop(&plan.address, n, (from, until))),
    );
    let clock = async {
        tokio::time::sleep_until(from.into()).await;
        begin()
    };
    let (cpu_before, commands, looping, opened, mut pulse) =
        tokio::try_join!(clock, commands, looping, logins(plan, storm, (from, until)), pulse(plan, (from, until)))?;
    let load = process::cpu_seconds(std::process::id()) - cpu_before;
    let seconds = storm.measured.as_secs_f64();
    let per_second = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / seconds;
    let mut latencies: Vec<u32> = commands.iter().flat_map(|(_, latencies)| latencies).copied().collect();
    let (p50, p99) = machine::percentiles(&mut latencies);
    let ready_failed = pulse.iter().filter(|latency| latency.is_none()).count();
    let mut ready: Vec<u32> = pulse.drain(..).flatten().collect();
    let logins: Vec<Count> = looping.into_iter().chain([opened]).collect();
    let done = commands.iter().map(|(count, _)| count.done).sum();
    Ok(Figures {
        commands: done,
        per_second: per_second(done),
        p50,
        p99,
        refused: commands.iter().map(|(count, _)| count.refused).sum(),
        logins_per_second: per_second(logins.iter().map(|count| count.done).sum()),
        logins_refused: logins.iter().map(|count| count.refused).sum(),
        ready_p99: machine::percentiles(&mut ready).1,
        ready_failed,
        load_cores: load / seconds,
        ..Figures::default()
    })
}

async fn command_loop(
    plan: &Plan,
    mut client: Client,
    n: usize,
    (from, until): (Instant, Instant),
) -> anyhow::Result<(Count, Vec<u32>)> {
    let mut dice = Dice::new(n);
    let (mut count, mut latencies) = (Count::default(), Vec::new());
    loop {
        let (target, session) = dice.session(&plan.targets);
        let sent = Instant::now();
        let status = client.try_post(target, session).await?;
        let answered = Instant::now();
        if answered > until {
            return Ok((count, latencies));
        }
        if answered > from {
            let useful = status == 201 && answered - sent < USEFUL;
            if useful {
                count.done += 1;
                latencies.push(micros(answered - sent));
            } else {
                count.refused += 1;
            }
        }
    }
}

async fn login_loop(address: &str, n: usize, (from, until): (Instant, Instant)) -> anyhow::Result<Count> {
    let mut client = Client::connect(address, format!("login-{n}")).await?;
    let mut count = Count::default();
    loop {
        let status = client.try_login().await?;
        let now = Instant::now();
        if now > until {
            return Ok(count);
        }
        if now > from {
            note(&mut count, status == 401);
        }
    }
}

fn note(count: &mut Count, done: bool) {
    if done {
        count.done += 1;
    } else {
        count.refused += 1;
    }
}

/// One log-in per tick, whether the ones before have been answered or not.
async fn logins(plan: &Plan, storm: &Storm, (from, until): (Instant, Instant)) -> anyhow::Result<Count> {
    let mut count = Count::default();
    if storm.logins_per_second == 0 {
        return Ok(count);
    }
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / storm.logins_per_second);
    let mut under_way = tokio::task::JoinSet::new();
    while Instant::now() < until {
        tokio::select! {
            _ = ticks.tick() => {
                let address = plan.address.clone();
                under_way.spawn(async move {
                    let begun = Instant::now();
                    let status = match Client::connect(&address, String::new()).await {
                        Ok(mut client) => client.try_login().await.unwrap_or(0),
                        Err(_) => 0,
                    };
                    (begun, status)
                });
            }
            Some(answered) = under_way.join_next() => {
                let (begun, status) = answered?;
                if begun > from {
                    note(&mut count, status == 401 && begun.elapsed() < USEFUL);
                }
            }
        }
    }
    Ok(count)
}

/// How long `/health/ready` took, again and again; `None` when it was not 200.
async fn pulse(plan: &Plan, (from, until): (Instant, Instant)) -> anyhow::Result<Vec<Option<u32>>> {
    let mut client = Client::connect(&plan.address, "pulse".to_owned()).await?;
    let mut times = Vec::new();
    tokio::time::sleep_until(from.into()).await;
    while Instant::now() < until {
        let asked = Instant::now();
        let status = client.ready().await?;
        times.push((status == 200).then(|| micros(asked.elapsed())));
        tokio::time::sleep(PULSE).await;
    }
    Ok(times)
}
