//! Whom the relay serves next: tenants that have just committed before those that are far behind, and these all the same.

use std::collections::{HashSet, VecDeque};

use domain::TenantId;

/// Most tenants whose events are read in one round trip.
const TENANTS_IN_PAGE: usize = 200;
/// Those of them who are far behind, whatever rings.
const BEHIND_IN_PAGE: usize = TENANTS_IN_PAGE / 4;
/// Events of one page, all tenants together, as near as equal parts come to it: a tenant that has just committed waits for about
/// one page, however much lies unpublished.
pub(crate) const EVENTS_IN_PAGE: usize = 1_000;

/// Tenants with events to publish; each is in it once.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Those that have just committed.
    rung: VecDeque<TenantId>,
    /// Those with more events than fit into a page, or that a sweep has found.
    behind: VecDeque<TenantId>,
    queued: HashSet<TenantId>,
}

impl Queue {
    /// The tenant has committed.
    pub(crate) fn ring(&mut self, tenant: TenantId) {
        if self.queued.insert(tenant) {
            self.rung.push_back(tenant);
        }
    }

    /// The tenant has events of which nobody has told, or too many for one page.
    pub(crate) fn falls_behind(&mut self, tenant: TenantId) {
        if self.queued.insert(tenant) {
            self.behind.push_back(tenant);
        }
    }

    /// Takes the tenants of the next page out.
    pub(crate) fn take_page(&mut self) -> Vec<TenantId> {
        let behind = self.behind.len().min(BEHIND_IN_PAGE);
        let rung = self.rung.len().min(TENANTS_IN_PAGE - behind);
        let behind = self.behind.len().min(TENANTS_IN_PAGE - rung);
        let page: Vec<TenantId> = self.rung.drain(..rung).chain(self.behind.drain(..behind)).collect();
        for tenant in &page {
            self.queued.remove(tenant);
        }
        page
    }

    pub(crate) fn len(&self) -> usize {
        self.queued.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queued.is_empty()
    }
}

/// Events of each tenant in a page of so many.
pub(crate) fn events_of_each(tenants: usize) -> usize {
    EVENTS_IN_PAGE / tenants.clamp(1, TENANTS_IN_PAGE)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn tenants(numbers: std::ops::Range<u128>) -> Vec<TenantId> {
        numbers.map(|number| TenantId(Uuid::from_u128(number))).collect()
    }

    #[test]
    fn who_has_just_committed_is_in_the_next_page_however_many_are_behind() {
        let mut queue = Queue::default();
        tenants(0..5_000).into_iter().for_each(|tenant| queue.falls_behind(tenant));
        let committed = tenants(10_000..10_150);
        committed.iter().for_each(|tenant| queue.ring(*tenant));
        let page = queue.take_page();
        assert_eq!(page.len(), TENANTS_IN_PAGE);
        assert_eq!(page[..150], committed);
        assert_eq!(page[150..], tenants(0..50));
    }

    #[test]
    fn who_is_behind_has_its_turn_although_others_commit_without_end() {
        let mut queue = Queue::default();
        tenants(0..100).into_iter().for_each(|tenant| queue.falls_behind(tenant));
        let mut served = Vec::new();
        for page in 1_u128..=2 {
            tenants(page * 1_000..page * 1_000 + 500).into_iter().for_each(|tenant| queue.ring(tenant));
            served.extend(queue.take_page().into_iter().filter(|tenant| tenant.0.as_u128() < 100));
        }
        assert_eq!(served, tenants(0..100));
    }

    #[test]
    fn each_of_those_behind_has_a_turn_before_one_has_a_second() {
        let mut queue = Queue::default();
        tenants(0..300).into_iter().for_each(|tenant| queue.falls_behind(tenant));
        let first = queue.take_page();
        first.iter().for_each(|tenant| queue.falls_behind(*tenant));
        assert_eq!(queue.take_page()[..100], tenants(200..300));
    }

    #[test]
    fn a_tenant_is_in_the_queue_once() {
        let mut queue = Queue::default();
        let tenant = tenants(1..2)[0];
        queue.ring(tenant);
        queue.falls_behind(tenant);
        queue.ring(tenant);
        assert_eq!((queue.len(), queue.take_page()), (1, vec![tenant]));
        assert!(queue.is_empty() && queue.take_page().is_empty());
        queue.falls_behind(tenant);
        assert_eq!(queue.take_page(), [tenant]);
    }

    #[test]
    fn a_page_has_about_as_many_events_whatever_number_of_tenants_shares_it() {
        assert_eq!([1, 8, 200].map(events_of_each), [1_000, 125, 5]);
    }
}
