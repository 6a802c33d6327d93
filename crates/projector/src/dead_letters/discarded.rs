//! Streams whose parked event was discarded go on, also when whoever discarded it came to an end before.

use domain::TenantId;
use store::{ProjectorDatabase, TenantsTx};
use uuid::Uuid;

use super::{letter, retry};
use crate::{Error, READ_MODEL};

/// Tenants that are looked up at once.
const TENANTS: i32 = 100;

/// Lets the streams of these shards go on whose event is discarded by now.
pub(crate) async fn release(database: &ProjectorDatabase, shards: &[i16]) -> Result<(), Error> {
    let mut after = Uuid::nil();
    loop {
        let tenants = letter::tenants(database, Some(shards), after, TENANTS).await?;
        let Some(last) = tenants.last() else { return Ok(()) };
        after = last.0;
        for (tenant, stream) in discarded(database, &tenants).await? {
            match retry(database, tenant, stream).await {
                Ok(unparked) => {
                    tracing::info!(%tenant, %stream, ?unparked, "an event is discarded; its stream was tried again");
                }
                // The others need not wait for it.
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(%tenant, %stream, error, "a stream whose event is discarded does not go on yet");
                }
            }
        }
    }
}

/// The streams of these tenants whose parked event is discarded, as far as their rows have come.
async fn discarded(database: &ProjectorDatabase, tenants: &[TenantId]) -> Result<Vec<(TenantId, Uuid)>, Error> {
    let mut tx = TenantsTx::begin(database, tenants.iter().copied()).await?;
    let found: Vec<(Uuid, Uuid)> = sqlx::query_as(
        "select d.tenant_id, d.stream_id from dead_letters d
         join projection_checkpoints c on c.tenant_id = d.tenant_id and c.group_name = d.group_name
         where d.tenant_id = any($1) and d.group_name = $2 and d.discard_seq <= c.seq",
    )
    .bind(tenants.iter().map(|tenant| tenant.0).collect::<Vec<_>>())
    .bind(READ_MODEL)
    .fetch_all(tx.connection())
    .await?;
    tx.commit().await?;
    Ok(found.into_iter().map(|(tenant, stream)| (TenantId(tenant), stream)).collect())
}
