//! What every handler may reach: one struct, made at the start, cheap to clone.

use std::sync::Arc;

use bus::Bus;
use chrono::{DateTime, SubsecRound as _, Utc};
use store::{ApiDatabase, Log, OnCommit};
use tokio_util::sync::CancellationToken;

use crate::{
    api_keys::known::KnownKeys,
    auth::refresh_token::ChainKey,
    http_meters::HttpMeters,
    master_secret::MasterSecret,
    operations::{Answers, Operations},
    origins::{Origins, WebOrigin},
    passwords::Passwords,
    rate_limits::{RateLimitSettings, RateLimits},
    read_gate::ReadGate,
    scrape::ScrapeMeters,
    stream::{StreamFigures, Streams},
    tokens::Tokens,
};

/// Where the time comes from.
pub type Clock = fn() -> DateTime<Utc>;

/// The API without its listener: what a process, a test or a benchmark starts.
#[derive(Clone)]
pub struct Api {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) database: ApiDatabase,
    pub(crate) log: Log,
    pub(crate) on_commit: OnCommit,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) refresh_key: Arc<ChainKey>,
    pub(crate) api_keys: KnownKeys,
    pub(crate) passwords: Passwords,
    pub(crate) origins: Origins,
    pub(crate) rate_limits: RateLimits,
    pub(crate) gate: ReadGate,
    pub(crate) bus: Bus,
    pub(crate) operations: Operations,
    pub(crate) answers: Answers,
    pub(crate) http_meters: Arc<HttpMeters>,
    pub(crate) scrape_meters: ScrapeMeters,
    pub(crate) streams: Streams,
    /// Cancelled when the server begins to shut down: what has no end of its own ends then.
    pub(crate) closing: CancellationToken,
    pub(crate) clock: Clock,
}

impl Api {
    /// Puts the parts together. `log` rings `on_commit` too.
    pub fn new(
        database: ApiDatabase,
        bus: Bus,
        (log, on_commit): (Log, OnCommit),
        (tokens, master): (Arc<Tokens>, &MasterSecret),
        passwords: Passwords,
        (clock, rate_limits, allowed_origins): (Clock, RateLimitSettings, Vec<WebOrigin>),
        operations: Operations,
    ) -> Self {
        let gate = ReadGate::start(database.clone(), bus.clone());
        let (answers, http_meters) = (Answers::new(&operations), HttpMeters::register());
        let closing = CancellationToken::new();
        let inner = Inner {
            log,
            on_commit,
            origins: Origins::new(tokens.issuer(), allowed_origins),
            tokens,
            refresh_key: Arc::new(ChainKey::new(master)),
            api_keys: KnownKeys::default(),
            passwords,
            rate_limits: RateLimits::new(rate_limits),
            gate,
            clock,
            bus: bus.clone(),
            streams: Streams::start(database.clone(), bus),
            closing,
            operations,
            answers,
            http_meters,
            scrape_meters: ScrapeMeters::register(),
            database,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The streams of events that are open here.
    pub fn streams(&self) -> StreamFigures {
        self.inner.streams.figures()
    }

    /// What the log calls after each commit: the doorbell that wakes the relay.
    pub fn doorbell(bus: &Bus) -> OnCommit {
        let doorbell = bus.doorbell();
        Arc::new(move |grown| doorbell.ring(grown))
    }
}

impl Inner {
    /// Now, in the microseconds that PostgreSQL keeps.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        (self.clock)().trunc_subsecs(6)
    }
}
