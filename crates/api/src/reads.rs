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
};

/// Names the number of the log that an answer reflects.
pub const SEQ: HeaderName = HeaderName::from_static("convolog-seq");

/// Longest wait for the read tables.
pub const MIN_SEQ_WAIT: Duration = Duration::from_secs(5);

/// A read of one tenant: all its statements see the same snapshot.
pub(crate) struct Read {
    tx: TenantTx,
    seq: u64,
}

impl Read {
    /// Begins a read of the projected tables, when they reflect `min_seq`.
    pub(crate) async fn projected(api: &Api, caller: &Caller, min_seq: Option<u64>) -> Result<Self, Error> {
        let place = min_seq.map(|_| api.inner.gate.place(caller.context.tenant()));
        let mut read = Self::begin(api, caller, CHECKPOINT).await?;
        let Some((min_seq, mut place)) = min_seq.zip(place).filter(|(min_seq, _)| *min_seq > read.seq) else {
            return Ok(read);
        };
        read.seq = number(&mut read.tx, HEAD).await?;
        read.in_log(min_seq)?;
        drop(read);
        let deadline = Instant::now() + MIN_SEQ_WAIT;
        loop {
            place.wait(min_seq, deadline).await;
            // What was heard of the checkpoint is a hint: a crash may have taken rows and checkpoint back since.
            let read = Self::begin(api, caller, CHECKPOINT).await?;
            let seq = read.seq;
            if seq >= min_seq {
                return Ok(read);
            }
            drop(read);
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
        let seq = number(&mut tx, number_of).await?;
        Ok(Self { tx, seq })
    }

    fn in_log(&self, min_seq: u64) -> Result<(), Error> {
        if min_seq <= self.seq {
            return Ok(());
        }
        let detail = format!("The log ends at {}.", self.seq);
        Err(Error::new(Code::SeqNotInLog, detail).with_current_seq(self.seq))
    }

    /// The number of the log that the snapshot reflects.
    pub(crate) fn seq(&self) -> u64 {
        self.seq
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
        let headers = [(SEQ, HeaderValue::from(self.seq))];
        self.tx.commit().await?;
        Ok(Answer { response: (headers, Json(body)).into_response(), body: PhantomData })
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
        operation.answers::<T>(200, "As of the number in `Convolog-Seq`.", &[Header::Seq]);
        operation.fails(&FAILURES);
    }
}

impl<T: JsonSchema> Answers for Versioned<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers::<T>(200, "As of the number in `Convolog-Seq`.", &[Header::Seq, Header::Etag]);
        operation.fails(&FAILURES);
    }
}

/// What may happen to any read.
const FAILURES: [Code; 2] = [Code::SeqNotInLog, Code::Overloaded];

const HEAD: &str = "select seq from tenant_heads where tenant_id = $1 and $2 <> ''";
const CHECKPOINT: &str = "select seq from projection_checkpoints where tenant_id = $1 and group_name = $2";

async fn number(tx: &mut TenantTx, sql: &'static str) -> Result<u64, Error> {
    let tenant = tx.tenant().0;
    let seq: Option<i64> =
        sqlx::query_scalar(sql).bind(tenant).bind(Work::ReadModel.as_str()).fetch_optional(tx.connection()).await?;
    Ok(seq.unwrap_or(0).cast_unsigned())
}
