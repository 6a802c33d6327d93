//! Costs into a tenant's ledgers, many in one command: those that are there are found by their claims, and only what is
//! new is written.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::ledger::{Event, Recorded, cost_claim};
use domain::{Amount, Currency, EventData as _, RecordedEvent, TenantId};
use store::{ApiDatabase, CommandContext, ExecuteError, Log, TenantContext, TenantTx};
use uuid::Uuid;

use super::Row;
use crate::import::line::LineError;
use crate::import::{CHANGED, importer};

/// How often a batch is looked through again because somebody else has recorded one of its costs meanwhile.
const MAX_ROUNDS: usize = 10;
/// How often a batch is put off because the database is busy, and for how long each time.
const MAX_WAITS: usize = 60;
/// See [`MAX_WAITS`].
const WAIT: Duration = Duration::from_millis(500);

/// Where costs go.
#[derive(Clone)]
pub struct Ledger {
    database: ApiDatabase,
    log: Log,
    caller: TenantContext,
    run: Uuid,
}

/// What became of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The row's number in its file.
    pub number: u64,
    /// Its amount, unless it is unpriced.
    pub amount: Option<(Amount, Currency)>,
    /// Whether it is in the ledger now.
    pub fate: Result<Fate, LineError>,
}

/// How a cost came to be in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is new; the number of the last event of its batch.
    New(u64),
    /// It was there before.
    There,
}

/// A cost on its way.
struct Pending {
    settled: Settled,
    occurred_at: DateTime<Utc>,
    recorded: Recorded,
    /// Whether nothing has become of it yet.
    open: bool,
    /// The row of the same batch that is the same cost.
    twin: Option<usize>,
}

impl Ledger {
    /// Of a tenant; `run` is the correlation id of all that is recorded.
    pub fn new(database: ApiDatabase, log: Log, tenant: TenantId, run: Uuid) -> Self {
        Self { database, log, caller: importer(tenant), run }
    }

    /// Records what is not there yet of these rows.
    ///
    /// # Errors
    /// When the store fails; some of them may be recorded then, and will be found the next time.
    pub async fn record(&self, rows: Vec<(u64, Row)>) -> Result<Vec<Settled>, store::Error> {
        let mut pending = self.pending(rows);
        let (mut rounds, mut waits) = (0, 0);
        while rounds < MAX_ROUNDS && pending.iter().any(|cost| cost.open) {
            match self.record_open(&mut pending).await {
                Ok(()) => rounds += 1,
                // Nothing was done, and an import has time: others go first.
                Err(store::Error::Overloaded) if waits < MAX_WAITS => {
                    waits += 1;
                    tokio::time::sleep(WAIT).await;
                }
                Err(error) => return Err(error),
            }
        }
        let fates: Vec<_> = pending.iter().map(|cost| cost.settled.fate.clone()).collect();
        let settled = pending.into_iter().map(|Pending { settled, twin, .. }| match twin.map(|at| fates[at].clone()) {
            None => settled,
            Some(fate) => Settled { fate: fate.map(|_| Fate::There), ..settled },
        });
        Ok(settled.collect())
    }

    /// Finds or appends those that are open; they stay so when somebody else has just recorded one of them.
    async fn record_open(&self, pending: &mut [Pending]) -> Result<(), store::Error> {
        self.find_those_there(pending).await?;
        let new = pending.iter().filter(|cost| cost.open);
        let new: Vec<_> = new.map(|cost| (cost.occurred_at, cost.recorded.clone())).collect();
        if new.is_empty() {
            return Ok(());
        }
        if let Some(seq) = self.append(new).await? {
            for cost in pending.iter_mut().filter(|cost| cost.open) {
                (cost.open, cost.settled.fate) = (false, Ok(Fate::New(seq)));
            }
        }
        Ok(())
    }

    /// The rows as costs, of which each id is open once.
    fn pending(&self, rows: Vec<(u64, Row)>) -> Vec<Pending> {
        let mut places: HashMap<Uuid, usize> = HashMap::with_capacity(rows.len());
        let mut all: Vec<Pending> = Vec::with_capacity(rows.len());
        for (number, row) in rows {
            let (occurred_at, recorded) = (row.occurred_at, row.recorded(self.caller.tenant()));
            let first = *places.entry(recorded.cost_id).or_insert(all.len());
            let (open, twin, fate) = match all.get(first) {
                None => (true, None, LineError::whole("id_taken", "others keep recording costs of the same ids")),
                Some(other) if (other.occurred_at, &other.recorded) == (occurred_at, &recorded) => {
                    (false, Some(first), changed())
                }
                Some(_) => (false, None, changed()),
            };
            let amount = recorded.charge.amount.zip(recorded.charge.currency);
            all.push(Pending {
                settled: Settled { number, amount, fate: Err(fate) },
                occurred_at,
                recorded,
                open,
                twin,
            });
        }
        all
    }

    async fn find_those_there(&self, pending: &mut [Pending]) -> Result<(), store::Error> {
        let claims: Vec<String> =
            pending.iter().filter(|cost| cost.open).map(|cost| cost_claim(cost.recorded.cost_id)).collect();
        let mut tx = TenantTx::begin(&self.database, &self.caller).await?;
        let taken = tx.taken(&claims).await?;
        tx.commit().await?;
        for cost in pending.iter_mut().filter(|cost| cost.open) {
            if let Some(event) = taken.get(&cost_claim(cost.recorded.cost_id)) {
                let same = is_same(event, cost);
                (cost.open, cost.settled.fate) = (false, if same { Ok(Fate::There) } else { Err(changed()) });
            }
        }
        Ok(())
    }

    /// The number of the last event; `None` when one of them has just been recorded by somebody else.
    async fn append(&self, costs: Vec<(DateTime<Utc>, Recorded)>) -> Result<Option<u64>, store::Error> {
        let at = costs.iter().map(|(time, _)| *time).max().unwrap_or_default();
        let context = CommandContext::new(self.caller, self.run, at);
        let outcome = self.log.execute(context, move |unit| {
            for (occurred_at, cost) in &costs {
                unit.record_cost::<()>(*occurred_at, cost.clone())?;
            }
            Ok(())
        });
        match outcome.await {
            Ok(outcome) => Ok(Some(outcome.seq)),
            Err(ExecuteError::Store(error)) => Err(error),
            // There is no key and nothing to reject.
            Err(ExecuteError::Claimed(_) | ExecuteError::KeyReused | ExecuteError::Rejected(())) => Ok(None),
        }
    }
}

fn changed() -> LineError {
    LineError::whole(CHANGED, "a cost of this id is in the ledger with another content")
}

fn is_same(event: &RecordedEvent, cost: &Pending) -> bool {
    let decoded = Event::decode(&event.name, event.schema, &event.data);
    let Ok(Event::CostRecorded(recorded)) = decoded else { return false };
    event.occurred_at == cost.occurred_at && recorded == cost.recorded
}
