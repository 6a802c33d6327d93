//! What the projector knows of the tenants whose events it receives: the chain guard.

use std::collections::HashMap;

use domain::{RecordedEvent, TenantId};

use crate::apply::Step;

/// Events that wait for a transaction, all tenants together; with more no further message is taken.
const MAX_WAITING: usize = 2_000;
/// Most tenants in one transaction.
const MAX_TENANTS_IN_STEP: usize = 200;
/// Tenants that are remembered; beyond it those with nothing to do are forgotten and looked up again when heard of.
const MAX_TENANTS: usize = 100_000;

/// Where a tenant is.
#[derive(Debug)]
enum Tenant {
    /// Its rows are at `checkpoint`; `waiting` follows without a gap.
    Live { checkpoint: u64, waiting: Vec<RecordedEvent> },
    /// A task brings it up to date from PostgreSQL; its log has been heard to go to `heard` at least.
    CatchingUp { heard: u64 },
}

/// What to do about an event that has arrived.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Nothing: it waits for the next transaction, or was projected before.
    Fine,
    /// The tenant must be read from PostgreSQL: it is unknown, or events before this one are missing.
    Missing,
}

/// The tenants of the leased shards.
#[derive(Default)]
pub(crate) struct Live {
    tenants: HashMap<TenantId, Tenant>,
    waiting: usize,
}

