//! The relay: publishes each tenant's events on NATS in `seq` order, and again when NATS has lost them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bus::{Bus, Rings};
use domain::{RecordedEvent, TenantId};
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use sqlx::Row as _;
use store::{CrashPoint, Leases, MAX_PAGE_BYTES, RelayDatabase, Work, event_from_row, select_events_after};
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::gather::Gather;
use crate::held::Held;
use crate::meters::{self, RelayMeters};
use crate::projector::ticker;
use crate::relay_queue::{EVENTS_IN_PAGE, Queue, events_of_each};
use crate::relay_state::{self, StreamMemory};
use crate::standing::Standing;
use crate::sweep::Sweep;

/// Acknowledgements that may be outstanding.
const WINDOW: usize = 256;
/// How long the stream keeps events (`max_age` in `nats/events.json`): what is published again after a loss.
const RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);
/// Cursors that are remembered; beyond it they are stored and read again when needed.
const MAX_CURSORS: usize = 200_000;

/// How the relay works; the defaults are right for production.
#[derive(Clone, Debug)]
pub struct RelaySettings {
    /// The name in which leases are taken: no other running process has it.
    pub holder: String,
    /// A slice of the shards is swept this often.
    pub sweep: Duration,
    /// Cursors are stored, and the stream is looked at, this often.
    pub audit: Duration,
    /// How long a tenant rests whose next event can't be read.
    pub pause: Duration,
}

impl RelaySettings {
    /// The defaults under this name.
    pub fn named(holder: impl Into<String>) -> Self {
        let (sweep, audit, pause) = (Duration::from_secs(1), Duration::from_millis(500), Duration::from_secs(5));
        Self { holder: holder.into(), sweep, audit, pause }
    }
}

/// Publishes the events of the shards that it holds leases on.
pub struct Relay {
    database: RelayDatabase,
    bus: Bus,
    held: Held,
    memory: StreamMemory,
    /// The generation has changed, and all shards must be swept.
    reborn: bool,
    /// Connections made when the stream was last looked at; `None` when it must be looked at again.
    audited: Option<u64>,
    /// Up to where each tenant is published.
    cursors: HashMap<TenantId, u64>,
    /// The part of them that is not stored.
    unstored: HashMap<TenantId, u64>,
    queue: Queue,
    gather: Gather,
    /// Tenants whose next event can't be read, and until when they rest.
    paused: HashMap<TenantId, Instant>,
    meters: RelayMeters,
    settings: RelaySettings,
}

impl Relay {
    /// Takes the leases and makes ready; nothing runs before [`Relay::run`].
    pub async fn start(database: RelayDatabase, bus: Bus, settings: RelaySettings) -> Result<Self, Error> {
        let leases = Leases::new(database.pool().clone(), Work::Relay, settings.holder.clone());
        let held = Held::acquire(leases, Work::Relay).await?;
        let memory = relay_state::load(database.pool()).await?;
        let (cursors, unstored, queue, paused) = (HashMap::new(), HashMap::new(), Queue::default(), HashMap::new());
        let meters = RelayMeters::register();
        let reborn = false;
        Ok(Self {
            database,
            bus,
            held,
            memory,
            reborn,
            audited: None,
            cursors,
            unstored,
            queue,
            gather: Gather::default(),
            paused,
            meters,
            settings,
        })
    }

    /// Whether it is well.
    pub fn standing(&self) -> Standing {
        self.held.standing()
    }

