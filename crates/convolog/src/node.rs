//! A node: API, relay and projector of one process, any of them, on services that are already there.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use api::master_secret::MasterSecret;
use api::passwords::{Cost, Passwords, WAITING};
use api::signing_keys;
use api::tokens::Tokens;
use api::worker::Worker;
use api::{Api, Clock, Operations, OperatorToken, RateLimitSettings, ServerSettings, WebOrigin};
use bus::{Bus, User};
use chrono::{DateTime, Utc};
use projector::{Projector, ProjectorSettings, Relay, RelaySettings, Standing};
use store::{ApiDatabase, ConnectionSettings, Log, LogSettings, OnCommit, PoolMeter, ProjectorDatabase, RelayDatabase};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::telemetry;

/// How to reach PostgreSQL, one log-in per role.
#[derive(Clone, Debug)]
pub struct Databases {
    /// As `convolog_api`.
    pub api: ConnectionSettings,
    /// As `convolog_projector`.
    pub projector: ConnectionSettings,
    /// As `convolog_relay`.
    pub relay: ConnectionSettings,
}

/// How a node reaches PostgreSQL: with the roles of its parts.
#[derive(Clone, Debug, Default)]
pub struct NodeDatabases {
    /// As `convolog_api`.
    pub api: Option<ConnectionSettings>,
    /// As `convolog_projector`.
    pub projector: Option<ConnectionSettings>,
    /// As `convolog_relay`.
    pub relay: Option<ConnectionSettings>,
}

impl From<Databases> for NodeDatabases {
    fn from(Databases { api, projector, relay }: Databases) -> Self {
        Self { api: Some(api), projector: Some(projector), relay: Some(relay) }
    }
}

/// How to reach NATS.
#[derive(Clone)]
pub struct Nats {
    /// Its URL.
    pub url: String,
    /// Passwords of users; whoever is not among them logs in as the URL says.
    pub passwords: HashMap<User, String>,
}

impl std::fmt::Debug for Nats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nats").field("passwords_of", &self.passwords.keys()).finish_non_exhaustive()
    }
}

impl Nats {
    /// Connects in the background as one of the users.
    pub(crate) async fn connect(&self, user: User) -> anyhow::Result<Bus> {
        let password = self.passwords.get(&user).map(String::as_str);
        Bus::connect(&self.url, user, password).await.context("NATS_URL is not usable")
    }
}

/// The API of a node.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// The issuer of access tokens; `http://` and the address when `None`.
    pub public_url: Option<String>,
    /// What signing keys are derived from.
    pub master_secret: MasterSecret,
    /// How often it reads which signing keys there are: [`signing_keys::KEY_RELOAD`], but in tests.
    pub key_reload: Duration,
    /// How dear a password is.
    pub password_cost: Cost,
    /// How the log works.
    pub log: LogSettings,
    /// What concerns operators; the node adds what it has to show.
    pub operations: Operations,
    /// How much the server takes on.
    pub server: ServerSettings,
    /// How often somebody may ask.
    pub rate_limits: RateLimitSettings,
    /// Whose web pages may ask with a cookie, beside that of the public URL.
    pub allowed_origins: Vec<WebOrigin>,
    /// Where the time comes from: [`system_clock`], but in tests.
    pub clock: Clock,
}

/// The time of the machine.
#[expect(clippy::disallowed_methods, reason = "this is where the API gets its clock")]
pub fn system_clock() -> DateTime<Utc> {
    Utc::now()
}

/// What a node runs.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// PostgreSQL.
    pub databases: NodeDatabases,
    /// NATS.
    pub nats: Nats,
    /// Serves HTTP.
    pub api: Option<ApiSettings>,
    /// Publishes events.
    pub relay: Option<RelaySettings>,
    /// Keeps the read tables.
    pub projector: Option<ProjectorSettings>,
    /// Where a node without the API tells how it does.
    pub worker: Option<WorkerSettings>,
}

/// How a node without the API tells how it does.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Opens `/metrics` to whoever has it.
    pub token: Option<OperatorToken>,
}

/// A running node; stop it with [`Node::stop`].
#[derive(Default)]
pub struct Node {
    address: Option<SocketAddr>,
    app: Option<Api>,
    front: Option<Front>,
    worker_server: Option<JoinHandle<std::io::Result<()>>>,
    /// Relay and projector.
    workers: Vec<JoinHandle<()>>,
    stop_workers: CancellationToken,
}

async fn listen(variable: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{variable}: cannot listen on {address}"))
}

/// The part that takes requests.
struct Front {
    server: JoinHandle<std::io::Result<()>>,
    keys: JoinHandle<()>,
    writer: JoinHandle<()>,
    stop: CancellationToken,
    database: ApiDatabase,
    log: Log,
    on_commit: OnCommit,
}

