//! Conversations from elsewhere into a tenant's log: at most once however often, and whole however often interrupted.
//!
//! `lines` reads, `line` understands, `plan` says which commands record it, this file has them recorded, `report` counts
//! and tells. What is there already is known by the commands' idempotency keys alone.

pub mod costs;
pub mod findings;
pub mod line;
pub mod lines;
pub mod plan;
mod progress;
mod provider;
pub mod report;
pub mod sums;
mod told;
mod usage;

use chrono::{DateTime, TimeDelta, Utc};
use domain::session::{Command, Rejection, Session};
use domain::{Actor, ActorKind, TenantId};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use store::{CommandContext, ExecuteError, Log, Stop, TenantContext, Unit};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use line::{Conversation, LineError};
use lines::Lines;
use plan::{Chunk, Plan, Step};
pub use progress::Progress;
use report::Report;

/// Conversations that are recorded at the same time: the writer commits together what waits for it.
pub const MAX_IN_FLIGHT: usize = 128;
/// How far in the future a conversation may lie: clocks differ, and some write local time as UTC.
pub const MAX_FUTURE: TimeDelta = TimeDelta::days(1);

/// The code of what was imported before with another content.
pub const CHANGED: &str = "changed";

/// Where conversations go.
#[derive(Clone)]
pub struct Target {
    log: Log,
    caller: TenantContext,
    run: Uuid,
    now: DateTime<Utc>,
}

/// Who imports into a tenant: always the same actor, because keys belong to one.
fn importer(tenant: TenantId) -> TenantContext {
    let actor = Actor { kind: ActorKind::System, id: Uuid::nil() };
    #[expect(clippy::disallowed_methods, reason = "the operator imports into a tenant of the own database")]
    let caller = TenantContext::authenticated(tenant, actor);
    caller
}

/// What became of one conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Chunks that were there before.
    pub there: usize,
    /// Messages that are new.
    pub messages: u64,
    /// Costs that are new.
    pub costs: u64,
    /// Events that are new.
    pub events: u64,
    /// The last event's number in the tenant's log.
    pub seq: u64,
}

/// Why a conversation was not recorded.
#[derive(Debug)]
pub enum NotRecorded {
    /// Because of itself: the others go on.
    Line(LineError),
    /// Because of the store: nothing goes on.
    Store(store::Error),
}

impl Target {
    /// A tenant's log. `now` is the time of what has none; `run` is the correlation id of all that is recorded.
    pub fn new(log: Log, tenant: TenantId, run: Uuid, now: DateTime<Utc>) -> Self {
        let caller = importer(tenant);
        Self { log, caller, run, now }
    }

    /// Records what is not there yet of one conversation.
    pub async fn record(&self, conversation: Conversation) -> Result<Recorded, NotRecorded> {
        check_times(&conversation, self.now).map_err(NotRecorded::Line)?;
        let plan = Plan::new(conversation, self.caller.tenant(), self.now);
        let plan = plan.map_err(|error| NotRecorded::Line(LineError::whole("invalid_value", error.to_string())))?;
        let mut recorded = Recorded::default();
        for chunk in plan.chunks {
            let events = chunk.steps.len() as u64;
            let count = |is: fn(&Step) -> bool| chunk.steps.iter().filter(|step| is(step)).count() as u64;
            let messages = count(|step| matches!(step, Step::Session(Command::PostMessage(_))));
            let costs = count(|step| matches!(step, Step::Cost(..)));
            let outcome = self.record_chunk(plan.session, chunk).await?;
            recorded.seq = outcome.seq;
            if outcome.replayed {
                recorded.there += 1;
            } else {
                recorded.events += events;
                recorded.messages += messages;
                recorded.costs += costs;
            }
        }
        Ok(recorded)
    }

