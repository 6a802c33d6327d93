//! The append inside a transaction that also writes tables beside the log, such as credentials.

use std::collections::HashMap;

use domain::{Aggregate, Category, EventData};
use uuid::Uuid;

use super::CommandContext;
use super::append::{Appended, Command, append_batch};
use super::cache::StreamKey;
use super::unit::{Claim, NewEvent, encode};
use crate::{Error, TenantTx};

/// What became of the events.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SecondDoor {
    /// They have their numbers: those of the last one.
    Stored {
        /// Number in the tenant's log.
        seq: u64,
    },
    /// A claim was taken.
    Claimed(String),
    /// The stream has moved on since it was read.
    Conflict,
}

impl TenantTx {
    /// Appends events of one stream, decided by the caller at version `expected`. Nothing is durable before
    /// [`TenantTx::commit`]; the tenant's log is locked until then. Idempotency keys are not looked at.
    pub(crate) async fn append<A: Aggregate>(
        &mut self,
        context: &CommandContext,
        stream: Uuid,
        expected: u64,
        events: &[A::Event],
        claims: &[Claim],
    ) -> Result<SecondDoor, Error> {
        self.append_to(context, (A::CATEGORY, stream), Some(expected), events, claims).await
    }

    /// The same, also for a stream that accumulates: then whatever its version is.
    pub(crate) async fn append_to<E: EventData>(
        &mut self,
        context: &CommandContext,
        (category, stream): (Category, Uuid),
        expected: Option<u64>,
        events: &[E],
        claims: &[Claim],
    ) -> Result<SecondDoor, Error> {
        let mut new = Vec::new();
        for event in events {
            new.push(NewEvent::new(category, stream, event.event_type(), encode(event)?));
        }
        let keyless = CommandContext { key: None, ..context.clone() };
        let command = Command { context: &keyless, group: 1, primary: stream, receipt: "null", claims, events: &new };
        let key = StreamKey { tenant: self.tenant(), stream };
        let streams = HashMap::from([(key, expected.map(|expected| (expected, 1)))]);
        let answers = append_batch(self.connection(), &[command], &streams).await?;
        match answers.into_iter().next() {
            Some(Appended::Stored { seq, .. }) => Ok(SecondDoor::Stored { seq }),
            Some(Appended::Claimed(claim)) => Ok(SecondDoor::Claimed(claim)),
            Some(Appended::Conflict | Appended::Replayed { .. } | Appended::KeyReused) => Ok(SecondDoor::Conflict),
            Some(Appended::UnknownTenant) | None => Err(Error::UnknownTenant),
        }
    }
}