impl Node {
    /// Starts everything; what can be wrong with roles and settings is found out here.
    pub async fn start(settings: NodeSettings) -> anyhow::Result<Self> {
        // Before anything that counts.
        telemetry::install();
        let NodeSettings { databases, nats, api, relay, projector, worker } = settings;
        let mut pools = Vec::new();
        let mut standings = Vec::new();
        let mut node = Self::default();
        if let Some(relay) = relay {
            let database = databases.relay.context("the relay needs a database")?;
            let database = RelayDatabase::connect(database).await.context("starting the relay")?;
            pools.push(database.pool_meter());
            let bus = nats.connect(User::Relay).await?;
            let relay = Relay::start(database, bus, relay).await.context("starting the relay")?;
            standings.push(("relay", relay.standing()));
            node.workers.push(store::spawn("relay", relay.run(node.stop_workers.clone())));
        }
        if let Some(projector) = projector {
            let database = databases.projector.context("the projector needs a database")?;
            let database = ProjectorDatabase::connect(database).await.context("starting the projector")?;
            pools.push(database.pool_meter());
            let bus = nats.connect(User::Projector).await?;
            let projector = Projector::start(database, bus, projector).await.context("starting the projector")?;
            standings.push(("projector", projector.standing()));
            node.workers.push(store::spawn("projector", projector.run(node.stop_workers.clone())));
        }
        if let Some(mut api) = api {
            let database = databases.api.context("the API needs a database")?;
            api.operations.pools.append(&mut pools);
            let bus = nats.connect(User::Api).await?;
            node.serve(database, bus, api).await?;
        }
        if let Some(worker) = worker {
            node.serve_worker(worker, pools, standings).await?;
        }
        Ok(node)
    }

    async fn serve_worker(
        &mut self,
        settings: WorkerSettings,
        pools: Vec<PoolMeter>,
        standings: Vec<(&'static str, Standing)>,
    ) -> anyhow::Result<()> {
        let listener = listen("CONVOLOG_PROJECTOR_LISTEN", settings.listen).await?;
        self.address = Some(listener.local_addr()?);
        let check = Arc::new(move || {
            let ill = standings.iter().find(|(_, standing)| !standing.is_good());
            let checked = ill.map_or(Ok(()), |(part, _)| Err(format!("the {part} has not renewed its leases in time")));
            Box::pin(std::future::ready(checked)) as _
        });
        let worker = Worker { token: settings.token, render: telemetry::render, pools, check };
        let server = api::serve_worker(listener, worker, ServerSettings::default(), self.stop_workers.clone());
        self.worker_server = Some(store::spawn("worker", server));
        Ok(())
    }

    async fn serve(&mut self, database: ConnectionSettings, bus: Bus, settings: ApiSettings) -> anyhow::Result<()> {
        let database = ApiDatabase::connect(database).await.context("starting the API")?;
        database.self_check().await.context("starting the API")?;
        let on_commit = Api::doorbell(&bus);
        let keys = signing_keys::provide(&database, &settings.master_secret).await.context("starting the API")?;
        let (log, writer) = Log::start(&database, &settings.log, on_commit.clone());
        let listener = listen("CONVOLOG_LISTEN", settings.listen).await?;
        let address = listener.local_addr()?;
        let issuer = settings.public_url.unwrap_or_else(|| format!("http://{address}"));
        let mut operations = settings.operations;
        operations.pools.push(database.pool_meter());
        operations.render = telemetry::render;
        let master = settings.master_secret;
        let tokens = Arc::new(Tokens::new(&issuer, keys));
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let cost = settings.password_cost;
        let passwords = tokio::task::spawn_blocking(move || Passwords::new(cost, cores, WAITING)).await??;
        let written = (log.clone(), on_commit.clone());
        let bounded = (settings.clock, settings.rate_limits, settings.allowed_origins);
        let app = Api::new(database.clone(), bus, written, (tokens.clone(), &master), passwords, bounded, operations);
        let stop = CancellationToken::new();
        let following = signing_keys::follow(tokens, database.clone(), master, settings.key_reload, stop.clone());
        let keys = store::spawn("signing keys", following);
        let server = store::spawn("api", api::serve(listener, app.clone(), settings.server, stop.clone()));
        self.address = Some(address);
        self.app = Some(app);
        self.front = Some(Front { server, keys, writer, stop, database, log, on_commit });
        Ok(())
    }

    /// Where the API listens, or a worker.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The API itself, for a request without a socket.
    pub fn app(&self) -> Option<&Api> {
        self.app.as_ref()
    }

    /// The write side: database, log and doorbell.
    pub fn write_side(&self) -> Option<(&ApiDatabase, &Log, &OnCommit)> {
        self.front.as_ref().map(|front| (&front.database, &front.log, &front.on_commit))
    }

    /// Finishes the requests under way, then what the writer has taken on (also for clients that are gone), then relay
    /// and projector. Clients cannot hold it for longer than the server's grace, a stuck database can.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(Front { server, keys, writer, stop, database, log, on_commit }) = self.front.take() {
            stop.cancel();
            server.await??;
            keys.await?;
            drop((self.app.take(), log, on_commit));
            writer.await?;
            database.close().await;
        }
        self.stop_workers.cancel();
        for worker in self.workers.drain(..) {
            worker.await?;
        }
        if let Some(server) = self.worker_server.take() {
            server.await??;
        }
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop_workers.cancel();
        if let Some(front) = &self.front {
            front.stop.cancel();
        }
    }
}
