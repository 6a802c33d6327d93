//! Projects what waits behind a dead letter: the stream's events, in order, up to where the tenant's rows are.

use domain::TenantId;
use futures_util::TryStreamExt as _;
use sqlx::AssertSqlSafe;
use store::{EVENT_COLUMNS, EventPlace, MAX_PAGE_BYTES, ProjectorDatabase, TenantsTx};
use uuid::Uuid;

use super::park;
use super::skips::Skips;
use crate::apply::write_rows;
use crate::logged::Logged;
use crate::replay::patience::Patience;
use crate::{Error, READ_MODEL, read_model_version};

/// Most events in one transaction.
pub const PAGE: u64 = 500;

/// What has become of a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unparked {
    /// The stream goes on with all others; so many of its events were projected.
    Done(u64),
    /// An event cannot be projected, and the stream stays parked at it.
    Failed {
        /// Number of the event.
        seq: u64,
        /// Why.
        error: String,
    },
    /// The event is discarded, from a number on that the rows have not reached.
    Pending,
    /// No such stream is parked.
    NotParked,
    /// The rows are another version's.
    OtherVersion,
}

/// Tries again to project the stream's events from the parked one on.
pub async fn retry(database: &ProjectorDatabase, tenant: TenantId, stream: Uuid) -> Result<Unparked, Error> {
    let (mut projected, mut page, mut patience) = (0, PAGE, Patience::new());
    loop {
        match turn(database, tenant, stream, page).await {
            Ok(Turn::More(events)) => (projected, patience) = (projected + events, Patience::new()),
            Ok(Turn::End(Unparked::Done(events))) => return Ok(Unparked::Done(projected + events)),
            Ok(Turn::End(ended)) => return Ok(ended),
            // Halved, so that all before the event that fails are projected.
            Err(error) if error.is_deterministic() && page > 1 => page /= 2,
            Err(error) if error.is_deterministic() => return fail(database, tenant, stream, &error).await,
            Err(error) => patience.with(error).await?,
        }
    }
}

/// What one transaction has come to.
enum Turn {
    /// So many events were projected, and there are more.
    More(u64),
    /// Nothing is left to do.
    End(Unparked),
}

/// One transaction: projects a page. While it holds the checkpoint, live projecting passes over the tenant.
async fn turn(database: &ProjectorDatabase, tenant: TenantId, stream: Uuid, page: u64) -> Result<Turn, Error> {
    let mut tx = TenantsTx::begin(database, [tenant]).await?;
    park::durably(&mut tx).await?;
    let (checkpoint, letter) = match lock(&mut tx, tenant, stream).await? {
        Ok(locked) => locked,
        Err(ended) => return Ok(Turn::End(ended)),
    };
    let (events, next) = read(&mut tx, &letter, checkpoint, page).await?;
    let mut skips = Skips::load(&mut tx, &[(tenant, checkpoint.cast_unsigned())]).await?;
    skips.admit(tenant, stream);
    let facts = skips.read(&events)?;
    let projected = facts.len() as u64;
    write_rows(&mut tx, &facts).await?;
    let turn = match next {
        Some(next) => {
            advance(&mut tx, &next).await?;
            Turn::More(projected)
        }
        None => {
            remove(&mut tx, tenant, stream).await?;
            Turn::End(Unparked::Done(projected))
        }
    };
    mended(&mut tx, tenant).await?;
    tx.commit().await?;
    Ok(turn)
}

/// Where a dead letter is.
struct Letter {
    tenant: TenantId,
    stream: Uuid,
    version: i64,
}

/// The number that the rows reflect and the dead letter, locked in this order as everywhere; or why nothing is to be done.
async fn lock(tx: &mut TenantsTx, tenant: TenantId, stream: Uuid) -> Result<Result<(i64, Letter), Unparked>, Error> {
    let checkpoint: Option<(i64, i32)> = sqlx::query_as(
        "select seq, version from projection_checkpoints where tenant_id = $1 and group_name = $2 for update",
    )
    .bind(tenant.0)
    .bind(READ_MODEL)
    .fetch_optional(tx.connection())
    .await?;
    let letter: Option<(i64, Option<i64>)> = sqlx::query_as(
        "select version, discard_seq from dead_letters
         where tenant_id = $1 and group_name = $2 and stream_id = $3 for update",
    )
    .bind(tenant.0)
    .bind(READ_MODEL)
    .bind(stream)
    .fetch_optional(tx.connection())
    .await?;
    Ok(match (checkpoint, letter) {
        (None, _) | (_, None) => Err(Unparked::NotParked),
        (Some((_, group)), _) if group != read_model_version() => Err(Unparked::OtherVersion),
        (Some((checkpoint, _)), Some((_, Some(discard)))) if discard > checkpoint => Err(Unparked::Pending),
        (Some((checkpoint, _)), Some((version, _))) => Ok((checkpoint, Letter { tenant, stream, version })),
    })
}

