//! What is left out of a log when it is projected: the events of parked streams, and discarded ones.

use std::collections::{HashMap, HashSet};

use domain::TenantId;
use store::TenantsTx;
use uuid::Uuid;

use crate::logged::Logged;
use crate::projection::Projected;
use crate::{Error, READ_MODEL};

/// Of some tenants; nothing by default.
#[derive(Debug, Default)]
pub(crate) struct Skips {
    /// The number from which on a stream's events are left out.
    parked: HashMap<(TenantId, Uuid), u64>,
    discarded: HashSet<(TenantId, u64)>,
}

impl Skips {
    /// What rows that reflect these tenants' logs up to these numbers leave out. A discard counts from its own number
    /// on: before it, its stream was parked.
    ///
    /// Whoever writes rows by it holds the lock on the checkpoints, or sees one snapshot.
    pub(crate) async fn load(tx: &mut TenantsTx, tenants: &[(TenantId, u64)]) -> Result<Self, Error> {
        let mut skips = Self::default();
        if tenants.is_empty() {
            return Ok(skips);
        }
        let found: Vec<(Uuid, Uuid, i64, bool)> = sqlx::query_as(
            "select tenant_id, stream_id, seq, false from public.dead_letters
             where tenant_id = any($1) and group_name = $3
             union all
             select d.tenant_id, d.stream_id, d.seq, d.discard_seq <= t.at
             from unnest($1::uuid[], $2::bigint[]) as t (tenant, at)
             join public.discarded_events d on d.tenant_id = t.tenant
             where d.tenant_id = any($1)",
        )
        .bind(tenants.iter().map(|(tenant, _)| tenant.0).collect::<Vec<_>>())
        .bind(tenants.iter().map(|(_, at)| at.cast_signed()).collect::<Vec<_>>())
        .bind(READ_MODEL)
        .fetch_all(tx.connection())
        .await?;
        for (tenant, stream, seq, discarded) in found {
            let (tenant, seq) = (TenantId(tenant), seq.cast_unsigned());
            if discarded {
                skips.discarded.insert((tenant, seq));
            } else {
                let from = skips.parked.entry((tenant, stream)).or_insert(seq);
                *from = seq.min(*from);
            }
        }
        Ok(skips)
    }

    /// The events of this stream are to be projected, whatever was said of it.
    pub(super) fn admit(&mut self, tenant: TenantId, stream: Uuid) {
        self.parked.remove(&(tenant, stream));
    }

    /// Whether an event is not to be projected, now at least.
    pub(crate) fn leave_out(&self, event: &Logged) -> bool {
        if self.parked.is_empty() && self.discarded.is_empty() {
            return false;
        }
        let tenant = event.tenant();
        self.parked.get(&(tenant, event.stream())).is_some_and(|from| event.seq() >= *from)
            || self.discarded.contains(&(tenant, event.seq()))
    }

    /// Reads those that are to be projected; the first that can't be read fails it.
    pub(crate) fn read<'a>(&self, events: impl IntoIterator<Item = &'a Logged>) -> Result<Vec<Projected<'a>>, Error> {
        events.into_iter().filter(|event| !self.leave_out(event)).map(Logged::read).collect()
    }
}