    async fn record_chunk(&self, session: Uuid, chunk: Chunk) -> Result<store::Outcome<()>, NotRecorded> {
        let Chunk { occurred_at, key, steps } = chunk;
        let context = CommandContext { key: Some(key), ..CommandContext::new(self.caller, self.run, occurred_at) };
        let outcome = self.log.execute(context, move |unit| {
            for step in &steps {
                match step {
                    Step::Session(command) => record_step(unit, session, command)?,
                    Step::Cost(cost) => unit.record_cost(occurred_at, cost.clone())?,
                }
            }
            Ok(())
        });
        outcome.await.map_err(refused)
    }
}

fn record_step(unit: &mut Unit<'_>, session: Uuid, command: &Command) -> Result<(), Stop<Rejection>> {
    match command {
        Command::Start(_) => unit.start::<Session, Rejection>(session, command.clone()),
        Command::PostMessage(posted) => {
            unit.choose(posted.message_id)?;
            unit.run::<Session, Rejection>(session, command.clone())
        }
        Command::End { .. } => unit.run::<Session, Rejection>(session, command.clone()),
    }
}

/// Fails for a conversation that lies in the future.
pub fn check_times(conversation: &Conversation, now: DateTime<Utc>) -> Result<(), LineError> {
    let latest = now + MAX_FUTURE;
    let messages = conversation.messages.iter().map(|message| message.created);
    let late = messages.chain([conversation.created, conversation.ended]).flatten().find(|time| *time > latest);
    late.map_or(Ok(()), |time| Err(LineError::whole("invalid_value", format!("{time} lies in the future"))))
}

fn refused(error: ExecuteError<Rejection>) -> NotRecorded {
    let line = |code, detail: &str| NotRecorded::Line(LineError::whole(code, detail));
    match error {
        ExecuteError::KeyReused => {
            line(CHANGED, "it was imported before with other messages or costs, or in another form")
        }
        ExecuteError::Rejected(Rejection::Ended) => {
            line("session_ended", "its session was ended before all of it was imported")
        }
        ExecuteError::Rejected(Rejection::AlreadyStarted | Rejection::NotFound | Rejection::VersionMismatch { .. })
        | ExecuteError::Claimed(_)
        | ExecuteError::Store(store::Error::OtherCategory) => line("id_taken", "its id belongs to something else"),
        ExecuteError::Store(store::Error::EventTooLarge { bytes }) => {
            line("event_too_large", &format!("written as an event it would have more than {bytes} bytes"))
        }
        ExecuteError::Store(error) => NotRecorded::Store(error),
    }
}

/// Records all lines, or with `None` only reads them; until `stop`, then only what is under way.
///
/// # Errors
/// When the source or the store fails. What was recorded is counted in the report.
pub async fn run(
    target: Option<&Target>,
    mut lines: Lines<Conversation>,
    stop: &CancellationToken,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut in_flight = FuturesUnordered::new();
    let (mut open, mut failure) = (true, None);
    loop {
        tokio::select! {
            biased;
            Some((number, result)) = in_flight.next(), if !in_flight.is_empty() => match result {
                Ok(recorded) => report.recorded(recorded),
                Err(NotRecorded::Line(error)) => report.findings.bad(number, &error),
                Err(NotRecorded::Store(error)) => {
                    open = false;
                    failure.get_or_insert(anyhow::Error::new(error).context("the import could not go on"));
                }
            },
            () = stop.cancelled(), if open => {
                open = false;
                report.interrupted = true;
            }
            read = lines.recv(), if open && in_flight.len() < MAX_IN_FLIGHT => match read {
                None => open = false,
                Some(Err(error)) => {
                    open = false;
                    failure.get_or_insert(anyhow::Error::new(error).context("the file can't be read on"));
                }
                Some(Ok(read)) => if let Some((number, conversation, share)) = report.read(read) {
                    match target {
                        Some(target) => in_flight.push(async move {
                            let result = target.record(conversation).await;
                            drop(share);
                            (number, result)
                        }),
                        None => report.only_read(&conversation),
                    }
                },
            },
            else => break,
        }
    }
    failure.map_or(Ok(()), Err)
}
