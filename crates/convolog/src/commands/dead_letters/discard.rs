//! `convolog dead-letters discard`: the event that says so first, then the stream goes on.

use std::time::{Duration, Instant};

use chrono::{SubsecRound as _, Utc};
use domain::operations::MAX_REASON;
use domain::{Actor, ActorKind};
use projector::dead_letters::{DeadLetter, Unparked, retry};
use store::{CommandContext, DiscardOutcome, ProjectorDatabase, TenantContext};
use uuid::Uuid;

use super::{Discard, find, print, projector, text};
use crate::attach::Attached;
use crate::commands::{Exit, Failure};
use crate::write_side::WriteSide;

/// How long the read tables are waited for; after that the projector does the rest by itself.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

pub(super) async fn run(settings: &Discard) -> Result<Exit, Failure> {
    let reason = settings.reason.trim();
    if reason.is_empty() || reason.chars().count() > MAX_REASON || reason.contains('\0') {
        return Err(Failure::usage(format!("--reason: say in 1 to {MAX_REASON} characters why")));
    }
    let attached = Attached::find(&settings.services)?;
    let database = projector(&attached).await?;
    let letter = find(&database, settings.parked).await?;
    if letter.discard_seq.is_none() {
        append(&attached, &letter, reason).await?;
    }
    let unparked = go_on(&database, &letter).await?;
    database.close().await;
    print(&format!("what waited behind it: {}", text::outcome(&unparked)))?;
    // Whoever is pending goes on by itself.
    Ok(if matches!(unparked, Unparked::Failed { .. }) { Exit::Found } else { Exit::Done })
}

async fn append(attached: &Attached, letter: &DeadLetter, reason: &str) -> Result<(), Failure> {
    #[expect(clippy::disallowed_methods, reason = "it is discarded now")]
    let now = Utc::now().trunc_subsecs(6);
    let actor = Actor { kind: ActorKind::System, id: Uuid::nil() };
    #[expect(clippy::disallowed_methods, reason = "whoever may log in as the API may append as the system")]
    let caller = TenantContext::authenticated(letter.tenant, actor);
    let context = CommandContext::new(caller, Uuid::now_v7(), now);
    let new = store::Discard { context, stream: letter.stream, seq: letter.seq, reason: reason.to_owned() };
    let write_side = WriteSide::attach(attached).await?;
    let outcome = store::discard(&write_side.database, write_side.on_commit.clone(), new).await;
    let grown = match &outcome {
        Ok(DiscardOutcome::Done { seq }) => Some((letter.tenant, *seq)),
        Ok(DiscardOutcome::Already | DiscardOutcome::NotParked) | Err(_) => None,
    };
    write_side.close(grown).await?;
    let DeadLetter { tenant, seq, name, .. } = letter;
    match outcome? {
        DiscardOutcome::Done { seq: by } => {
            print(&format!("tenant {tenant}: event {seq}, {name}, is discarded by event {by}"))
        }
        DiscardOutcome::Already => print(&format!("tenant {tenant}: event {seq} was discarded before")),
        DiscardOutcome::NotParked => {
            Err(Failure::usage(format!("the stream is not parked at event {seq} any more: look again")))
        }
    }
}

/// Tries the stream again as soon as the rows have come to the discard.
async fn go_on(database: &ProjectorDatabase, letter: &DeadLetter) -> Result<Unparked, Failure> {
    let begun = Instant::now();
    loop {
        let unparked = retry(database, letter.tenant, letter.stream).await?;
        if unparked != Unparked::Pending || begun.elapsed() > PATIENCE {
            return Ok(unparked);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
