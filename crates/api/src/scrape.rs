//! `GET /metrics`: what the process has counted, and what is so at the moment, for Prometheus.
#![expect(clippy::disallowed_types, reason = "the values of metrics are floating point numbers")]

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use metrics::{Gauge, describe_gauge, gauge};
use store::Lag;

use crate::{
    openapi::{About, Answers, Operation, Tag},
    operator::Operator,
    state::Api,
};

/// Of the text format.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Gauges that are set when somebody looks.
pub(crate) struct ScrapeMeters {
    waiting_commands: Gauge,
    waiting_bytes: Gauge,
    reads_waiting: Gauge,
    streams: Gauge,
    stream_bytes: Gauge,
    hashing: Gauge,
    hashes_waiting: Gauge,
    relay: LagMeters,
    read_model: LagMeters,
    tenants: Gauge,
    stuck_tenants: Gauge,
    dead_letters: Gauge,
    oldest_snapshot: Gauge,
}

/// How far behind something is.
struct LagMeters {
    tenants: Gauge,
    events: Gauge,
    seconds: Gauge,
}

impl LagMeters {
    fn register(of: &'static str) -> Self {
        describe_gauge!("convolog_behind_tenants", "Tenants whose last event is not there yet, in the whole database");
        describe_gauge!("convolog_behind_events", "Events that are not there yet, in the whole database");
        describe_gauge!("convolog_behind_seconds", "How long the oldest event that is not there yet has waited");
        Self {
            tenants: gauge!("convolog_behind_tenants", "of" => of),
            events: gauge!("convolog_behind_events", "of" => of),
            seconds: gauge!("convolog_behind_seconds", "of" => of),
        }
    }

    fn set(&self, lag: Option<&Lag>) {
        self.tenants.set(known(lag.map(|lag| lag.tenants)));
        self.events.set(known(lag.map(|lag| lag.events)));
        self.seconds.set(lag.map_or(f64::NAN, |lag| lag.oldest.as_secs_f64()));
    }
}

/// A number as a gauge takes it; not a number when it is not known.
fn known(number: Option<u64>) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "beyond 2^53 nobody counts")]
    number.map_or(f64::NAN, |number| number as f64)
}

impl ScrapeMeters {
    pub(crate) fn register() -> Self {
        describe_gauge!(
            "convolog_append_waiting_commands",
            "Commands that the writer has taken on and not answered yet"
        );
        describe_gauge!("convolog_append_waiting_bytes", "About the bytes of those commands");
        describe_gauge!("convolog_reads_waiting", "Reads that wait for the read tables to reach their min_seq");
        describe_gauge!("convolog_streams_open", "Streams of events that clients follow");
        describe_gauge!("convolog_streams_waiting_bytes", "Bytes of events that wait until their clients take them");
        describe_gauge!("convolog_password_hashes", "Passwords that are being hashed, or wait for a thread");
        describe_gauge!("convolog_tenants", "Tenants with events, in the whole database");
        describe_gauge!("convolog_stuck_tenants", "Tenants whose next event has waited for the read tables for 30 s");
        describe_gauge!(
            "convolog_dead_letters",
            "Streams that are parked because an event of theirs cannot be projected, in the whole database"
        );
        describe_gauge!(
            "convolog_oldest_snapshot_seconds",
            "Age of the oldest transaction that dead rows are kept for; NaN when the server does not tell"
        );
        let hashes = |state: &'static str| gauge!("convolog_password_hashes", "state" => state);
        Self {
            waiting_commands: gauge!("convolog_append_waiting_commands"),
            waiting_bytes: gauge!("convolog_append_waiting_bytes"),
            reads_waiting: gauge!("convolog_reads_waiting"),
            streams: gauge!("convolog_streams_open"),
            stream_bytes: gauge!("convolog_streams_waiting_bytes"),
            hashing: hashes("running"),
            hashes_waiting: hashes("waiting"),
            relay: LagMeters::register("relay"),
            read_model: LagMeters::register("read_model"),
            tenants: gauge!("convolog_tenants"),
            stuck_tenants: gauge!("convolog_stuck_tenants"),
            dead_letters: gauge!("convolog_dead_letters"),
            oldest_snapshot: gauge!("convolog_oldest_snapshot_seconds"),
        }
    }

    async fn observe(&self, api: &Api) {
        let count = |count: usize| known(u64::try_from(count).ok());
        let (commands, bytes) = api.inner.log.waiting();
        self.waiting_commands.set(count(commands));
        self.waiting_bytes.set(count(bytes));
        self.reads_waiting.set(count(api.inner.gate.waiting()));
        let streams = api.streams();
        self.streams.set(count(streams.open));
        self.stream_bytes.set(count(streams.waiting_bytes));
        let (running, waiting) = api.inner.passwords.load();
        self.hashing.set(count(running));
        self.hashes_waiting.set(count(waiting));
        for pool in &api.inner.operations.pools {
            pool.observe();
        }
        let facts = api.database_facts().await;
        let progress = facts.progress();
        self.relay.set(progress.map(|progress| &progress.relay));
        self.read_model.set(progress.map(|progress| &progress.read_model));
        self.tenants.set(known(progress.map(|progress| progress.tenants)));
        self.stuck_tenants.set(known(progress.map(|progress| progress.stuck_tenants)));
        self.dead_letters.set(known(progress.map(|progress| progress.parked_streams)));
        let snapshot = facts.snapshot();
        self.oldest_snapshot.set(snapshot.map_or(f64::NAN, |snapshot| snapshot.age.as_secs_f64()));
    }
}

/// What the document says of [`metrics`].
pub(crate) const METRICS: About = About {
    id: "readMetrics",
    tag: Tag::Service,
    summary: "Figures for Prometheus",
    text: "For operators: programs on the same machine, or with the operator's token.",
    codes: &[],
    links: &[],
};

/// The figures as an answer.
pub(crate) struct Figures(pub(crate) String);

impl IntoResponse for Figures {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, CONTENT_TYPE)], self.0).into_response()
    }
}

impl Answers for Figures {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers_as(200, "All figures.", CONTENT_TYPE, serde_json::json!({"type": "string"}), &[]);
    }
}

pub(crate) async fn metrics(State(api): State<Api>, _: Operator) -> Figures {
    api.inner.scrape_meters.observe(&api).await;
    Figures((api.inner.operations.render)())
}