/// The stream's events that wait, at most `page` of them, and the one behind those.
async fn read(
    tx: &mut TenantsTx,
    letter: &Letter,
    checkpoint: i64,
    page: u64,
) -> Result<(Vec<Logged>, Option<EventPlace>), Error> {
    let sql = format!(
        "select {EVENT_COLUMNS} from events e
         where e.tenant_id = $1 and e.stream_id = $2 and e.version >= $3 and e.seq <= $4 order by e.version limit $5"
    );
    let mut rows = sqlx::query(AssertSqlSafe(sql))
        .bind(letter.tenant.0)
        .bind(letter.stream)
        .bind(letter.version)
        .bind(checkpoint)
        .bind((page + 1).cast_signed())
        .fetch(tx.connection());
    let (mut events, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.try_next().await? {
        let event = Logged::from_row(&row)?;
        if events.len() as u64 == page || bytes > MAX_PAGE_BYTES {
            return Ok((events, Some(event.place())));
        }
        bytes += event.bytes();
        events.push(event);
    }
    Ok((events, None))
}

/// The stream is parked at another event from now on, which has not been tried.
async fn advance(tx: &mut TenantsTx, next: &EventPlace) -> Result<(), Error> {
    sqlx::query(
        "update dead_letters d
         set seq = $4, version = $5, event_id = $6, name = $7, error = 'not tried since the events before it were mended',
             discard_seq = (select x.discard_seq from discarded_events x where x.tenant_id = $1 and x.seq = $4)
         where d.tenant_id = $1 and d.group_name = $2 and d.stream_id = $3",
    )
    .bind(next.tenant.0)
    .bind(READ_MODEL)
    .bind(next.stream)
    .bind(next.seq.cast_signed())
    .bind(next.version.cast_signed())
    .bind(next.event_id)
    .bind(&next.name)
    .execute(tx.connection())
    .await?;
    Ok(())
}

async fn remove(tx: &mut TenantsTx, tenant: TenantId, stream: Uuid) -> Result<(), Error> {
    sqlx::query("delete from dead_letters where tenant_id = $1 and group_name = $2 and stream_id = $3")
        .bind(tenant.0)
        .bind(READ_MODEL)
        .bind(stream)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Events that were left out are projected: whoever builds rows without them begins anew.
async fn mended(tx: &mut TenantsTx, tenant: TenantId) -> Result<(), Error> {
    sqlx::query("update projection_checkpoints set mended = mended + 1 where tenant_id = $1 and group_name = $2")
        .bind(tenant.0)
        .bind(READ_MODEL)
        .execute(tx.connection())
        .await?;
    park::count(tx, tenant).await
}

/// Notes that it was tried in vain.
async fn fail(database: &ProjectorDatabase, tenant: TenantId, stream: Uuid, error: &Error) -> Result<Unparked, Error> {
    let mut tx = TenantsTx::begin(database, [tenant]).await?;
    park::durably(&mut tx).await?;
    let error = park::text(error);
    let seq: Option<i64> = sqlx::query_scalar(
        "update dead_letters set error = $4, attempts = attempts + 1, tried_at = clock_timestamp()
         where tenant_id = $1 and group_name = $2 and stream_id = $3 returning seq",
    )
    .bind(tenant.0)
    .bind(READ_MODEL)
    .bind(stream)
    .bind(&error)
    .fetch_optional(tx.connection())
    .await?;
    tx.commit().await?;
    Ok(seq.map_or(Unparked::NotParked, |seq| Unparked::Failed { seq: seq.cast_unsigned(), error }))
}
