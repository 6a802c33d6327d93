//! A command on its way through a writer: the closure that decides it and the client that waits for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::TenantId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::meters::{Ended, Meters};
use super::room::Place;
use super::unit::{Stop, StopKind, Unit};
use super::{CommandContext, ExecuteError, Outcome};
use crate::Error;

/// What a command's closure came to.
pub(super) enum Verdict {
    /// Events, claims and receipt are ready.
    Decided,
    /// The decision is no.
    Rejected,
    /// What it wants to take is taken.
    Claimed(String),
    /// A stream has to be loaded first.
    Load,
    /// It can't be decided at all.
    Failed(Error),
}

/// How a command ended.
pub(super) enum Finish {
    Stored {
        seq: u64,
        version: u64,
    },
    Replayed {
        seq: u64,
        version: u64,
        receipt: String,
    },
    KeyReused,
    Claimed(String),
    /// As [`Verdict::Rejected`] said.
    Rejected,
    Failed(Error),
}

/// A [`TypedJob`] without its types.
pub(super) trait Job: Send + Sync {
    fn context(&self) -> &CommandContext;
    fn tenant(&self) -> TenantId {
        self.context().caller.tenant()
    }
    fn decide(&mut self, unit: &mut Unit<'_>) -> Verdict;
    /// The receipt of the last decision as JSON.
    fn receipt(&self) -> &str;
    fn finish(self: Box<Self>, finish: Finish);
    /// How often other writers were faster; counts one more.
    fn lost_race(&mut self) -> u32;
    /// A commit of it was lost: from now on nobody may say that nothing was done.
    fn outcome_is_unknown(&mut self);
    /// How long the command has been waiting since it was taken on.
    fn waited(&self) -> Duration;
    /// Whether others were faster, so that a stream may exist although this process has not seen it.
    fn has_lost_race(&self) -> bool;
}

pub(super) struct TypedJob<R, E, F> {
    context: CommandContext,
    decide: F,
    receipt: Option<(R, String)>,
    rejection: Option<E>,
    lost_races: u32,
    outcome_unknown: bool,
    since: Instant,
    meters: Arc<Meters>,
    _place: Place,
    answer: oneshot::Sender<Result<Outcome<R>, ExecuteError<E>>>,
}

impl<R, E, F> TypedJob<R, E, F> {
    pub(super) fn new(
        context: CommandContext,
        decide: F,
        place: Place,
        meters: Arc<Meters>,
        answer: oneshot::Sender<Result<Outcome<R>, ExecuteError<E>>>,
    ) -> Self {
        Self {
            context,
            decide,
            receipt: None,
            rejection: None,
            lost_races: 0,
            outcome_unknown: false,
            since: Instant::now(),
            meters,
            _place: place,
            answer,
        }
    }
}

impl<R, E, F> Job for TypedJob<R, E, F>
where
    R: Serialize + DeserializeOwned + Send + Sync,
    E: Send + Sync,
    F: Fn(&mut Unit<'_>) -> Result<R, Stop<E>> + Send + Sync,
{
    fn context(&self) -> &CommandContext {
        &self.context
    }

    fn decide(&mut self, unit: &mut Unit<'_>) -> Verdict {
        match (self.decide)(unit) {
            Ok(receipt) => match serde_json::to_string(&receipt) {
                Ok(json) => {
                    self.receipt = Some((receipt, json));
                    Verdict::Decided
                }
                Err(error) => Verdict::Failed(Error::Encode(error)),
            },
            Err(Stop(StopKind::Load)) => Verdict::Load,
            Err(Stop(StopKind::Claimed(claim))) => Verdict::Claimed(claim),
            Err(Stop(StopKind::Failed(error))) => Verdict::Failed(error),
            Err(Stop(StopKind::Rejected(rejection))) => {
                self.rejection = Some(rejection);
                Verdict::Rejected
            }
        }
    }

    fn receipt(&self) -> &str {
        self.receipt.as_ref().map_or("null", |(_, json)| json)
    }

    fn finish(self: Box<Self>, finish: Finish) {
        let answer = match (finish, self.receipt, self.rejection) {
            (Finish::Stored { seq, version }, Some((receipt, _)), _) => {
                Ok(Outcome { receipt, seq, version, replayed: false })
            }
            (Finish::Replayed { seq, version, receipt }, _, _) => match serde_json::from_str(&receipt) {
                Ok(receipt) => Ok(Outcome { receipt, seq, version, replayed: true }),
                Err(error) => Err(ExecuteError::Store(Error::Encode(error))),
            },
            (Finish::KeyReused, _, _) => Err(ExecuteError::KeyReused),
            (Finish::Claimed(claim), _, _) => Err(ExecuteError::Claimed(claim)),
            (Finish::Rejected, _, Some(rejection)) => Err(ExecuteError::Rejected(rejection)),
            (Finish::Failed(_), _, _) if self.outcome_unknown => Err(ExecuteError::Store(Error::OutcomeUnknown)),
            (Finish::Failed(error), _, _) => Err(ExecuteError::Store(error)),
            // Neither is reached: a command is stored after it was decided, and rejected after it was rejected.
            (Finish::Stored { .. } | Finish::Rejected, _, _) => Err(ExecuteError::Store(Error::OutcomeUnknown)),
        };
        self.meters.ended(ended(&answer));
        // Nobody may be waiting any more; what was stored stays stored.
        let _ = self.answer.send(answer);
    }

    fn lost_race(&mut self) -> u32 {
        self.lost_races += 1;
        self.lost_races
    }

    fn outcome_is_unknown(&mut self) {
        self.outcome_unknown = true;
    }

    fn waited(&self) -> Duration {
        self.since.elapsed()
    }

    fn has_lost_race(&self) -> bool {
        self.lost_races > 0
    }
}

fn ended<R, E>(answer: &Result<Outcome<R>, ExecuteError<E>>) -> Ended {
    match answer {
        Ok(Outcome { replayed: false, .. }) => Ended::Stored,
        Ok(Outcome { replayed: true, .. }) => Ended::Replayed,
        Err(ExecuteError::Rejected(_)) => Ended::Rejected,
        Err(ExecuteError::Claimed(_)) => Ended::Claimed,
        Err(ExecuteError::KeyReused) => Ended::KeyReused,
        Err(ExecuteError::Store(Error::Overloaded)) => Ended::Overloaded,
        Err(ExecuteError::Store(Error::OutcomeUnknown)) => Ended::OutcomeUnknown,
        Err(ExecuteError::Store(_)) => Ended::Failed,
    }
}
