//! A world: a database, NATS and some nodes, as a test wants them.

use std::future::Future;
use std::time::Duration;

use api::master_secret::MasterSecret;
use api::passwords::Cost;
use api::signing_keys::KEY_RELOAD;
use api::{Operations, RateLimitSettings, ServerSettings, WebOrigin};
use convolog::node::{ApiSettings, Nats as NatsAccess, Node, NodeSettings, system_clock};
use local::Nats;
use projector::{ProjectorSettings, RelaySettings};
use reqwest::Method;
use serde_json::json;
use store::LogSettings;
use uuid::Uuid;

use crate::client::User;
use crate::cluster::{TestDatabase, database, start_nats};

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct WorldSettings {
    /// API processes; each is a node of its own with its own caches and connections.
    pub apis: usize,
    /// Whether the first node relays.
    pub relay: bool,
    /// Whether the first node projects.
    pub projector: bool,
    /// Connections of the API's pool.
    pub api_connections: u32,
    /// How the log works.
    pub log: LogSettings,
    /// What concerns operators.
    pub operations: Operations,
    /// How much the API's server takes on.
    pub server: ServerSettings,
    /// How often somebody may ask the API: as often as they like when not set, tests ask a lot from one address.
    pub rate_limits: RateLimitSettings,
    /// How often nodes read which signing keys there are.
    pub key_reload: Duration,
    /// Whose web pages may ask with a cookie.
    pub allowed_origins: Vec<WebOrigin>,
}

impl Default for WorldSettings {
    fn default() -> Self {
        Self {
            apis: 1,
            relay: true,
            projector: true,
            api_connections: 8,
            log: LogSettings::default(),
            operations: Operations::default(),
            server: ServerSettings::default(),
            rate_limits: RateLimitSettings::off(),
            key_reload: KEY_RELOAD,
            allowed_origins: vec![],
        }
    }
}

/// Services and nodes, gone when dropped.
pub struct World {
    /// The nodes, the first one with relay and projector.
    pub nodes: Vec<Node>,
    /// The database.
    pub database: TestDatabase,
    /// The NATS server.
    pub nats: Nats,
    /// How to log in to NATS.
    pub nats_access: NatsAccess,
    /// For requests.
    pub http: reqwest::Client,
}

/// A node that says nothing for so long will not answer any more. Longer than whatever makes an answer wait, and than the
/// time between two heartbeats of a stream.
const SILENCE: Duration = Duration::from_secs(40);
/// How long [`eventually`] waits.
const PATIENCE: Duration = Duration::from_secs(30);
/// What the signing keys of all nodes of all tests are derived from.
const SEED: [u8; 32] = [7; 32];
/// The password of every user.
pub const PASSWORD: &str = "nobody guesses this one";
/// The issuer of all nodes, so that a token of one is good at the other.
const PUBLIC_URL: &str = "http://convolog.test";

impl World {
    /// One node that does everything.
    pub async fn start() -> Self {
        Self::with(WorldSettings::default()).await
    }

    /// As the settings say.
    pub async fn with(settings: WorldSettings) -> Self {
        let (database, (nats, nats_access)) = tokio::join!(database(), start_nats());
        let http = reqwest::Client::builder().read_timeout(SILENCE).build().unwrap();
        let mut world = Self { nodes: vec![], database, nats, nats_access, http };
        for n in 0..settings.apis {
            let node =
                Node::start(world.node_settings(&settings, n == 0)).await.unwrap_or_else(|error| panic!("{error:#}"));
            world.nodes.push(node);
        }
        world
    }

    /// The settings of a node of this world; `first` has the workers.
    pub fn node_settings(&self, settings: &WorldSettings, first: bool) -> NodeSettings {
        let holder = Uuid::now_v7().to_string();
        let mut databases = self.database.databases.clone();
        databases.api = databases.api.with_connections(settings.api_connections);
        NodeSettings {
            databases: databases.into(),
            nats: self.nats_access.clone(),
            api: Some(ApiSettings {
                listen: "127.0.0.1:0".parse().unwrap(),
                public_url: Some(PUBLIC_URL.into()),
                master_secret: MasterSecret::new(SEED),
                key_reload: settings.key_reload,
                // As cheap as Argon2 can be: these tests are not about passwords.
                password_cost: Cost { memory_kib: 8, passes: 1, lanes: 1 },
                log: settings.log.clone(),
                operations: settings.operations.clone(),
                server: settings.server.clone(),
                rate_limits: settings.rate_limits.clone(),
                allowed_origins: settings.allowed_origins.clone(),
                clock: system_clock,
            }),
            relay: (first && settings.relay).then(|| RelaySettings::named(&holder)),
            projector: (first && settings.projector).then(|| ProjectorSettings::named(&holder)),
            worker: None,
        }
    }

    /// The URL of a node.
    pub fn url(&self, node: usize) -> String {
        format!("http://{}", self.nodes[node].address().unwrap())
    }

    /// Registers a tenant with this owner at the first node.
    pub async fn register(&self, tenant_name: &str, email: &str) -> User {
        let anonymous = User::anonymous(self.http.clone(), self.url(0));
        let body = json!({"tenant_name": tenant_name, "email": email, "password": PASSWORD, "name": "Somebody"});
        let reply = anonymous.insist(|| anonymous.request(Method::POST, "/v1/auth/register").json(&body)).await;
        assert_eq!(reply.status, 201, "{}", reply.body);
        anonymous.signed_in(&reply.body)
    }

    /// Registers a tenant of its own name.
    pub async fn tenant(&self) -> User {
        let name = Uuid::now_v7().simple().to_string();
        self.register(&name, &format!("{name}@example.com")).await
    }

    /// Waits until every tenant's rows are at the head of its log.
    pub async fn drain(&self) {
        self.reaches_the_heads("projection_checkpoints").await;
    }

    /// Waits until every event is published and the relay's cursors say so.
    pub async fn drain_relay(&self) {
        self.reaches_the_heads("relay_cursors").await;
    }

    async fn reaches_the_heads(&self, table: &str) {
        let behind = format!(
            "select count(*) from tenant_heads h left join {table} c using (tenant_id) where h.seq > coalesce(c.seq, 0)"
        );
        eventually(&format!("{table} reach the head of every log"), async || {
            let query = sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(behind.as_str()));
            query.fetch_one(&self.database.admin).await.unwrap() == 0
        })
        .await;
    }

    /// Stops all nodes in order.
    pub async fn stop_nodes(&mut self) {
        for node in self.nodes.drain(..) {
            node.stop().await.unwrap();
        }
    }
}

/// Polls until it is true; panics with `what` after 30 s, also when the check itself does not come back.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    let polling = async {
        while !check().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, polling).await.is_ok(), "not within 30 s: {what}");
}
