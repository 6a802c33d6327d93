//! What an operator may set, and what is asked of the database on their behalf: seldom, however often they ask.

use std::sync::Arc;
use std::time::Duration;

use store::{PoolMeter, chain};

use crate::{cached::Cached, operator::OperatorToken, report::DatabaseFacts, spans::OnAnswer, state::Api};

/// How long the answer of a self-check is given out again: anybody may ask `/health/ready` as often as they like.
pub const SELF_CHECK_LIFETIME: Duration = Duration::from_secs(2);
/// How long what PostgreSQL says about all tenants is given out again: asking costs time for each tenant.
pub const DATABASE_FACTS_LIFETIME: Duration = Duration::from_secs(5);
/// Longest self-check.
const SELF_CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// What concerns operators alone.
#[derive(Clone, Debug)]
pub struct Operations {
    /// Opens `/metrics` and `/health` to whoever has it; without it they are for this machine alone.
    pub token: Option<OperatorToken>,
    /// Writes all that was counted, for Prometheus.
    pub render: fn() -> String,
    /// Takes the span of every request, for a collector of traces.
    pub on_answer: Option<OnAnswer>,
    /// The pools of this process.
    pub pools: Vec<PoolMeter>,
    /// [`SELF_CHECK_LIFETIME`], or less in tests.
    pub self_check_lifetime: Duration,
}

impl Default for Operations {
    fn default() -> Self {
        Self {
            token: None,
            render: String::new,
            on_answer: None,
            pools: Vec::new(),
            self_check_lifetime: SELF_CHECK_LIFETIME,
        }
    }
}

/// The answers that are kept.
pub(crate) struct Answers {
    self_check: Cached<Result<(), String>>,
    database: Cached<Arc<DatabaseFacts>>,
}

impl Answers {
    pub(crate) fn new(operations: &Operations) -> Self {
        let self_check = Cached::new(operations.self_check_lifetime);
        Self { self_check, database: Cached::new(DATABASE_FACTS_LIFETIME) }
    }
}

impl Api {
    /// Whether tenants are kept apart, as of [`SELF_CHECK_LIFETIME`] ago at the most.
    pub(crate) async fn self_check(&self) -> Result<(), String> {
        let database = self.inner.database.clone();
        let check = move || async move {
            match tokio::time::timeout(SELF_CHECK_TIMEOUT, database.self_check()).await {
                Ok(checked) => checked.map_err(|error| chain(&error)),
                Err(_elapsed) => Err("PostgreSQL did not answer in time".to_owned()),
            }
        };
        self.inner.answers.self_check.get(check).await.unwrap_or_else(|| Err("the check has failed".to_owned()))
    }

    /// What PostgreSQL says about all tenants, as of [`DATABASE_FACTS_LIFETIME`] ago at the most.
    pub(crate) async fn database_facts(&self) -> Arc<DatabaseFacts> {
        let database = self.inner.database.clone();
        let facts = self.inner.answers.database.get(move || DatabaseFacts::ask(database)).await;
        facts.unwrap_or_else(|| DatabaseFacts::unreachable("the question has failed".to_owned()))
    }
}