    /// Works until `shutdown`, then stores the cursors and gives the leases back.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut sweep = Sweep::new(self.settings.sweep);
        let mut audit = ticker(self.settings.audit);
        let mut renewal = ticker(Leases::RENEWAL);
        let mut connection = self.bus.connection();
        let mut rings = self.bus.doorbell().subscribe().await.ok();
        self.audit().await;
        self.sweep_all().await;
        loop {
            let ready = !self.queue.is_empty() && self.audited.is_some() && self.gather.is_over();
            tokio::select! {
                // In this order, because under load there is always a ring and always work.
                biased;
                () = shutdown.cancelled() => break,
                _ = renewal.tick() => self.renew().await,
                Ok(()) = connection.changed() => self.audit().await,
                _ = audit.tick() => {
                    if rings.is_none() {
                        rings = self.bus.doorbell().subscribe().await.ok();
                    }
                    self.store_cursors().await;
                    self.audit().await;
                }
                () = sweep.tick() => {
                    let slice = sweep.next_slice(&self.held.shards());
                    self.sweep(&slice).await;
                }
                ring = next(&mut rings) => self.hear(ring, &mut rings),
                () = self.gather.over() => {}
                () = std::future::ready(()), if ready => {}
            }
            while let Some(Some(ring)) = rings.as_mut().and_then(|rings| rings.next().now_or_never()) {
                self.add_work(ring, Queue::ring);
            }
            self.meters.waiting_tenants.set(meters::number(self.queue.len()));
            self.meters.paused_tenants.set(meters::number(self.paused.len()));
            self.publish().await;
        }
        self.store_cursors().await;
        if let Err(error) = self.held.release().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the leases were not given back");
        }
    }

    fn hear(&mut self, ring: Option<Vec<(TenantId, u64)>>, rings: &mut Option<Rings>) {
        match ring {
            Some(ring) => self.add_work(ring, Queue::ring),
            None => *rings = None,
        }
    }

    fn add_work(&mut self, heads: impl IntoIterator<Item = (TenantId, u64)>, add: fn(&mut Queue, TenantId)) {
        let now = Instant::now();
        self.paused.retain(|_, until| *until > now);
        for (tenant, head) in heads {
            if self.paused.contains_key(&tenant) {
                continue;
            }
            let published = self.cursors.get(&tenant).is_some_and(|cursor| *cursor >= head);
            if !published && self.held.epoch_of(tenant).is_some() {
                add(&mut self.queue, tenant);
            }
        }
    }

    /// Publishes the next events of some of the tenants that have work, to a stream that is known to be ours.
    async fn publish(&mut self) {
        let now = *self.bus.connection().borrow();
        if !self.gather.is_over() || self.queue.is_empty() || !now.connected || self.audited != Some(now.established) {
            return;
        }
        let mut tenants = self.queue.take_page();
        tenants.retain(|tenant| self.held.epoch_of(*tenant).is_some());
        let unfinished = match self.publish_page(&tenants).await {
            Ok(unfinished) => unfinished,
            Err(error) => {
                self.meters.errors.increment(1);
                tracing::info!(error = &error as &dyn std::error::Error, "publishing stopped and is tried again");
                self.audited = None;
                tenants
            }
        };
        unfinished.into_iter().for_each(|tenant| self.queue.falls_behind(tenant));
    }

    /// Publishes the next events of these tenants; answers whose log goes on, as far as is known.
    async fn publish_page(&mut self, tenants: &[TenantId]) -> Result<Vec<TenantId>, Error> {
        let unknown: Vec<TenantId> = tenants.iter().copied().filter(|t| !self.cursors.contains_key(t)).collect();
        if !unknown.is_empty() {
            self.cursors.extend(relay_state::cursors(self.database.pool(), &unknown).await?);
        }
        let begun = Instant::now();
        let each = events_of_each(tenants.len());
        let (events, cut) = self.read(tenants, each).await?;
        let stored = self.bus.events().publish_all(&events, self.memory.generation, WINDOW).await?;
        CrashPoint::AfterPublish.reached();
        self.memory.last_sequence = stored.max(self.memory.last_sequence);
        self.meters.published(events.len(), begun.elapsed());
        // A page that is full is worth its cost already.
        self.gather.done(if events.len() < EVENTS_IN_PAGE / 2 { events.len() } else { 0 });
        let mut published: HashMap<TenantId, usize> = HashMap::new();
        for event in &events {
            *published.entry(event.tenant).or_default() += 1;
            self.cursors.insert(event.tenant, event.seq);
            self.unstored.insert(event.tenant, event.seq);
        }
        // Whoever had less than its part is published to the head, whatever a hint has claimed.
        let goes_on = |tenant: &&TenantId| cut || published.get(tenant) == Some(&each);
        Ok(tenants.iter().filter(goes_on).copied().collect())
    }

    /// The next events of these tenants, at most so many of `each`, in `seq` order; cut short, which is answered too, when they come to
    /// more than [`MAX_PAGE_BYTES`]. A tenant's event that can't be read holds up those after it and nobody else's.
    async fn read(&mut self, tenants: &[TenantId], each: usize) -> Result<(Vec<RecordedEvent>, bool), Error> {
        let after = tenants.iter().map(|tenant| self.cursors.get(tenant).copied().unwrap_or(0).cast_signed());
        let mut rows = sqlx::query(sqlx::AssertSqlSafe(select_events_after()))
            .bind(tenants.iter().map(|tenant| tenant.0).collect::<Vec<_>>())
            .bind(after.collect::<Vec<_>>())
            .bind(i64::try_from(each).unwrap_or(i64::MAX))
            .fetch(self.database.pool());
        let mut events: Vec<RecordedEvent> = Vec::new();
        let mut bytes = 0;
        while let Some(row) = rows.try_next().await? {
            let tenant = TenantId(row.try_get("tenant_id")?);
            if self.paused.contains_key(&tenant) {
                continue;
            }
            let event = match event_from_row(&row) {
                Err(store::Error::Decode(error)) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(%tenant, error, "an event of a tenant cannot be published; it is tried again later");
                    self.paused.insert(tenant, Instant::now() + self.settings.pause);
                    continue;
                }
                event => event?,
            };
            bytes += event.data.get().len();
            events.push(event);
            if bytes > MAX_PAGE_BYTES {
                return Ok((events, true));
            }
        }
        Ok((events, false))
    }

    /// Makes sure that the stream is the one that the cursors belong to. When it is not, a new generation begins and
    /// everything that the stream would still hold is published again.
    async fn audit(&mut self) {
        let now = *self.bus.connection().borrow();
        if !now.connected {
            self.audited = None;
            return;
        }
        let anew = self.audited != Some(now.established);
        match self.compare_stream().await {
            Ok(other) => {
                self.audited = Some(now.established);
                if anew || other {
                    self.sweep_all().await;
                }
            }
            Err(error) => {
                tracing::info!(error = &error as &dyn std::error::Error, "the stream could not be audited");
                self.audited = None;
            }
        }
    }

    /// Whether the stream is in another life than when we last looked: noticed by us, or by another relay.
    async fn compare_stream(&mut self) -> Result<bool, Error> {
        // In this order: another relay may publish meanwhile, and what it remembers must not be compared with an older look.
        self.adopt(relay_state::load(self.database.pool()).await?);
        let stream = self.bus.events().ensure().await?;
        let same = self.memory.created == Some(stream.created) && stream.last_sequence >= self.memory.last_sequence;
        if !same {
            let StreamMemory { generation, created, rewound, .. } = self.memory;
            let (generation, rewound) = if created.is_none() { (generation, rewound) } else { (generation + 1, 0) };
            let (created, last_sequence) = (Some(stream.created), stream.last_sequence);
            let new = StreamMemory { generation, created, last_sequence, rewound };
            let known = relay_state::replace(self.database.pool(), self.memory, new).await?;
            if known == new && rewound == 0 {
                self.meters.generations.increment(1);
                tracing::warn!(generation, "NATS has lost events; publishing again from PostgreSQL");
            }
            self.adopt(known);
        }
        while !self.memory.is_rewound() {
            relay_state::rewind_next(self.database.pool(), self.memory, RETENTION).await?;
            self.adopt(relay_state::load(self.database.pool()).await?);
            CrashPoint::AmidRewind.reached();
        }
        Ok(std::mem::take(&mut self.reborn))
    }

    /// Goes on from what is remembered. What we know of cursors belongs to one generation.
    fn adopt(&mut self, known: StreamMemory) {
        let mine = self.memory;
        self.memory = known;
        if known.generation == mine.generation {
            self.memory.last_sequence = known.last_sequence.max(mine.last_sequence);
        } else {
            self.cursors.clear();
            self.unstored.clear();
            self.reborn = true;
        }
    }

    async fn store_cursors(&mut self) {
        if self.unstored.is_empty() {
            return;
        }
        match relay_state::store_cursors(self.database.pool(), &self.unstored, self.memory).await {
            Ok(true) => {
                self.unstored.clear();
                if self.cursors.len() > MAX_CURSORS {
                    self.cursors.clear();
                }
            }
            // They belong to a stream that is gone: the next audit finds out.
            Ok(false) => self.audited = None,
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "the cursors were not stored"),
        }
    }

    async fn sweep_all(&mut self) {
        self.sweep(&self.held.shard_numbers()).await;
    }

    async fn sweep(&mut self, shards: &[i16]) {
        self.meters.sweeps.increment(1);
        match relay_state::behind(self.database.pool(), shards).await {
            Ok(behind) => self.add_work(behind, Queue::falls_behind),
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "the sweep failed"),
        }
    }

    async fn renew(&mut self) {
        match self.held.renew().await {
            Ok(false) => {}
            Ok(true) => {
                // Another relay may have moved the cursors of shards that are ours again.
                self.store_cursors().await;
                self.cursors.clear();
                self.sweep_all().await;
            }
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "the leases were not renewed"),
        }
    }
}

async fn next(rings: &mut Option<Rings>) -> Option<Vec<(TenantId, u64)>> {
    match rings {
        Some(rings) => rings.next().await,
        None => std::future::pending().await,
    }
}
