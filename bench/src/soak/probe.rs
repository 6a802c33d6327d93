//! Whether everybody is served again: a command of every tenant is acknowledged by one process and read at the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use serde_json::json;
use uuid::Uuid;

use super::clients::Shared;
use super::front::{Answer, lock};
use super::judge::judge_read;
use super::memory::{Told, cost_of};
use super::plan::{Doing, Price, SHARED, Step};

/// Whoever is not served by then has not recovered.
const PATIENCE: Duration = Duration::from_secs(120);
const AGAIN: Duration = Duration::from_millis(100);
const AT_ONCE: usize = 16;

/// Probes all tenants; the number makes the keys of one probe.
pub(crate) async fn all_served(shared: &Arc<Shared>, sessions: &[Uuid], number: u64) {
    let late = stream::iter(sessions.iter().enumerate())
        .map(|(tenant, session)| async move {
            let probing = probe(shared, tenant, *session, number);
            tokio::time::timeout(PATIENCE, probing).await.is_err().then_some(tenant)
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(std::future::ready);
    let late: Vec<usize> = late.collect().await;
    if let Some(first) = late.first() {
        let (tenants, tenant) = (late.len(), shared.front.tenants[*first]);
        let what = format!("{tenants} tenants are not served {} s later, {tenant} is one", PATIENCE.as_secs());
        shared.violations.add("recovery", what);
    }
}

async fn probe(shared: &Arc<Shared>, tenant: usize, session: Uuid, number: u64) {
    let marker = format!("p{number}t{tenant}");
    let cost = Price { amount: Some("0.000000000001"), currency: Some("USD") };
    let body = json!({
        "role": "system",
        "content": format!("{marker} and some words"),
        "cost": cost.body(&cost_of(&marker)),
    });
    let doing = Doing::Post { session: SHARED.to_owned(), id: None, cost: Some(cost) };
    let key = Some(format!("key-{marker}"));
    let step = Step { number, doing, marker: marker.clone(), key: key.clone(), via: 0, reads: true, pause_ms: 0 };
    lock(&shared.memory).send(tenant, &step);
    let path = format!("/v1/sessions/{session}/messages");
    let mut api = usize::try_from(number).unwrap_or(0) + tenant;
    let seq = loop {
        match shared.front.post(api, tenant, &path, &body, key.as_deref()).await {
            Answer::Http { status: 201, body, .. } => {
                let told = Told { seq: None, version: body["version"].as_u64(), id: None };
                let mut memory = lock(&shared.memory);
                memory.told(&marker, told);
                memory.told(&cost_of(&marker), Told { seq: body["seq"].as_u64(), ..Told::default() });
                memory.tally("probe").acknowledged += 1;
                break body["seq"].as_u64().unwrap_or(0);
            }
            Answer::Http { status: 503 | 429 | 401 | 408, .. } => lock(&shared.memory).tally("probe").refused += 1,
            Answer::Broken => lock(&shared.memory).tally("probe").unknown += 1,
            Answer::Http { status, body, .. } => {
                shared.violations.add("answers", format!("a probe of tenant {tenant} was answered {status} {body}"));
                return;
            }
        }
        tokio::time::sleep(AGAIN).await;
        api += 1;
    };
    let path = format!("/v1/sessions/{session}/messages?limit=200&order=desc&min_seq={seq}");
    loop {
        api += 1;
        match judge_read(seq, &format!("\"{marker} and"), &shared.front.get(api, tenant, &path).await) {
            Ok(true) => return,
            Ok(false) => tokio::time::sleep(AGAIN).await,
            Err(what) => return shared.violations.add("min_seq", format!("a probe of tenant {tenant}: {what}")),
        }
    }
}

/// How long all tenants took to be served, counted from `begun`.
pub(crate) async fn recovered(shared: &Arc<Shared>, sessions: &[Uuid], number: u64, begun: Instant) -> Duration {
    all_served(shared, sessions, number).await;
    begun.elapsed()
}
