//! The projector: receives events, fills holes from PostgreSQL, writes the read tables of many tenants at once.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::{Bus, Events};
use chrono::{TimeDelta, Utc};
use domain::{RecordedEvent, TenantId};
use futures_util::{FutureExt as _, StreamExt as _};
use store::{Leases, ProjectorDatabase, Work};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::apply::{Step, apply};
use crate::catch_up::{Progress, catch_up};
use crate::dead_letters;
use crate::gather::Gather;
use crate::held::Held;
use crate::live::{Heard, Live};
use crate::meters::{self, ProjectorMeters};
use crate::replay::{Sizes, Upgrade};
use crate::standing::Standing;
use crate::sweep::{Sweep, number};
use crate::{Error, READ_MODEL, read_model_version};

/// Tasks that catch up at the same time.
const CATCH_UPS: usize = 2;
/// Tenants in one catch-up.
const TENANTS_IN_CATCH_UP: usize = 100;
/// Whoever publishes is late by at least so much: it works off what could not be published for a while, and new events wait
/// behind that.
const LATE: TimeDelta = TimeDelta::seconds(2);
/// Nobody publishes any more.
const SILENCE: Duration = Duration::from_millis(500);
/// For so long events are not relied on after a sign that they are late or do not come: all shards are swept, as often as without
/// NATS.
const UNHEARD: Duration = Duration::from_secs(10);
/// How long all catch-ups rest after a failure that has nothing to do with the events, doubled with each more.
const FIRST_REST: Duration = Duration::from_millis(50);
const LONGEST_REST: Duration = Duration::from_secs(5);

/// How the projector works; the defaults are right for production.
#[derive(Clone, Debug)]
pub struct ProjectorSettings {
    /// The name in which leases are taken: no other running process has it.
    pub holder: String,
    /// A slice of the shards is swept this often while messages arrive.
    pub sweep: Duration,
    /// All shards are swept this often while NATS is away.
    pub sweep_without_nats: Duration,
    /// How long a tenant rests whose events can't be projected.
    pub pause: Duration,
    /// How much of a rebuild is done in one transaction.
    pub sizes: Sizes,
}

impl ProjectorSettings {
    /// The defaults under this name.
    pub fn named(holder: impl Into<String>) -> Self {
        let (sweep, sweep_without_nats) = (Duration::from_secs(1), Duration::from_millis(100));
        let (pause, sizes) = (Duration::from_secs(5), Sizes::default());
        Self { holder: holder.into(), sweep, sweep_without_nats, pause, sizes }
    }
}

/// Keeps the read tables of the shards that it holds leases on.
pub struct Projector {
    database: ProjectorDatabase,
    bus: Bus,
    held: Held,
    live: Live,
    gather: Gather,
    events: Option<Events>,
    subscribing: Option<Subscribing>,
    catch_ups: JoinSet<CaughtUp>,
    upgrade: Arc<Upgrade>,
    /// Lets streams go on whose event is discarded; at most one task.
    releases: JoinSet<()>,
    waiting: VecDeque<Vec<TenantId>>,
    /// Tenants whose next event is of newer code, or is missing, and until when they rest; tried again alone, so that they fail nobody
    /// else's transaction.
    paused: HashMap<TenantId, Instant>,
    /// How long the last rest was, and until when it lasts.
    rest: (Duration, Instant),
    /// Tenants that were behind in the last sweep, and where they were.
    suspects: HashMap<TenantId, u64>,
    /// When an event arrived last; and until when events are not relied on, although NATS is there.
    heard: Instant,
    unheard: Instant,
    /// Something failed that the next sweep must make good.
    trouble: bool,
    meters: ProjectorMeters,
    settings: ProjectorSettings,
}

type Subscribing = Pin<Box<dyn Future<Output = bus::Result<Events>> + Send>>;

/// What a catch-up task reports.
struct CaughtUp {
    tenants: Vec<TenantId>,
    result: Result<Progress, Error>,
}

impl Projector {
    /// Takes the leases and makes ready; nothing runs before [`Projector::run`].
    pub async fn start(database: ProjectorDatabase, bus: Bus, settings: ProjectorSettings) -> Result<Self, Error> {
        let leases = Leases::new(database.pool().clone(), Work::ReadModel, settings.holder.clone());
        let held = Held::acquire(leases, Work::ReadModel).await?;
        Ok(Self {
            database,
            bus,
            held,
            live: Live::default(),
            gather: Gather::default(),
            events: None,
            subscribing: None,
            catch_ups: JoinSet::new(),
            upgrade: Arc::new(Upgrade::new(settings.sizes)),
            releases: JoinSet::new(),
            waiting: VecDeque::new(),
            paused: HashMap::new(),
            rest: (Duration::ZERO, Instant::now()),
            suspects: HashMap::new(),
            heard: Instant::now(),
            unheard: Instant::now(),
            trouble: false,
            meters: ProjectorMeters::register(),
            settings,
        })
    }

