//! Imported conversations: as they were, once, and whole in the end whatever came between.

mod bad_lines;
mod costs;
mod fixture;
mod once;
mod seed;
mod usage;

use std::io::Cursor;

use chrono::{DateTime, Utc};
use convolog::import::report::Report;
use convolog::import::{Progress, Target, lines, run};
use domain::TenantId;
use serde_json::{Value, json};
use tests::{User, World};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// When all these imports happen.
const NOW: &str = "2026-11-22T20:00:00Z";

fn now() -> DateTime<Utc> {
    NOW.parse().unwrap()
}

fn target(world: &World, tenant: Uuid) -> Target {
    let (_, log, _) = world.nodes[0].write_side().unwrap();
    Target::new(log.clone(), TenantId(tenant), Uuid::now_v7(), now())
}

/// Imports a file; panics when the store fails.
async fn import(world: &World, user: &User, file: impl Into<Vec<u8>>) -> Report {
    let (report, result) = try_import(world, user, file, &CancellationToken::new()).await;
    result.unwrap();
    report
}

async fn try_import(
    world: &World,
    user: &User,
    file: impl Into<Vec<u8>>,
    stop: &CancellationToken,
) -> (Report, anyhow::Result<()>) {
    let mut report = Report::new(Progress::hidden(), now());
    let lines = lines::read(Cursor::new(file.into()));
    let result = run(Some(&target(world, user.tenant)), lines, stop, &mut report).await;
    (report, result)
}

/// A conversation of so many messages.
fn conversation(id: &str, messages: usize) -> Value {
    let role = |n: usize| if n.is_multiple_of(2) { "user" } else { "assistant" };
    let messages: Vec<_> = (0..messages).map(|n| json!({"role": role(n), "content": format!("{id} {n}")})).collect();
    json!({"id": id, "created": "2026-10-01T12:00:00Z", "messages": messages})
}

/// A file of these lines.
fn file(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// What each session of the log says, in the order of its versions, by its first message.
async fn said(user: &User) -> Vec<Vec<String>> {
    let mut sessions: std::collections::BTreeMap<String, Vec<(u64, String)>> = Default::default();
    for event in user.events().await {
        if let Some(content) = event["data"]["content"].as_str() {
            let session = event["subject"].as_str().unwrap().to_owned();
            let version = event["streamversion"].as_u64().unwrap();
            sessions.entry(session).or_default().push((version, content.to_owned()));
        }
    }
    let mut all: Vec<Vec<String>> = sessions
        .into_values()
        .map(|mut messages| {
            messages.sort();
            messages.into_iter().map(|(_, content)| content).collect()
        })
        .collect();
    all.sort();
    all
}
