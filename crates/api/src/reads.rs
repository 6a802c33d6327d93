//! What all reads have in common: a transaction whose answer says which number of the log it reflects.

use std::marker::PhantomData;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::PgConnection;
use store::{TenantTx, Work};
use tokio::time::Instant;

use crate::{
    caller::Caller,
    conditions::etag,
    error::{Code, Error},
    openapi::{Answers, Header, Operation},
    state::Api,
    statements::CHECKPOINT,
};

/// Names the number of the log that an answer reflects.
pub const SEQ: HeaderName = HeaderName::from_static("convolog-seq");

/// How many streams of the tenant are parked; not there when it is none.
pub(crate) const PARKED: HeaderName = HeaderName::from_static("convolog-parked");

/// Longest wait for the read tables.
pub const MIN_SEQ_WAIT: Duration = Duration::from_secs(5);

/// A read of one tenant: all its statements see the same snapshot.
pub(crate) struct Read {
    tx: TenantTx,
    at: Place,
}

/// What the rows of a snapshot reflect.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// The number of the log.
    seq: u64,
    /// Streams that are left out from some event on.
    parked: u64,
    /// Nothing is projected because the next event is of newer code.
    paused: bool,
}

impl Read {
    /// Begins a read of the projected tables, when they reflect `min_seq`.
    pub(crate) async fn projected(api: &Api, caller: &Caller, min_seq: Option<u64>) -> Result<Self, Error> {
        let place = min_seq.map(|_| api.inner.gate.place(caller.context.tenant()));
        let mut read = Self::begin(api, caller, CHECKPOINT).await?;
        let Some((min_seq, mut place)) = min_seq.zip(place).filter(|(min_seq, _)| *min_seq > read.at.seq) else {
            return Ok(read);
        };
        let projected = read.at;
        read.at = find(&mut read.tx, HEAD).await?;
        read.in_log(min_seq)?;
        drop(read);
        if projected.paused {
            return Err(paused(projected.seq));
        }
        let deadline = Instant::now() + MIN_SEQ_WAIT;
        loop {
            place.wait(min_seq, deadline).await;
            // What was heard of the checkpoint is a hint: a crash may have taken rows and checkpoint back since.
            let read = Self::begin(api, caller, CHECKPOINT).await?;
            let Place { seq, paused: is_paused, .. } = read.at;
            if seq >= min_seq {
                return Ok(read);
            }
            drop(read);
            if is_paused {
                return Err(paused(seq));
            }
            if Instant::now() >= deadline {
                let detail = "The read tables have not reached min_seq yet; the log has it.";
                return Err(Error::new(Code::ReadModelBehind, detail).with_current_seq(seq));
            }
            place.was_misled(seq).await;
        }
    }

    /// Begins a read of what the command's own transaction writes: the log, tenants, users.
    pub(crate) async fn committed(api: &Api, caller: &Caller, min_seq: Option<u64>) -> Result<Self, Error> {
        let read = Self::begin(api, caller, HEAD).await?;
        if let Some(min_seq) = min_seq {
            read.in_log(min_seq)?;
        }
        Ok(read)
    }

    async fn begin(api: &Api, caller: &Caller, number_of: &'static str) -> Result<Self, Error> {
        let mut tx = TenantTx::begin_snapshot(&api.inner.database, &caller.context).await?;
        let at = find(&mut tx, number_of).await?;
        Ok(Self { tx, at })
    }

    fn in_log(&self, min_seq: u64) -> Result<(), Error> {
        let Place { seq, .. } = self.at;
        if min_seq <= seq {
            return Ok(());
        }
        Err(Error::new(Code::SeqNotInLog, format!("The log ends at {seq}.")).with_current_seq(seq))
    }

    /// The number of the log that the snapshot reflects.
    pub(crate) fn seq(&self) -> u64 {
        self.at.seq
    }

    /// Where to query; `tenant_id = $1` belongs into every query, with [`Read::tenant`].
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        self.tx.connection()
    }

    /// The tenant that is read.
    pub(crate) fn tenant(&self) -> uuid::Uuid {
        self.tx.tenant().0
    }

    /// Ends the transaction and answers.
    pub(crate) async fn answer<T: Serialize>(self, body: &T) -> Result<Answer<T>, Error> {
        let Place { seq, parked, .. } = self.at;
        let headers = [(SEQ, HeaderValue::from(seq))];
        self.tx.commit().await?;
        let mut response = (headers, Json(body)).into_response();
        if parked > 0 {
            response.headers_mut().insert(PARKED, HeaderValue::from(parked));
        }
        Ok(Answer { response, body: PhantomData })
    }

    /// The same for a resource that has a version.
    pub(crate) async fn answer_version<T: Serialize>(self, version: u64, body: &T) -> Result<Versioned<T>, Error> {
        let mut answer = self.answer(body).await?;
        answer.response.headers_mut().insert(header::ETAG, etag(version));
        Ok(Versioned(answer))
    }
}

/// The answer of a read: a `T`, and the number of the log that it reflects.
pub(crate) struct Answer<T> {
    response: Response,
    body: PhantomData<fn() -> T>,
}

/// The same with an `ETag`.
pub(crate) struct Versioned<T>(Answer<T>);

impl<T> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        self.response
    }
}

impl<T> IntoResponse for Versioned<T> {
    fn into_response(self) -> Response {
        self.0.response
    }
}

impl<T: JsonSchema> Answers for Answer<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers::<T>(200, "As of the number in `Convolog-Seq`.", &[Header::Seq, Header::Parked]);
        operation.fails(&FAILURES);
    }
}

impl<T: JsonSchema> Answers for Versioned<T> {
    fn describe(operation: &mut Operation<'_>) {
        let headers = [Header::Seq, Header::Parked, Header::Etag];
        operation.answers::<T>(200, "As of the number in `Convolog-Seq`.", &headers);
        operation.fails(&FAILURES);
    }
}

/// What may happen to any read.
const FAILURES: [Code; 2] = [Code::SeqNotInLog, Code::Overloaded];

/// The rows stay where they are until a newer version of this service projects them.
fn paused(seq: u64) -> Error {
    let detail = "The next event was written by a newer version: the read tables wait for an upgrade.";
    Error::new(Code::NewerEvent, detail).with_current_seq(seq)
}

const HEAD: &str = "select seq, 0, false from tenant_heads where tenant_id = $1 and $2 <> ''";

async fn find(tx: &mut TenantTx, sql: &'static str) -> Result<Place, Error> {
    let tenant = tx.tenant().0;
    let found: Option<(i64, i32, bool)> =
        sqlx::query_as(sql).bind(tenant).bind(Work::ReadModel.as_str()).fetch_optional(tx.connection()).await?;
    Ok(found.map_or(Place::default(), |(seq, parked, paused)| Place {
        seq: seq.cast_unsigned(),
        parked: u64::from(parked.cast_unsigned()),
        paused,
    }))
}
