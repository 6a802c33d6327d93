//! What the projector knows of the tenants whose events it receives: the chain guard.

use std::collections::{HashMap, VecDeque};

use domain::{RecordedEvent, TenantId};
use store::MAX_PAGE_BYTES;

use crate::apply::Step;

/// Events that wait for a transaction, all tenants together; with more of them, or more than [`MAX_PAGE_BYTES`] of
/// data, no further message is taken.
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
    /// Nothing: it waits for the next transaction, or for the end of a catch-up.
    Taken,
    /// Nothing: it was projected before, or waits already.
    Seen,
    /// The tenant is unknown and must be read from PostgreSQL.
    Unknown,
    /// Events before this one are missing and must be read from PostgreSQL.
    Hole,
}

/// The tenants of the leased shards.
#[derive(Default)]
pub(crate) struct Live {
    tenants: HashMap<TenantId, Tenant>,
    /// Tenants in the order in which their events began to wait; some may have none any more.
    queue: VecDeque<TenantId>,
    waiting: usize,
    /// Bytes of data of the events that wait.
    bytes: usize,
}

impl Live {
    /// Whether another event may be taken in.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting < MAX_WAITING && self.bytes < MAX_PAGE_BYTES
    }

    /// An event has arrived: dropped when it was seen before, kept when it is the next, else events are missing.
    pub(crate) fn hear(&mut self, event: RecordedEvent) -> Heard {
        match self.tenants.get_mut(&event.tenant) {
            None => Heard::Unknown,
            Some(Tenant::CatchingUp { heard }) => {
                *heard = event.seq.max(*heard);
                Heard::Taken
            }
            Some(Tenant::Live { checkpoint, waiting }) => {
                let next = *checkpoint + waiting.len() as u64 + 1;
                if event.seq > next {
                    return Heard::Hole;
                }
                if event.seq < next {
                    return Heard::Seen;
                }
                if waiting.is_empty() {
                    self.queue.push_back(event.tenant);
                }
                self.waiting += 1;
                self.bytes += event.data.get().len();
                waiting.push(event);
                Heard::Taken
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
                self.let_go(&waiting);
                true
            }
            None => true,
        }
    }

    /// The task is done with the tenant, at `checkpoint`, or has given it up. Answers how far the log was heard to
    /// go when that is farther: another task is needed.
    pub(crate) fn end_catch_up(&mut self, tenant: TenantId, checkpoint: Option<u64>) -> Option<u64> {
        let before = self.tenants.remove(&tenant);
        if let Some(Tenant::Live { waiting, .. }) = &before {
            self.let_go(waiting);
        }
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

    /// What waits, for one transaction, whoever waits longest first. Tenants whose shard is not ours any more are
    /// forgotten.
    pub(crate) fn take_steps(&mut self, epoch_of: impl Fn(TenantId) -> Option<i64>) -> Vec<Step> {
        let mut steps = Vec::new();
        while steps.len() < MAX_TENANTS_IN_STEP {
            let Some(tenant) = self.queue.pop_front() else { break };
            let Some(Tenant::Live { checkpoint, waiting }) = self.tenants.get_mut(&tenant) else { continue };
            if waiting.is_empty() {
                continue;
            }
            let (after, events) = (*checkpoint, std::mem::take(waiting));
            self.let_go(&events);
            match epoch_of(tenant) {
                Some(epoch) => {
                    let events = events.into_iter().map(Into::into).collect();
                    steps.push(Step { tenant, epoch, after, events });
                }
                None => self.forget(&[tenant]),
            }
        }
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
                self.let_go(&waiting);
            }
        }
    }

    /// These events wait no longer.
    fn let_go(&mut self, events: &[RecordedEvent]) {
        self.waiting -= events.len();
        self.bytes -= events.iter().map(|event| event.data.get().len()).sum::<usize>();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logged::Logged;
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
        for (seq, heard) in [1, 3, 4, 4, 2, 5].into_iter().zip([
            Heard::Seen,
            Heard::Seen,
            Heard::Taken,
            Heard::Seen,
            Heard::Seen,
            Heard::Taken,
        ]) {
            assert_eq!(live.hear(event(seq)), heard, "{seq}");
        }
        let steps = live.take_steps(|_| Some(9));
        assert_eq!(steps.len(), 1);
        assert_eq!((steps[0].after, steps[0].epoch), (3, 9));
        assert_eq!(steps[0].events.iter().map(Logged::seq).collect::<Vec<_>>(), [4, 5]);
        live.applied(&steps);
        assert_eq!(live.idle_at(TENANT), Some(5));
    }

    #[test]
    fn a_hole_sends_to_postgresql() {
        let mut live = live_at(3);
        assert_eq!(live.hear(event(5)), Heard::Hole);
        assert_eq!(Live::default().hear(event(1)), Heard::Unknown);
    }

    #[test]
    fn what_is_heard_during_a_catch_up_calls_for_another_unless_it_was_read() {
        let mut live = live_at(3);
        live.hear(event(4));
        assert!(live.begin_catch_up(TENANT, 4));
        assert!(!live.begin_catch_up(TENANT, 2));
        assert_eq!(live.hear(event(6)), Heard::Taken);
        assert_eq!(live.end_catch_up(TENANT, Some(5)), Some(6));
        assert!(live.take_steps(|_| Some(1)).is_empty());
    }

    #[test]
    fn room_is_given_back_whatever_becomes_of_what_waits() {
        for end in [Some(5), None] {
            let mut live = live_at(3);
            live.hear(event(4));
            assert_eq!((live.waiting, live.bytes), (1, 2));
            // Of two tasks that had the tenant, the later one ends.
            assert_eq!(live.end_catch_up(TENANT, end), None);
            assert_eq!((live.waiting, live.bytes), (0, 0));
            assert!(live.take_steps(|_| Some(1)).is_empty());
        }
    }

    #[test]
    fn large_events_fill_the_room_before_many_do() {
        let mut live = live_at(0);
        let large =
            serde_json::value::RawValue::from_string(format!("\"{}\"", "x".repeat(MAX_PAGE_BYTES / 2))).unwrap();
        for seq in 1..=2 {
            assert!(live.has_room());
            live.hear(RecordedEvent { data: large.clone(), ..event(seq) });
        }
        assert!(!live.has_room());
        assert_eq!(live.take_steps(|_| Some(1)).len(), 1);
        assert!(live.has_room());
    }

    #[test]
    fn nobody_waits_for_ever_behind_the_first_tenants() {
        let mut live = Live::default();
        let tenant = |n: usize| TenantId(Uuid::from_u128(n as u128));
        for n in 0..=MAX_TENANTS_IN_STEP {
            live.begin_catch_up(tenant(n), 0);
            live.end_catch_up(tenant(n), Some(0));
            live.hear(RecordedEvent { tenant: tenant(n), ..event(1) });
        }
        let first = live.take_steps(|_| Some(1));
        assert_eq!(first.len(), MAX_TENANTS_IN_STEP);
        live.applied(&first);
        live.hear(RecordedEvent { tenant: tenant(0), ..event(2) });
        let second: Vec<TenantId> = live.take_steps(|_| Some(1)).iter().map(|step| step.tenant).collect();
        assert_eq!(second, [tenant(MAX_TENANTS_IN_STEP), tenant(0)]);
    }

    #[test]
    fn a_tenant_whose_shard_is_gone_is_forgotten() {
        let mut live = live_at(3);
        live.hear(event(4));
        assert!(live.take_steps(|_| None).is_empty());
        assert!(live.is_unknown(TENANT) && live.has_room());
    }
}
