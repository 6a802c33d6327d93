//! Folds a cold stream's state from its snapshot and the events after it.

use std::any::Any;
use std::sync::Arc;

use domain::{Aggregate, Category, DecodeError, EventData as _, RecordedEvent};
use sqlx::Row as _;
use uuid::Uuid;

use super::cache::{Known, StreamKey};
use crate::log_reader::{EVENT_COLUMNS, event_from_row};
use crate::{ApiDatabase, Error, TenantTx};

/// Events read in one round trip.
const PAGE: i64 = 500;

type State = Arc<dyn Any + Send + Sync>;

/// How the states of one aggregate are made, written and read, without its type.
#[derive(Clone, Copy)]
pub(super) struct Fold {
    pub(super) category: Category,
    pub(super) shape: &'static str,
    initial: fn() -> State,
    from_json: fn(&str) -> Option<State>,
    pub(super) to_json: fn(&State) -> Option<String>,
    evolve: fn(&mut State, &RecordedEvent) -> Result<(), DecodeError>,
}

impl Fold {
    pub(super) fn of<A: Aggregate>() -> Self {
        Self {
            category: A::CATEGORY,
            shape: A::STATE_SHAPE,
            initial: || Arc::new(A::State::default()),
            from_json: |json| Some(Arc::new(serde_json::from_str::<A::State>(json).ok()?)),
            to_json: |state| serde_json::to_string(state.downcast_ref::<A::State>()?).ok(),
            evolve: |state, event| {
                let data = A::Event::decode(&event.name, event.schema, &event.data)?;
                // Freshly made and not shared, so this never clones.
                if let Some(state) = Arc::get_mut(state).and_then(|state| state.downcast_mut::<A::State>()) {
                    A::evolve(state, event.version, &data);
                }
                Ok(())
            },
        }
    }
}

/// The stream as it is committed now; version 0 when it does not exist.
pub(super) async fn load(database: &ApiDatabase, key: StreamKey, fold: Fold) -> Result<Known, Error> {
    let mut tx = TenantTx::begin_with(database, key.tenant, "begin read only").await?;
    let known = load_in(&mut tx, key.stream, fold).await?;
    tx.commit().await?;
    Ok(known)
}

/// The same inside a transaction.
pub(super) async fn load_in(tx: &mut TenantTx, stream: Uuid, fold: Fold) -> Result<Known, Error> {
    let tenant = tx.tenant().0;
    let start = sqlx::query(
        "select h.seq, s.version, s.state::text as state from tenant_heads h
         left join snapshots s on s.tenant_id = h.tenant_id and s.stream_id = $2 and s.shape = $3
         where h.tenant_id = $1",
    )
    .bind(tenant)
    .bind(stream)
    .bind(fold.shape)
    .fetch_optional(tx.connection())
    .await?;
    let mut known = Known { version: 0, as_of: None, category: None, state: (fold.initial)() };
    if let Some(row) = start {
        // Read before the events: whatever comes in between is in the state, too.
        known.as_of = Some(row.try_get::<i64, _>("seq")?.cast_unsigned());
        if let Some(json) = row.try_get("state")?
            && let Some(state) = (fold.from_json)(json)
        {
            known.version = row.try_get::<i64, _>("version")?.cast_unsigned();
            known.category = Some(fold.category);
            known.state = state;
        }
    }
    let sql = events_after();
    loop {
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql.as_str()))
            .bind(tenant)
            .bind(stream)
            .bind(known.version.cast_signed())
            .bind(PAGE)
            .fetch_all(tx.connection())
            .await?;
        for row in &rows {
            let event = event_from_row(row)?;
            known.version = event.version;
            known.category = Category::parse(&event.category);
            if known.category != Some(fold.category) {
                return Ok(known);
            }
            (fold.evolve)(&mut known.state, &event)?;
        }
        if i64::try_from(rows.len()).is_ok_and(|count| count < PAGE) {
            return Ok(known);
        }
    }
}

fn events_after() -> String {
    format!(
        "select {EVENT_COLUMNS} from events e where e.tenant_id = $1 and e.stream_id = $2 and e.version > $3
         order by e.version limit $4"
    )
}
