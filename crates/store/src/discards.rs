//! Discards: an operator has an event that cannot be projected left out of the read tables for ever.

use domain::operations::{self, Discarded, Event, discard_claim};
use domain::{Category, TenantId};
use sqlx::Row as _;
use uuid::Uuid;

use crate::log::{Appending, Claim, CommandContext, OnCommit};
use crate::tasks::spawn;
use crate::{ApiDatabase, CrashPoint, Error, TenantTx};

/// What is to be discarded: the event at which a stream is parked.
#[derive(Clone, Debug)]
pub struct Discard {
    /// Whose log, and who discards.
    pub context: CommandContext,
    /// The parked stream.
    pub stream: Uuid,
    /// The event that is meant: another one is not discarded.
    pub seq: u64,
    /// Why, at most [`operations::MAX_REASON`] characters.
    pub reason: String,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiscardOutcome {
    /// It is discarded by the event of this number.
    Done {
        /// Of the tenant's log.
        seq: u64,
    },
    /// It was discarded before.
    Already,
    /// The stream is not parked at this event.
    NotParked,
}

/// Discards it: the event that says so, and what the projector knows it by, in one transaction.
pub async fn discard(database: &ApiDatabase, on_commit: OnCommit, discard: Discard) -> Result<DiscardOutcome, Error> {
    let database = database.clone();
    let discarded = spawn("discard", async move { write(&database, &on_commit, discard).await }).await;
    discarded.unwrap_or(Err(Error::OutcomeUnknown))
}

async fn write(database: &ApiDatabase, on_commit: &OnCommit, discard: Discard) -> Result<DiscardOutcome, Error> {
    let Discard { context, stream, seq: parked, reason } = discard;
    let tenant = context.caller.tenant();
    let mut tx = TenantTx::begin(database, &context.caller).await?;
    let Some(discarded) = parked_event(&mut tx, stream, parked, reason).await? else {
        return Ok(DiscardOutcome::NotParked);
    };
    let claims = [Claim { name: discard_claim(parked), event: 0 }];
    let stream_of_operations = (Category::Operations, operations::stream(tenant));
    let to = Appending { stream: stream_of_operations, expected: None, claims: &claims, receipt: None };
    let events = [Event::EventDiscarded(discarded)];
    let Some(seq) = tx.append(&context, &to, &events).await?.stored() else { return Ok(DiscardOutcome::Already) };
    // The row's lock: whoever projects the event after all either did so before, and then there is no such row, or sees
    // this afterwards.
    let found = sqlx::query("update dead_letters set discard_seq = $3 where tenant_id = $1 and seq = $2")
        .bind(tenant.0)
        .bind(parked.cast_signed())
        .bind(seq.cast_signed())
        .execute(tx.connection())
        .await?;
    if found.rows_affected() == 0 {
        return Ok(DiscardOutcome::NotParked);
    }
    project(&mut tx, tenant, (parked, stream), seq).await?;
    let seq = tx.commit_appended(on_commit, seq).await?;
    CrashPoint::AfterDiscard.reached();
    Ok(DiscardOutcome::Done { seq })
}

/// The event at which the stream is parked, if it is parked there.
async fn parked_event(tx: &mut TenantTx, stream: Uuid, seq: u64, reason: String) -> Result<Option<Discarded>, Error> {
    let tenant = tx.tenant().0;
    let row = sqlx::query(
        "select category, version, event_id, name from dead_letters
         where tenant_id = $1 and stream_id = $2 and seq = $3 limit 1",
    )
    .bind(tenant)
    .bind(stream)
    .bind(seq.cast_signed())
    .fetch_optional(tx.connection())
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Discarded {
        seq,
        category: row.try_get("category")?,
        stream_id: stream,
        version: row.try_get::<i64, _>("version")?.cast_unsigned(),
        event_id: row.try_get("event_id")?,
        name: row.try_get("name")?,
        reason,
    }))
}

/// The inline projection: by this row the projector knows what it leaves out.
async fn project(
    tx: &mut TenantTx,
    tenant: TenantId,
    (seq, stream): (u64, Uuid),
    discard_seq: u64,
) -> Result<(), Error> {
    sqlx::query("insert into discarded_events (tenant_id, seq, stream_id, discard_seq) values ($1, $2, $3, $4)")
        .bind(tenant.0)
        .bind(seq.cast_signed())
        .bind(stream)
        .bind(discard_seq.cast_signed())
        .execute(tx.connection())
        .await?;
    Ok(())
}
