//! What relay and projector count: handles that are looked up once, so that counting is an atomic addition.

use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use store::Work;

/// A number of things as a gauge takes it.
#[expect(clippy::disallowed_types, reason = "the values of metrics are floating point numbers")]
pub(crate) fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Of one kind of leases.
pub(crate) struct LeaseMeters {
    pub(crate) held: Gauge,
    pub(crate) lost: Counter,
}

impl LeaseMeters {
    pub(crate) fn register(work: Work) -> Self {
        describe_gauge!("convolog_leases_held", "Shards that this process works on");
        describe_counter!(
            "convolog_leases_lost_total",
            "Leases of this process that went to another, or to a new epoch"
        );
        let work = work.as_str();
        Self {
            held: gauge!("convolog_leases_held", "work" => work),
            lost: counter!("convolog_leases_lost_total", "work" => work),
        }
    }
}

/// The relay's.
pub(crate) struct RelayMeters {
    pub(crate) published: Counter,
    pub(crate) errors: Counter,
    pub(crate) generations: Counter,
    pub(crate) sweeps: Counter,
    pub(crate) waiting_tenants: Gauge,
    pub(crate) paused_tenants: Gauge,
    page: Histogram,
}

impl RelayMeters {
    pub(crate) fn register() -> Self {
        describe_counter!("convolog_relay_published_events_total", "Events that NATS has acknowledged");
        describe_counter!(
            "convolog_relay_publish_errors_total",
            "Pages of events whose publishing stopped with an error"
        );
        describe_counter!(
            "convolog_relay_generations_total",
            "Times that NATS had lost events and they were published again from PostgreSQL"
        );
        describe_counter!("convolog_relay_sweeps_total", "Looks at PostgreSQL for tenants with unpublished events");
        describe_gauge!("convolog_relay_waiting_tenants", "Tenants that this process knows to have unpublished events");
        describe_gauge!("convolog_relay_paused_tenants", "Tenants that rest because their next event cannot be read");
        describe_histogram!("convolog_relay_page_seconds", "Time to read a page of events and have it acknowledged");
        Self {
            published: counter!("convolog_relay_published_events_total"),
            errors: counter!("convolog_relay_publish_errors_total"),
            generations: counter!("convolog_relay_generations_total"),
            sweeps: counter!("convolog_relay_sweeps_total"),
            waiting_tenants: gauge!("convolog_relay_waiting_tenants"),
            paused_tenants: gauge!("convolog_relay_paused_tenants"),
            page: histogram!("convolog_relay_page_seconds"),
        }
    }

    /// A page of this many events is acknowledged.
    pub(crate) fn published(&self, events: usize, took: Duration) {
        self.published.increment(events as u64);
        self.page.record(took);
    }
}

/// The projector's.
pub(crate) struct ProjectorMeters {
    pub(crate) transactions: TransactionMeters,
    pub(crate) duplicates: Counter,
    pub(crate) holes: Counter,
    pub(crate) catch_ups: Counter,
    pub(crate) poisonings: Counter,
    pub(crate) failures: Counter,
    pub(crate) sweeps: Counter,
    pub(crate) paused_tenants: Gauge,
    pub(crate) group_paused: Gauge,
}

impl ProjectorMeters {
    pub(crate) fn register() -> Self {
        describe_counter!(
            "convolog_projector_duplicates_dropped_total",
            "Events that arrived although they had been projected or were waiting"
        );
        describe_counter!(
            "convolog_projector_holes_filled_total",
            "Times that events before one that arrived were missing and were read from PostgreSQL"
        );
        describe_counter!(
            "convolog_projector_catch_ups_total",
            "Tasks that brought tenants up to date from PostgreSQL"
        );
        describe_counter!(
            "convolog_projector_poison_pauses_total",
            "Times that a tenant was put to rest because its next event is of newer code, or is missing"
        );
        describe_counter!(
            "convolog_projector_failures_total",
            "Transactions that failed for a reason that passes, and were tried again"
        );
        describe_counter!("convolog_projector_sweeps_total", "Looks at PostgreSQL for tenants that are behind");
        describe_gauge!(
            "convolog_projector_paused_tenants",
            "Tenants that rest because their next event is of newer code, or is missing"
        );
        describe_gauge!(
            "convolog_projection_group_paused",
            "1 while PostgreSQL refuses the projector's statements, and nothing is projected"
        );
        Self {
            transactions: TransactionMeters::register(),
            duplicates: counter!("convolog_projector_duplicates_dropped_total"),
            holes: counter!("convolog_projector_holes_filled_total"),
            catch_ups: counter!("convolog_projector_catch_ups_total"),
            poisonings: counter!("convolog_projector_poison_pauses_total"),
            failures: counter!("convolog_projector_failures_total"),
            sweeps: counter!("convolog_projector_sweeps_total"),
            paused_tenants: gauge!("convolog_projector_paused_tenants"),
            group_paused: gauge!("convolog_projection_group_paused"),
        }
    }
}

/// Of projecting transactions, wherever they run.
#[derive(Clone)]
pub(crate) struct TransactionMeters {
    events: Counter,
    duration: Histogram,
    checkpoint_misses: Counter,
    pub(crate) rebuilds: Counter,
    pub(crate) parkings: Counter,
}

impl TransactionMeters {
    fn register() -> Self {
        describe_counter!(
            "convolog_projector_applied_events_total",
            "Events that the read tables reflect since the start"
        );
        describe_histogram!(
            "convolog_projector_transaction_seconds",
            "Time of a projecting transaction, those that changed nothing included"
        );
        describe_counter!(
            "convolog_projector_checkpoint_misses_total",
            "Transactions without some tenants, because a checkpoint or a lease was not where it was believed"
        );
        describe_counter!("convolog_projector_rebuilds_total", "Tenants whose rows were rebuilt for a new version");
        describe_counter!(
            "convolog_projector_parkings_total",
            "Streams that were parked because an event of theirs cannot be projected"
        );
        Self {
            events: counter!("convolog_projector_applied_events_total"),
            duration: histogram!("convolog_projector_transaction_seconds"),
            checkpoint_misses: counter!("convolog_projector_checkpoint_misses_total"),
            rebuilds: counter!("convolog_projector_rebuilds_total"),
            parkings: counter!("convolog_projector_parkings_total"),
        }
    }

    /// A transaction has ended with so many events in the read tables; `missed` when a checkpoint was elsewhere.
    pub(crate) fn ended(&self, events: usize, missed: bool, took: Duration) {
        self.duration.record(took);
        self.events.increment(events as u64);
        self.checkpoint_misses.increment(u64::from(missed));
    }
}
