//! What all reads have in common: a transaction whose answer says which number of the log it reflects.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sqlx::PgConnection;
use store::{TenantTx, Work};
use tokio::time::Instant;

use crate::{
    caller::Caller,
    error::{Code, Error},
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
    pub(crate) async fn answer<T: Serialize>(self, headers: HeaderMap, body: &T) -> Result<Response, Error> {
        let mut headers = headers;
        headers.insert(SEQ, HeaderValue::from(self.seq));
        self.tx.commit().await?;
        Ok((headers, Json(body)).into_response())
    }
}

const HEAD: &str = "select seq from tenant_heads where tenant_id = $1 and $2 <> ''";
const CHECKPOINT: &str = "select seq from projection_checkpoints where tenant_id = $1 and group_name = $2";

async fn number(tx: &mut TenantTx, sql: &'static str) -> Result<u64, Error> {
    let tenant = tx.tenant().0;
    let seq: Option<i64> =
        sqlx::query_scalar(sql).bind(tenant).bind(Work::ReadModel.as_str()).fetch_optional(tx.connection()).await?;
    Ok(seq.unwrap_or(0).cast_unsigned())
}
