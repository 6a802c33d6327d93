//! Ledgers as a test wants them: events of any time, appended as the API's own log appends them, without its checks.

use chrono::{DateTime, Utc};
use domain::ledger::{Charge, Event, Recorded, Service, Usage, Voided, cost_claim, void_claim};
use domain::{Actor, ActorKind, Category, Currency, Period, TenantId};
use store::{CommandContext, Log, Posting, TenantContext};
use tests::{User, World};
use uuid::Uuid;

/// What happens in a ledger, and when.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) occurred_at: DateTime<Utc>,
    pub(crate) event: Event,
}

/// A cost that may be recorded and voided.
#[derive(Clone, Debug)]
pub(crate) struct Cost {
    pub(crate) id: Uuid,
    pub(crate) occurred_at: DateTime<Utc>,
    pub(crate) charge: Charge,
}

/// A cost of one provider and model.
pub(crate) fn cost(occurred_at: &str, amount: Option<&str>, currency: Option<&str>) -> Cost {
    let charge = Charge {
        service: Service::Llm,
        provider: "openai".into(),
        model: Some("gpt-4o".into()),
        usage: vec![],
        amount: amount.map(|amount| amount.parse().unwrap()),
        currency: currency.map(|currency| Currency::parse(currency).unwrap()),
        session_id: None,
        message_id: None,
        meeting_id: None,
    };
    Cost { id: Uuid::now_v7(), occurred_at: occurred_at.parse().unwrap(), charge }
}

impl Cost {
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Charge)) -> Self {
        change(&mut self.charge);
        self
    }

    pub(crate) fn using(self, lines: &[(&str, &str, &str)]) -> Self {
        let line = |(r#type, quantity, unit): &(&str, &str, &str)| Usage {
            r#type: (*r#type).into(),
            quantity: quantity.parse().unwrap(),
            unit: (*unit).into(),
        };
        self.with(|charge| charge.usage = lines.iter().map(line).collect())
    }

    fn period(&self) -> Period {
        Period::of(self.occurred_at).unwrap()
    }

    /// As it is recorded.
    pub(crate) fn recorded(self) -> Entry {
        let recorded = Recorded { cost_id: self.id, period: self.period(), charge: self.charge, metadata: None };
        Entry { occurred_at: self.occurred_at, event: Event::CostRecorded(recorded) }
    }

    /// As it is voided.
    pub(crate) fn voided(self, at: &str) -> Entry {
        let voided = Voided {
            cost_id: self.id,
            stream: self.period().ledger(),
            period: self.period(),
            occurred_at: self.occurred_at,
            charge: self.charge,
            reason: Some("a mistake".into()),
        };
        Entry { occurred_at: at.parse().unwrap(), event: Event::CostVoided(voided) }
    }
}

/// A node's log.
pub(crate) struct Ledger(Log);

impl Ledger {
    pub(crate) fn of(world: &World) -> Self {
        Self(world.nodes[0].write_side().unwrap().1.clone())
    }

    /// Appends these events to their ledgers in one command; answers the number of the last one.
    pub(crate) async fn append(&self, user: &User, entries: Vec<Entry>) -> u64 {
        self.try_append(user, entries).await.unwrap()
    }

    /// The same; an error when an id is taken.
    pub(crate) async fn try_append(&self, user: &User, entries: Vec<Entry>) -> Result<u64, String> {
        let tenant = TenantId(user.tenant);
        let context = CommandContext::new(
            TenantContext::authenticated(tenant, Actor { kind: ActorKind::User, id: user.id }),
            Uuid::now_v7(),
            Utc::now(),
        );
        let outcome = self.0.execute::<(), String, _>(context, move |unit| {
            for entry in &entries {
                let (claim, period) = match &entry.event {
                    Event::CostRecorded(recorded) => (cost_claim(recorded.cost_id), recorded.period),
                    Event::CostVoided(voided) => (void_claim(voided.cost_id), voided.period),
                };
                unit.claim(claim);
                let posting = Posting { id: Uuid::now_v7(), occurred_at: entry.occurred_at, event: &entry.event };
                unit.record(Category::Ledger, period.stream(tenant), &posting)?;
            }
            Ok(())
        });
        outcome.await.map(|outcome| outcome.seq).map_err(|error| format!("{error:?}"))
    }
}
