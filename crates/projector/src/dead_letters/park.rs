//! Parks a stream at an event that cannot be projected.

use domain::TenantId;
use store::{EventPlace, ProjectorDatabase, TenantsTx, chain};

use crate::apply::{Step, compare_and_set};
use crate::{Error, READ_MODEL};

/// Longest error that is kept, in characters.
pub const MAX_ERROR: usize = 2_000;

/// Passes over the step's only event and parks its stream; answers the tenant when it was missed, as `apply` does.
pub(crate) async fn park(
    database: &ProjectorDatabase,
    step: &Step,
    place: &EventPlace,
    error: &Error,
) -> Result<Vec<TenantId>, Error> {
    let mut tx = TenantsTx::begin(database, [step.tenant]).await?;
    durably(&mut tx).await?;
    let (missed, _) = compare_and_set(&mut tx, std::slice::from_ref(step)).await?;
    if missed.is_empty() {
        insert(&mut tx, place, error).await?;
        count(&mut tx, step.tenant).await?;
        tx.commit().await?;
    }
    Ok(missed)
}

/// The commit waits for the disk: what is parked does not fall back in a crash, nor what was projected after all.
pub(super) async fn durably(tx: &mut TenantsTx) -> Result<(), Error> {
    sqlx::query("set local synchronous_commit = on").execute(tx.connection()).await?;
    Ok(())
}

/// Writes the dead letter. Was the event discarded before, it is known by that.
pub(crate) async fn insert(tx: &mut TenantsTx, place: &EventPlace, error: &Error) -> Result<(), Error> {
    sqlx::query(
        "insert into public.dead_letters as d
           (tenant_id, group_name, stream_id, category, seq, version, event_id, name, error, discard_seq)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9,
                 (select x.discard_seq from public.discarded_events x where x.tenant_id = $1 and x.seq = $5))
         on conflict (tenant_id, group_name, stream_id) do update set
           seq = excluded.seq, version = excluded.version, event_id = excluded.event_id, name = excluded.name,
           error = excluded.error, tried_at = clock_timestamp(), attempts = d.attempts + 1,
           discard_seq = excluded.discard_seq",
    )
    .bind(place.tenant.0)
    .bind(READ_MODEL)
    .bind(place.stream)
    .bind(&place.category)
    .bind(place.seq.cast_signed())
    .bind(place.version.cast_signed())
    .bind(place.event_id)
    .bind(&place.name)
    .bind(text(error))
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Forgets the dead letters of these tenants, whose rows are at these numbers and are rebuilt by a new version; but not
/// where the event is discarded from a later number on. Answers how many they were.
pub(crate) async fn forget(tx: &mut TenantsTx, tenants: &[(TenantId, u64)]) -> Result<u64, Error> {
    let forgotten = sqlx::query(
        "delete from public.dead_letters d using unnest($1::uuid[], $2::bigint[]) as t (tenant, at)
         where d.tenant_id = t.tenant and d.tenant_id = any($1) and d.group_name = $3
           and coalesce(d.discard_seq, 0) <= t.at",
    )
    .bind(tenants.iter().map(|(tenant, _)| tenant.0).collect::<Vec<_>>())
    .bind(tenants.iter().map(|(_, at)| at.cast_signed()).collect::<Vec<_>>())
    .bind(READ_MODEL)
    .execute(tx.connection())
    .await?;
    Ok(forgotten.rows_affected())
}

/// Counts the tenant's parked streams anew.
pub(crate) async fn count(tx: &mut TenantsTx, tenant: TenantId) -> Result<(), Error> {
    sqlx::query(
        "update public.projection_checkpoints c
         set parked = (select count(*) from public.dead_letters d
                       where d.tenant_id = c.tenant_id and d.group_name = c.group_name)
         where c.tenant_id = $1 and c.group_name = $2",
    )
    .bind(tenant.0)
    .bind(READ_MODEL)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// The error with its causes, in one line of at most [`MAX_ERROR`] characters.
pub(super) fn text(error: &Error) -> String {
    // PostgreSQL has no place for NUL in texts.
    chain(error).chars().filter(|letter| *letter != '\0').take(MAX_ERROR).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_kept_with_its_causes_up_to_its_limit() {
        let cause = sqlx::Error::Protocol(format!("\0{}", "ä".repeat(3 * MAX_ERROR)));
        let text = text(&Error::Rows(cause));
        assert_eq!(text.chars().count(), MAX_ERROR);
        assert!(text.starts_with("the rows were refused: ") && text.ends_with('ä') && !text.contains('\0'), "{text}");
    }
}
