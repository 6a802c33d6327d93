//! How the service does: one report, built here for `GET /health` and for `convolog status` alike.

use std::sync::Arc;
use std::time::Duration;

use domain::SHARDS;
use schemars::JsonSchema;
use serde::Serialize;
use store::{ApiDatabase, Lag, PoolUse, Progress, Server, Snapshot};

/// Longest that PostgreSQL is waited for.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);
/// Relay or read tables that are behind by more are worth a look.
pub const BEHIND_LIMIT: Duration = Duration::from_secs(30);
/// A snapshot that is held for longer makes appends slower without bound.
pub const SNAPSHOT_LIMIT: Duration = Duration::from_secs(60);

/// The word for everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "HealthStatus")]
pub enum Status {
    /// Nothing to see.
    Ok,
    /// It works, but not as it should: somebody should look.
    Degraded,
    /// Commands or reads are not served, or tenants are not kept apart.
    Failing,
}

impl Status {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Failing => "failing",
        }
    }
}

/// Why the status is not `ok`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Reason {
    /// How bad it is.
    pub status: Status,
    /// A name for programs.
    pub code: &'static str,
    /// A sentence for people.
    pub detail: String,
}

/// What PostgreSQL answered. Errors are texts, because an answer may be given out several times.
#[derive(Clone, Debug)]
pub struct DatabaseFacts {
    server: Result<Server, String>,
    progress: Result<Progress, String>,
    snapshot: Result<Option<Snapshot>, String>,
}

impl DatabaseFacts {
    /// Asks PostgreSQL, for `ASK_TIMEOUT` at the longest.
    pub async fn ask(database: ApiDatabase) -> Arc<Self> {
        let server = in_time(database.ping()).await;
        let (progress, snapshot) = match &server {
            Ok(_) => (in_time(database.progress()).await, in_time(database.oldest_snapshot()).await),
            Err(error) => (Err(error.clone()), Err(error.clone())),
        };
        Arc::new(Self { server, progress, snapshot })
    }

    /// Nothing was answered.
    pub fn unreachable(error: String) -> Arc<Self> {
        Arc::new(Self { server: Err(error.clone()), progress: Err(error.clone()), snapshot: Err(error) })
    }

    /// How far everything is behind, when that is known.
    pub fn progress(&self) -> Option<&Progress> {
        self.progress.as_ref().ok()
    }

    /// The oldest snapshot, when that is known.
    pub fn snapshot(&self) -> Option<Snapshot> {
        self.snapshot.as_ref().ok().copied().flatten()
    }
}

async fn in_time<T>(asked: impl Future<Output = Result<T, store::Error>>) -> Result<T, String> {
    match tokio::time::timeout(ASK_TIMEOUT, asked).await {
        Ok(answer) => answer.map_err(|error| store::chain(&error)),
        Err(_elapsed) => Err(format!("no answer within {} s", ASK_TIMEOUT.as_secs())),
    }
}

/// What a process knows of itself.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ProcessFacts {
    /// Whether the writer takes commands.
    pub writers_running: bool,
    /// Commands that the writer has taken on and not answered yet.
    pub waiting_commands: usize,
    /// Connections of the API's pool.
    #[serde(serialize_with = "pool")]
    pub pool: PoolUse,
}

fn pool<S: serde::Serializer>(pool: &PoolUse, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct View {
        idle: u32,
        in_use: u32,
        max: u32,
    }
    let PoolUse { idle, in_use, max } = *pool;
    View { idle, in_use, max }.serialize(serializer)
}

/// Everything that a report is made of.
#[derive(Clone, Debug)]
pub struct Facts {
    /// PostgreSQL's answers.
    pub database: Arc<DatabaseFacts>,
    /// Whether row-level security keeps tenants apart; why not, when it does not.
    pub isolation: Result<(), String>,
    /// Whether NATS is connected; why not, when it is known.
    pub nats: Result<(), String>,
    /// The process that is asked, if it is one.
    pub process: Option<ProcessFacts>,
}

/// The report.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The worst of all reasons.
    pub status: Status,
    /// Why it is not `ok`.
    pub reasons: Vec<Reason>,
    /// Of this program.
    pub version: &'static str,
    /// PostgreSQL.
    pub postgresql: PostgresqlView,
    /// NATS.
    pub nats: NatsView,
    /// All logs together; null when unknown.
    pub log: Option<LogView>,
    /// What is not on NATS yet; null when unknown.
    pub relay: Option<LagView>,
    /// What the read tables do not reflect yet; null when unknown.
    pub read_model: Option<LagView>,
    /// The process that answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessFacts>,
}

