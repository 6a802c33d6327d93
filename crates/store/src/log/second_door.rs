//! The append inside a transaction that also writes tables beside the log, such as credentials.

use std::collections::HashMap;
use std::sync::Arc;

use domain::{Aggregate, Category, EventData};
use uuid::Uuid;

use super::append::{Appended, Command, DecidedOn, append_batch};
use super::cache::StreamKey;
use super::load::{Fold, load_in};
use super::refusal::{Before, answered_before};
use super::unit::{Claim, NewEvent, encode};
use super::{CommandContext, ExecuteError, OnCommit, Outcome};
use crate::{Error, TenantTx};

/// What is appended to one stream, beside the events.
pub(crate) struct Appending<'a> {
    /// Of which category, and the stream.
    pub(crate) stream: (Category, Uuid),
    /// The version that was decided on; `None` for a stream that accumulates: then whatever it is.
    pub(crate) expected: Option<u64>,
    /// What the events take.
    pub(crate) claims: &'a [Claim],
    /// What is answered now and whenever the command's key comes again, as JSON. Without it the key is not looked at.
    pub(crate) receipt: Option<&'a str>,
}

impl TenantTx {
    /// Appends events of one stream. Nothing is durable before [`TenantTx::commit`]; the tenant's log is locked until then, so
    /// this comes after rows of other tables were locked.
    pub(crate) async fn append<E: EventData>(
        &mut self,
        context: &CommandContext,
        to: &Appending<'_>,
        events: &[E],
    ) -> Result<Appended, Error> {
        let (category, stream) = to.stream;
        let mut new = Vec::new();
        for event in events {
            new.push(NewEvent::new(category, stream, event.event_type(), encode(event)?));
        }
        let keyless = CommandContext { key: None, ..context.clone() };
        let (context, receipt) = to.receipt.map_or((&keyless, "null"), |receipt| (context, receipt));
        let command = Command { context, group: 1, primary: stream, receipt, claims: to.claims, events: &new };
        let key = StreamKey { tenant: self.tenant(), stream };
        let streams =
            HashMap::from([(key, to.expected.map(|expected| DecidedOn { expected, vouched_for: false, group: 1 }))]);
        let answers = append_batch(self.connection(), &[command], &streams, None).await?;
        match answers.commands.into_iter().next() {
            Some(Appended::UnknownTenant) | None => Err(Error::UnknownTenant),
            Some(appended) => Ok(appended),
        }
    }

    /// Appends what a command has come to, under its key and with `id` as what is answered, and commits. `None`: the stream has
    /// moved on since it was read, and nothing is stored.
    pub(crate) async fn conclude<E: EventData, R>(
        mut self,
        on_commit: &OnCommit,
        context: &CommandContext,
        (id, to): (Uuid, Appending<'_>),
        events: &[E],
    ) -> Result<Option<Outcome<Uuid>>, ExecuteError<R>> {
        let receipt = serde_json::to_string(&id).map_err(Error::Encode)?;
        match self.append(context, &Appending { receipt: Some(&receipt), ..to }, events).await? {
            Appended::Stored { seq, version } => {
                let seq = self.commit_appended(on_commit, seq).await?;
                Ok(Some(Outcome { receipt: id, seq, version, replayed: false }))
            }
            Appended::Replayed { seq, version, receipt } => replayed(seq, version, &receipt).map(Some),
            Appended::KeyReused => Err(ExecuteError::KeyReused),
            Appended::Claimed(claim) => Err(ExecuteError::Claimed(claim)),
            // It is alone, so nobody is in its way but itself.
            Appended::Conflict | Appended::Held => Ok(None),
            Appended::UnknownTenant => Err(ExecuteError::Store(Error::UnknownTenant)),
        }
    }

    /// Appends to a stream that accumulates and answers the number of the last event.
    pub(crate) async fn record<E: EventData>(
        &mut self,
        context: &CommandContext,
        stream: (Category, Uuid),
        events: &[E],
    ) -> Result<u64, Error> {
        let to = Appending { stream, expected: None, claims: &[], receipt: None };
        let appended = self.append(context, &to, events).await?;
        Ok(appended.stored().unwrap_or_else(|| unreachable!("it claims nothing, expects nothing and has no key")))
    }

    /// The state and version of a stream as they are now.
    pub(crate) async fn state_of<A: Aggregate>(&mut self, stream: Uuid) -> Result<(Arc<A::State>, u64), Error> {
        let known = load_in(self, stream, Fold::of::<A>()).await?;
        let state = known.state.downcast::<A::State>().map_err(|_other| Error::OtherCategory)?;
        Ok((state, known.version))
    }

    /// How a command ends that was decided with no: as it ended before, when its key was used.
    pub(crate) async fn refuse<E>(
        mut self,
        context: &CommandContext,
        rejection: E,
    ) -> Result<Outcome<Uuid>, ExecuteError<E>> {
        match answered_before(&mut self, context).await.map_err(ExecuteError::Store)? {
            Some(Before::Answered { seq, version, receipt }) => replayed(seq, version, &receipt),
            Some(Before::OtherRequest) => Err(ExecuteError::KeyReused),
            None => Err(ExecuteError::Rejected(rejection)),
        }
    }
}

/// The answer of a command that was done before.
fn replayed<E>(seq: u64, version: u64, receipt: &str) -> Result<Outcome<Uuid>, ExecuteError<E>> {
    let receipt = serde_json::from_str(receipt).map_err(|error| ExecuteError::Store(Error::Encode(error)))?;
    Ok(Outcome { receipt, seq, version, replayed: true })
}