    /// Whether it is well.
    pub fn standing(&self) -> Standing {
        self.held.standing()
    }

    /// Works until `shutdown`, then ends what is under way and gives the leases back.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut sweep = Sweep::new(self.settings.sweep);
        let mut quick = ticker(self.settings.sweep_without_nats);
        let mut renewal = ticker(Leases::RENEWAL);
        self.subscribe();
        self.sweep_all().await;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                event = next(&mut self.events), if self.live.has_room() => self.hear(event),
                () = self.gather.over() => {}
                subscribed = subscribed(&mut self.subscribing) => self.subscribed(subscribed).await,
                Some(done) = self.catch_ups.join_next(), if !self.catch_ups.is_empty() => self.caught_up(done),
                () = sweep.tick() => {
                    let mut shards = sweep.next_slice(&self.held.shards());
                    // Whoever was behind in the last one is looked at again, and not only when its turn comes.
                    let suspects = self.suspects.keys().filter(|tenant| self.held.epoch_of(**tenant).is_some());
                    shards.extend(suspects.map(|tenant| number(&tenant.shard())));
                    self.sweep(&shards, self.events.is_some()).await;
                    self.release();
                }
                _ = quick.tick() => {
                    self.subscribe();
                    if (self.events.is_none() || self.trouble) && !self.is_resting() {
                        self.sweep_all().await;
                    } else if self.unheard > Instant::now() && !self.is_resting() {
                        self.sweep(&self.held.shard_numbers(), true).await;
                    }
                }
                _ = renewal.tick() => self.renew().await,
            }
            self.start_catch_ups();
            self.project().await;
            self.meters.paused_tenants.set(meters::number(self.paused.len()));
        }
        while let Some(done) = self.catch_ups.join_next().await {
            self.caught_up(done);
        }
        self.gather = Gather::default();
        self.project().await;
        if let Err(error) = self.held.release().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the leases were not given back");
        }
    }

    /// Begins to subscribe when NATS is there and nothing is subscribed to. A server that does not answer holds up
    /// nothing else.
    fn subscribe(&mut self) {
        if self.events.is_some() || self.subscribing.is_some() || !self.bus.is_connected() {
            return;
        }
        let (consumer, shards) = (self.bus.consumer(), self.held.shards());
        self.subscribing = Some(Box::pin(async move { consumer.subscribe(&shards).await }));
    }

    async fn subscribed(&mut self, subscribed: bus::Result<Events>) {
        self.subscribing = None;
        match subscribed {
            Ok(events) => {
                self.events = Some(events);
                // What was published before the server knew of the subscription does not come any more.
                self.sweep_all().await;
            }
            Err(error) => tracing::debug!(%error, "not subscribed; going on from PostgreSQL"),
        }
    }

    /// Takes in the event and all that have arrived with it.
    fn hear(&mut self, first: Option<bus::Result<RecordedEvent>>) {
        if matches!(first, Some(Ok(_))) {
            self.heard = Instant::now();
        }
        let mut missing = HashMap::new();
        let mut next_event = first;
        loop {
            match next_event {
                Some(Ok(event)) => {
                    let (tenant, seq, recorded_at) = (event.tenant, event.seq, event.recorded_at);
                    match self.live.hear(event) {
                        Heard::Taken => {}
                        Heard::Seen => {
                            self.meters.duplicates.increment(1);
                            #[expect(clippy::disallowed_methods, reason = "how old an event is, no part of it")]
                            let age = Utc::now() - recorded_at;
                            if age > LATE {
                                self.unheard = Instant::now() + UNHEARD;
                            }
                        }
                        Heard::Unknown => {
                            missing.insert(tenant, seq);
                        }
                        Heard::Hole => {
                            self.meters.holes.increment(1);
                            missing.insert(tenant, seq);
                        }
                    }
                }
                Some(Err(error)) => {
                    tracing::info!(%error, "the subscription ended; going on from PostgreSQL");
                    self.events = None;
                }
                None => self.events = None,
            }
            let Some(events) = self.events.as_mut().filter(|_| self.live.has_room()) else { break };
            match events.next().now_or_never() {
                Some(event) => next_event = event,
                None => break,
            }
        }
        self.schedule(missing);
    }

    /// Gives tenants to a catch-up task.
    fn schedule(&mut self, tenants: impl IntoIterator<Item = (TenantId, u64)>) {
        let now = Instant::now();
        let mut chosen = Vec::new();
        for (tenant, heard) in tenants {
            let paused = self.paused.get(&tenant).copied();
            if paused.is_some_and(|until| until > now) || !self.live.begin_catch_up(tenant, heard) {
                continue;
            }
            match paused {
                Some(_) => self.waiting.push_back(vec![tenant]),
                None => chosen.push(tenant),
            }
        }
        self.waiting.extend(chosen.chunks(TENANTS_IN_CATCH_UP).map(<[_]>::to_vec));
    }

    fn start_catch_ups(&mut self) {
        while self.catch_ups.len() < CATCH_UPS && !self.is_resting() {
            let Some(tenants) = self.waiting.pop_front() else { return };
            let (database, upgrade) = (self.database.clone(), self.upgrade.clone());
            let with_epoch = |tenant: &TenantId| Some((*tenant, self.held.epoch_of(*tenant)?));
            let epochs: HashMap<TenantId, i64> = tenants.iter().filter_map(with_epoch).collect();
            let meters = self.meters.transactions.clone();
            self.meters.catch_ups.increment(1);
            let task = async move {
                let result = catch_up(&database, &upgrade, &epochs, &meters).await;
                CaughtUp { tenants, result }
            };
            self.catch_ups.spawn(task.instrument(tracing::debug_span!("catch_up")));
        }
    }

    fn caught_up(&mut self, done: Result<CaughtUp, tokio::task::JoinError>) {
        let Ok(CaughtUp { tenants, result }) = done else {
            // A bug of ours: whoever it had is unknown from now on and found by the sweep.
            tracing::error!("a catch-up has panicked");
            self.live = Live::default();
            self.trouble = true;
            return;
        };
        let Progress { at, more, unfinished } = match result {
            Ok(progress) => progress,
            Err(error) => {
                self.live.forget(&tenants);
                self.give_up(&tenants, &error);
                return;
            }
        };
        self.works();
        let mut again = Vec::new();
        for tenant in &tenants {
            let reached = at.get(tenant).copied();
            let heard = self.live.end_catch_up(*tenant, reached);
            if reached.is_some() && !more {
                self.paused.remove(tenant);
            }
            // Whatever was heard is in the log before the next task begins, or is not true.
            let unfinished = unfinished.contains(tenant).then_some(0);
            again.extend(heard.map(|_| 0).or(reached.filter(|_| more)).or(unfinished).map(|heard| (*tenant, heard)));
        }
        self.schedule(again);
        let progress: Vec<_> = at.into_iter().filter(|(_, seq)| *seq > 0).collect();
        self.bus.projected().ring(&progress);
    }

    /// A transaction over these tenants failed, and nothing is known of them any more. Of several, each is tried alone.
    fn give_up(&mut self, tenants: &[TenantId], error: &Error) {
        self.trouble = true;
        match tenants {
            [tenant] if error.is_deterministic() => {
                let error = error as &dyn std::error::Error;
                tracing::error!(%tenant, error, "a tenant cannot be projected; it is tried again later");
                self.meters.poisonings.increment(1);
                self.paused.insert(*tenant, Instant::now() + self.settings.pause);
            }
            several if error.is_deterministic() => {
                for tenant in several {
                    if self.live.begin_catch_up(*tenant, 0) {
                        self.waiting.push_back(vec![*tenant]);
                    }
                }
            }
            _ => {
                self.meters.failures.increment(1);
                let refused = error.is_refused_statement();
                self.meters.group_paused.set(meters::number(usize::from(refused)));
                let error = error as &dyn std::error::Error;
                if refused {
                    tracing::error!(
                        error,
                        "PostgreSQL refuses what projecting needs; nothing goes on until that is mended"
                    );
                } else {
                    tracing::warn!(error, "projecting failed and is tried again");
                }
                self.take_a_rest();
            }
        }
    }

    /// A transaction was made: whatever was in the way is not any more.
    fn works(&mut self) {
        self.rest.0 = Duration::ZERO;
        self.meters.group_paused.set(0);
    }

    fn is_resting(&self) -> bool {
        self.rest.1 > Instant::now()
    }

    fn take_a_rest(&mut self) {
        let length = (self.rest.0 * 2).clamp(FIRST_REST, LONGEST_REST);
        self.rest = (length, Instant::now() + length);
    }

    /// Projects what waits, when it is time.
    async fn project(&mut self) {
        while self.gather.is_over() || !self.live.has_room() {
            let steps = self.live.take_steps(|tenant| self.held.epoch_of(tenant));
            if steps.is_empty() {
                return;
            }
            match apply(&self.database, &steps, &self.meters.transactions).await {
                Ok(missed) => {
                    self.works();
                    self.gather.done(steps.iter().map(|step| step.events.len()).sum());
                    let (missed, done): (Vec<Step>, Vec<Step>) =
                        steps.into_iter().partition(|step| missed.contains(&step.tenant));
                    self.live.applied(&done);
                    let progress: Vec<_> = done.iter().map(|step| (step.tenant, step.last())).collect();
                    self.bus.projected().ring(&progress);
                    if !missed.is_empty() {
                        tracing::debug!(tenants = missed.len(), "checkpoints are not where they were, or locked");
                        self.schedule(missed.iter().map(|step| (step.tenant, step.last())));
                    }
                }
                Err(error) => {
                    let tenants: Vec<TenantId> = steps.iter().map(|step| step.tenant).collect();
                    self.live.forget(&tenants);
                    self.give_up(&tenants, &error);
                }
            }
        }
    }

    /// Looks for parked streams that may go on, unless somebody does already.
    fn release(&mut self) {
        while self.releases.try_join_next().is_some() {}
        if !self.releases.is_empty() {
            return;
        }
        let (database, shards) = (self.database.clone(), self.held.shard_numbers());
        self.releases.spawn(async move {
            if let Err(error) = dead_letters::release(&database, &shards).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "discarded events were not looked for");
            }
        });
    }

    async fn sweep_all(&mut self) {
        self.trouble = false;
        self.sweep(&self.held.shard_numbers(), false).await;
    }

    /// Looks for tenants that are behind although nobody said so. While `hints_arrive`, one is given the time of a
    /// sweep.
    async fn sweep(&mut self, shards: &[i16], hints_arrive: bool) {
        self.meters.sweeps.increment(1);
        let lagging: Result<Vec<(uuid::Uuid, i64)>, sqlx::Error> =
            sqlx::query_as("select tenant_id, head from lagging_tenants($1, $2, $3)")
                .bind(READ_MODEL)
                .bind(read_model_version())
                .bind(shards)
                .fetch_all(self.database.pool())
                .await;
        let lagging = match lagging {
            Ok(lagging) => lagging,
            Err(error) => {
                tracing::warn!(%error, "the sweep failed");
                self.trouble = true;
                self.take_a_rest();
                return;
            }
        };
        let mut behind = Vec::new();
        let mut suspects = HashMap::new();
        for (tenant, head) in lagging {
            let (tenant, head) = (TenantId(tenant), head.cast_unsigned());
            match self.live.idle_at(tenant) {
                // Most likely its message is on the way: look once more before reading.
                Some(at) if hints_arrive && self.suspects.get(&tenant) != Some(&at) => {
                    suspects.insert(tenant, at);
                }
                Some(_) => {
                    // Its message did not come: NATS is full, or whoever publishes has gone or is late.
                    if hints_arrive && (self.unheard <= Instant::now() || self.heard.elapsed() > SILENCE) {
                        self.unheard = Instant::now() + UNHEARD;
                    }
                    behind.push((tenant, head));
                }
                // Whoever is busy with it may have read less than that, and what was published meanwhile may not come.
                None if !hints_arrive || self.live.is_unknown(tenant) => behind.push((tenant, head)),
                None => {}
            }
        }
        self.suspects.retain(|tenant, _| !shards.contains(&number(&tenant.shard())));
        self.suspects.extend(suspects);
        self.schedule(behind);
    }

    async fn renew(&mut self) {
        match self.held.renew().await {
            Ok(false) => {}
            Ok(true) => {
                // Other shards: subscribe anew, then look at everything.
                self.events = None;
                self.subscribing = None;
                self.trouble = true;
            }
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "the leases were not renewed"),
        }
    }
}

/// The next event; pending while there is no subscription.
async fn next(events: &mut Option<Events>) -> Option<bus::Result<RecordedEvent>> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}

/// The end of subscribing; pending while nothing is asked for.
async fn subscribed(subscribing: &mut Option<Subscribing>) -> bus::Result<Events> {
    match subscribing {
        Some(subscribing) => subscribing.await,
        None => std::future::pending().await,
    }
}

pub(crate) fn ticker(period: Duration) -> tokio::time::Interval {
    let mut ticker = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticker
}