/// PostgreSQL as it is reported.
#[derive(Clone, Debug, Serialize)]
pub struct PostgresqlView {
    /// Whether it answers.
    pub reachable: bool,
    /// Its version.
    pub version: Option<String>,
    /// Microseconds that an empty query took.
    pub latency_us: Option<u64>,
    /// Whether row-level security keeps tenants apart, checked on a live connection.
    pub row_level_security: &'static str,
    /// Seconds for which the oldest snapshot has been held.
    pub oldest_snapshot_seconds: Option<u64>,
    /// Transactions that have begun since.
    pub oldest_snapshot_transactions: Option<u64>,
    /// Why the oldest snapshot is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_snapshot_unknown: Option<String>,
}

/// NATS as it is reported.
#[derive(Clone, Debug, Serialize)]
pub struct NatsView {
    /// Whether there is a connection.
    pub connected: bool,
}

/// All logs together.
#[derive(Clone, Debug, Serialize)]
pub struct LogView {
    /// Tenants with events.
    pub tenants: u64,
    /// Events.
    pub events: u64,
}

/// How far something is behind all logs.
#[derive(Clone, Debug, Serialize)]
pub struct LagView {
    /// Tenants that are behind.
    pub behind_tenants: u64,
    /// Events that wait.
    pub behind_events: u64,
    /// Seconds that the oldest of them has waited.
    pub behind_seconds: u64,
    /// Shards that some process works on, of 64.
    pub shards: u64,
    /// Tenants that do not go on although there is nothing wrong with the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stuck_tenants: Option<u64>,
    /// Streams whose events wait because one of them cannot be projected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parked_streams: Option<u64>,
}

impl Report {
    /// Judges the facts.
    pub fn of(facts: Facts) -> Self {
        let reasons = reasons(&facts);
        let Facts { database, isolation, nats, process } = facts;
        let progress = database.progress.as_ref().ok();
        let lag = |lag: &Lag, stuck_tenants, parked_streams| LagView {
            behind_tenants: lag.tenants,
            behind_events: lag.events,
            behind_seconds: lag.oldest.as_secs(),
            shards: lag.shards,
            stuck_tenants,
            parked_streams,
        };
        let snapshot = database.snapshot();
        let server = database.server.as_ref().ok();
        let micros = |latency: Duration| u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        Self {
            status: reasons.iter().map(|reason| reason.status).max().unwrap_or(Status::Ok),
            version: env!("CARGO_PKG_VERSION"),
            postgresql: PostgresqlView {
                reachable: server.is_some(),
                version: server.map(|server| server.version.clone()),
                latency_us: server.map(|server| micros(server.latency)),
                row_level_security: match (&isolation, server) {
                    (Ok(()), _) => "ok",
                    (Err(_), Some(_)) => "failing",
                    (Err(_), None) => "unknown",
                },
                oldest_snapshot_seconds: snapshot.map(|snapshot| snapshot.age.as_secs()),
                oldest_snapshot_transactions: snapshot.map(|snapshot| snapshot.transactions),
                oldest_snapshot_unknown: match &database.snapshot {
                    Ok(Some(_)) => None,
                    Ok(None) => Some("convolog_monitor is not a member of pg_read_all_stats".to_owned()),
                    Err(error) => Some(error.clone()),
                },
            },
            nats: NatsView { connected: nats.is_ok() },
            log: progress.map(|progress| LogView { tenants: progress.tenants, events: progress.events }),
            relay: progress.map(|progress| lag(&progress.relay, None, None)),
            read_model: progress
                .map(|progress| lag(&progress.read_model, Some(progress.stuck_tenants), Some(progress.parked_streams))),
            reasons,
            process,
        }
    }
}