impl Live {
    /// Whether another event may be taken in.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting < MAX_WAITING
    }

    /// An event has arrived: dropped when it was seen before, kept when it is the next, else events are missing.
    pub(crate) fn hear(&mut self, event: RecordedEvent) -> Heard {
        match self.tenants.get_mut(&event.tenant) {
            None => Heard::Missing,
            Some(Tenant::CatchingUp { heard }) => {
                *heard = event.seq.max(*heard);
                Heard::Fine
            }
            Some(Tenant::Live { checkpoint, waiting }) => {
                let next = *checkpoint + waiting.len() as u64 + 1;
                if event.seq > next {
                    return Heard::Missing;
                }
                if event.seq == next {
                    waiting.push(event);
                    self.waiting += 1;
                }
                Heard::Fine
            }
        }
    }

    /// A task takes the tenant over; what waits is read again from PostgreSQL. `false` when one has it already.
    pub(crate) fn begin_catch_up(&mut self, tenant: TenantId, heard: u64) -> bool {
        match self.tenants.insert(tenant, Tenant::CatchingUp { heard }) {
            Some(Tenant::CatchingUp { heard: before }) => {
                self.tenants.insert(tenant, Tenant::CatchingUp { heard: heard.max(before) });
                false
            }
            Some(Tenant::Live { waiting, .. }) => {
                self.waiting -= waiting.len();
                true
            }
            None => true,
        }
    }

    /// The task is done with the tenant, at `checkpoint`, or has given it up. Answers how far the log was heard to
    /// go when that is farther: another task is needed.
    pub(crate) fn end_catch_up(&mut self, tenant: TenantId, checkpoint: Option<u64>) -> Option<u64> {
        let before = self.tenants.remove(&tenant);
        let checkpoint = checkpoint?;
        if self.tenants.len() >= MAX_TENANTS {
            let idle = |tenant: &Tenant| matches!(tenant, Tenant::Live { waiting, .. } if waiting.is_empty());
            self.tenants.retain(|_, tenant| !idle(tenant));
        }
        self.tenants.insert(tenant, Tenant::Live { checkpoint, waiting: Vec::new() });
        match before {
            Some(Tenant::CatchingUp { heard }) if heard > checkpoint => Some(heard),
            Some(Tenant::CatchingUp { .. } | Tenant::Live { .. }) | None => None,
        }
    }

    /// The checkpoint of a tenant that is live with nothing waiting.
    pub(crate) fn idle_at(&self, tenant: TenantId) -> Option<u64> {
        match self.tenants.get(&tenant)? {
            Tenant::Live { checkpoint, waiting } if waiting.is_empty() => Some(*checkpoint),
            Tenant::Live { .. } | Tenant::CatchingUp { .. } => None,
        }
    }

    /// Whether the tenant is unknown.
    pub(crate) fn is_unknown(&self, tenant: TenantId) -> bool {
        !self.tenants.contains_key(&tenant)
    }

    /// What waits, for one transaction. Tenants whose shard is not ours any more are forgotten.
    pub(crate) fn take_steps(&mut self, epoch_of: impl Fn(TenantId) -> Option<i64>) -> Vec<Step> {
        if self.waiting == 0 {
            return Vec::new();
        }
        let mut steps = Vec::new();
        let mut lost = Vec::new();
        for (tenant, state) in &mut self.tenants {
            let Tenant::Live { checkpoint, waiting } = state else { continue };
            if waiting.is_empty() || steps.len() == MAX_TENANTS_IN_STEP {
                continue;
            }
            self.waiting -= waiting.len();
            let events = std::mem::take(waiting);
            match epoch_of(*tenant) {
                Some(epoch) => steps.push(Step { tenant: *tenant, epoch, after: *checkpoint, events }),
                None => lost.push(*tenant),
            }
        }
        self.forget(&lost);
        steps
    }

    /// The steps are durable in the read tables.
    pub(crate) fn applied(&mut self, steps: &[Step]) {
        for step in steps {
            if let Some(Tenant::Live { checkpoint, .. }) = self.tenants.get_mut(&step.tenant) {
                *checkpoint = step.last();
            }
        }
    }

    /// Nothing is known of these tenants any more.
    pub(crate) fn forget(&mut self, tenants: &[TenantId]) {
        for tenant in tenants {
            if let Some(Tenant::Live { waiting, .. }) = self.tenants.remove(tenant) {
                self.waiting -= waiting.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{Actor, ActorKind, EventMeta};
    use uuid::Uuid;

    const TENANT: TenantId = TenantId(Uuid::from_u128(1));

    fn event(seq: u64) -> RecordedEvent {
        RecordedEvent {
            tenant: TENANT,
            seq,
            category: "session".into(),
            stream: Uuid::from_u128(2),
            version: seq,
            event_id: Uuid::from_u128(3),
            name: "session_ended".into(),
            schema: 1,
            data: serde_json::value::RawValue::from_string("{}".into()).unwrap(),
            meta: EventMeta {
                actor: Actor { kind: ActorKind::System, id: Uuid::nil() },
                correlation_id: Uuid::nil(),
                causation_id: Uuid::nil(),
                traceparent: None,
            },
            occurred_at: chrono::DateTime::UNIX_EPOCH,
            recorded_at: chrono::DateTime::UNIX_EPOCH,
        }
    }

    fn live_at(checkpoint: u64) -> Live {
        let mut live = Live::default();
        assert!(live.begin_catch_up(TENANT, 0));
        assert_eq!(live.end_catch_up(TENANT, Some(checkpoint)), None);
        live
    }

    #[test]
    fn what_was_seen_is_dropped_and_the_next_is_kept() {
        let mut live = live_at(3);
        for seq in [1, 3, 4, 4, 2, 5] {
            assert_eq!(live.hear(event(seq)), Heard::Fine);
        }
        let steps = live.take_steps(|_| Some(9));
        assert_eq!(steps.len(), 1);
        assert_eq!((steps[0].after, steps[0].epoch), (3, 9));
        assert_eq!(steps[0].events.iter().map(|event| event.seq).collect::<Vec<_>>(), [4, 5]);
        live.applied(&steps);
        assert_eq!(live.idle_at(TENANT), Some(5));
    }

    #[test]
    fn a_hole_sends_to_postgresql() {
        let mut live = live_at(3);
        assert_eq!(live.hear(event(5)), Heard::Missing);
        assert_eq!(Live::default().hear(event(1)), Heard::Missing);
    }

    #[test]
    fn what_is_heard_during_a_catch_up_calls_for_another_unless_it_was_read() {
        let mut live = live_at(3);
        live.hear(event(4));
        assert!(live.begin_catch_up(TENANT, 4));
        assert!(!live.begin_catch_up(TENANT, 2));
        assert_eq!(live.hear(event(6)), Heard::Fine);
        assert_eq!(live.end_catch_up(TENANT, Some(5)), Some(6));
        assert!(live.take_steps(|_| Some(1)).is_empty());
    }

    #[test]
    fn a_tenant_whose_shard_is_gone_is_forgotten() {
        let mut live = live_at(3);
        live.hear(event(4));
        assert!(live.take_steps(|_| None).is_empty());
        assert!(live.is_unknown(TENANT) && live.has_room());
    }
}