/// What is not as it should be, worst first.
fn reasons(Facts { database, isolation, nats, process }: &Facts) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let mut say = |status, code, detail: String| reasons.push(Reason { status, code, detail });
    match (&database.server, isolation) {
        (Err(error), _) => {
            say(Status::Failing, "postgresql_unavailable", format!("PostgreSQL does not answer: {error}"));
        }
        (Ok(_), Err(error)) => say(Status::Failing, "isolation", format!("tenants may not be kept apart: {error}")),
        (Ok(_), Ok(())) => {}
    }
    if process.is_some_and(|process| !process.writers_running) {
        say(Status::Failing, "writers_ended", "the writer has ended; commands are refused".to_owned());
    }
    if let Err(error) = nats {
        say(Status::Degraded, "nats_unavailable", format!("NATS is not connected: {error}"));
    }
    match (&database.server, &database.progress) {
        (Ok(_), Err(error)) => say(Status::Degraded, "progress_unknown", format!("progress is not known: {error}")),
        (_, Ok(progress)) => {
            let Progress { relay, read_model, stuck_tenants, parked_streams, .. } = progress;
            for (lag, behind, idle, name) in [
                (relay, "relay_behind", "relay_idle", "the relay"),
                (read_model, "read_model_behind", "read_model_idle", "the projector"),
            ] {
                if lag.oldest > BEHIND_LIMIT {
                    let Lag { tenants, events, .. } = lag;
                    let seconds = lag.oldest.as_secs();
                    let detail = format!("{name} is {seconds} s behind: {events} events of {tenants} tenants");
                    say(Status::Degraded, behind, detail);
                }
                let idle_shards = u64::from(SHARDS).saturating_sub(lag.shards);
                if idle_shards > 0 {
                    say(Status::Degraded, idle, format!("{name} works on no process for {idle_shards} shards"));
                }
            }
            if *stuck_tenants > 0 {
                let detail = format!("the read tables of {stuck_tenants} tenants do not go on");
                say(Status::Degraded, "tenants_stuck", detail);
            }
            if *parked_streams > 0 {
                let detail = format!("{parked_streams} streams are parked: see `convolog dead-letters list`");
                say(Status::Degraded, "dead_letters", detail);
            }
        }
        (Err(_), Err(_)) => {}
    }
    if let Some(snapshot) = database.snapshot().filter(|snapshot| snapshot.age > SNAPSHOT_LIMIT) {
        let detail = format!("a transaction is {} s old and slows appends down", snapshot.age.as_secs());
        say(Status::Degraded, "old_snapshot", detail);
    }
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.status));
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fine() -> Facts {
        let lag = Lag { tenants: 0, events: 0, oldest: Duration::ZERO, shards: 64 };
        let progress =
            Progress { tenants: 3, events: 9, relay: lag, read_model: lag, stuck_tenants: 0, parked_streams: 0 };
        let database = DatabaseFacts {
            server: Ok(Server { version: "18.4".into(), latency: Duration::from_micros(300) }),
            progress: Ok(progress),
            snapshot: Ok(Some(Snapshot { age: Duration::from_secs(1), transactions: 5 })),
        };
        let pool = PoolUse { idle: 1, in_use: 0, max: 8 };
        let process = Some(ProcessFacts { writers_running: true, waiting_commands: 0, pool });
        Facts { database: Arc::new(database), isolation: Ok(()), nats: Ok(()), process }
    }

    /// The status and the codes after a change.
    fn judged(change: impl FnOnce(&mut DatabaseFacts, &mut Progress)) -> (Status, Vec<&'static str>) {
        let mut facts = fine();
        let mut database = facts.database.as_ref().clone();
        let mut progress = database.progress.clone().unwrap();
        database.progress = Err("unset".into());
        change(&mut database, &mut progress);
        if database.progress == Err("unset".into()) {
            database.progress = Ok(progress);
        }
        facts.database = Arc::new(database);
        let report = Report::of(facts);
        (report.status, report.reasons.iter().map(|reason| reason.code).collect())
    }

    #[test]
    fn all_is_well() {
        assert_eq!(judged(|_, _| {}), (Status::Ok, vec![]));
        assert_eq!(judged(|database, _| database.snapshot = Ok(None)), (Status::Ok, vec![]));
        assert_eq!(judged(|_, progress| progress.relay.oldest = BEHIND_LIMIT), (Status::Ok, vec![]));
    }

    #[test]
    fn what_is_behind_or_idle_is_a_reason() {
        let late = BEHIND_LIMIT + Duration::from_millis(1);
        for (found, code) in [
            (judged(|_, progress| progress.relay.oldest = late), "relay_behind"),
            (judged(|_, progress| progress.read_model.oldest = late), "read_model_behind"),
            (judged(|_, progress| progress.relay.shards = 63), "relay_idle"),
            (judged(|_, progress| progress.read_model.shards = 0), "read_model_idle"),
            (judged(|_, progress| progress.stuck_tenants = 1), "tenants_stuck"),
            (judged(|_, progress| progress.parked_streams = 1), "dead_letters"),
            (judged(|database, _| database.progress = Err("slow".into())), "progress_unknown"),
            (
                judged(|database, _| {
                    let age = SNAPSHOT_LIMIT + Duration::from_millis(1);
                    database.snapshot = Ok(Some(Snapshot { age, transactions: 1 }));
                }),
                "old_snapshot",
            ),
        ] {
            assert_eq!(found, (Status::Degraded, vec![code]));
        }
    }

    #[test]
    fn without_postgresql_isolation_or_a_writer_it_fails_and_says_so_first() {
        let codes = |facts: Facts| {
            let report = Report::of(facts);
            assert_eq!(report.status, Status::Failing);
            report.reasons.iter().map(|reason| reason.code).collect::<Vec<_>>()
        };
        let gone = DatabaseFacts::unreachable("gone".into());
        let (isolation, nats) = (Err("gone".to_owned()), Err("gone".to_owned()));
        assert_eq!(
            codes(Facts { database: gone, isolation, nats, ..fine() }),
            ["postgresql_unavailable", "nats_unavailable"]
        );
        assert_eq!(codes(Facts { isolation: Err("a leak".into()), ..fine() }), ["isolation"]);
        let mut dead = fine();
        dead.process.as_mut().unwrap().writers_running = false;
        dead.nats = Err("gone".into());
        assert_eq!(codes(dead), ["writers_ended", "nats_unavailable"]);
    }
}
