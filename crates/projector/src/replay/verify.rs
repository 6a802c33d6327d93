//! Compares the read tables with what the log says, row by row, and changes nothing.

use std::collections::BTreeMap;

use domain::TenantId;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row as _};
use store::TenantsTx;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::patience::{Patience, patiently};
use super::run::{self, Purpose, Swapped};
use super::statements::{Statements, compare_from_here};
use super::swap::{Slice, Walk, Whose};
use super::{Failure, Replay, TenantState};
use crate::apply::write_rows;
use crate::catch_up::read_after;
use crate::dead_letters::Skips;
use crate::logged::Logged;
use crate::{Error, READ_MODEL, read_model_version};

/// A row that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Whose.
    pub tenant: TenantId,
    /// Of which table.
    pub table: &'static str,
    /// The values of the table's key after the tenant.
    pub key: Vec<(String, Option<String>)>,
    /// What is there: columns and values as PostgreSQL writes them; `None` when the row is missing.
    pub there: Option<Vec<(String, Option<String>)>>,
    /// What should be; `None` when there should be no such row.
    pub expected: Option<Vec<(String, Option<String>)>>,
}

/// What was compared.
#[derive(Debug, Default)]
pub struct Verified {
    /// Tenants whose rows were compared.
    pub tenants: u64,
    /// Events that they follow from.
    pub events: u64,
    /// Tenants whose rows are another version's, or are not there yet.
    pub other_version: u64,
    /// Rows that differ.
    pub differences: u64,
    /// Tenants whose rows could not be compared.
    pub failures: Vec<Failure>,
}

impl Verified {
    fn tell(&mut self, differences: Vec<Difference>, sink: Sink<'_>) {
        self.differences += differences.len() as u64;
        differences.into_iter().for_each(sink);
    }
}

/// Takes differences as they are found.
pub type Sink<'a> = &'a mut (dyn FnMut(Difference) + Send);

impl Replay {
    /// Compares these tenants' rows, short logs together; each at the number that its checkpoint has then.
    pub async fn verify(
        &self,
        states: &[TenantState],
        sink: Sink<'_>,
        stop: &CancellationToken,
    ) -> Result<Verified, Error> {
        patiently(|| self.tidy(states)).await?;
        let mut verified = Verified::default();
        let length = |state: &TenantState| state.checkpoint.map_or(0, |(seq, _)| seq);
        let (short, long): (Vec<TenantState>, Vec<_>) =
            states.iter().partition(|state| length(state) <= self.sizes.page);
        let mut alone: Vec<TenantId> = long.iter().map(|state| state.tenant).collect();
        let mut from = 0;
        while from < short.len() && !stop.is_cancelled() {
            let mut events = 0;
            let fits = |state: &&TenantState| {
                events += length(state);
                events <= self.sizes.page
            };
            let many = short[from..].iter().take(self.sizes.tenants).take_while(fits).count().max(1);
            let tenants: Vec<TenantId> = short[from..from + many].iter().map(|state| state.tenant).collect();
            from += many;
            let mut patience = Patience::new();
            alone.extend(loop {
                match self.compare_together(&tenants, &mut verified, sink).await {
                    Ok(too_long) => break too_long,
                    Err(error) if error.is_deterministic() => break tenants,
                    Err(error) => patience.with(error).await?,
                }
            });
        }
        for tenant in alone {
            if stop.is_cancelled() {
                break;
            }
            match self.compare_alone(tenant, &mut verified, sink, stop).await {
                Err(error) if error.is_deterministic() => verified.failures.push(Failure { tenant, error }),
                compared => compared?,
            }
        }
        Ok(verified)
    }

    /// In one snapshot, of which nothing stays; answers those whose log did not fit.
    async fn compare_together(
        &self,
        tenants: &[TenantId],
        verified: &mut Verified,
        sink: Sink<'_>,
    ) -> Result<Vec<TenantId>, Error> {
        let run = Uuid::now_v7();
        let mut tx = TenantsTx::begin_staging_snapshot(&self.database, tenants.iter().copied(), run).await?;
        let found = checkpoints(tx.connection(), tenants).await?;
        let after: Vec<(TenantId, u64)> = found.keys().map(|tenant| (*tenant, 0)).collect();
        let (events, _) = read_after(&mut tx, &after, self.sizes.page * 2).await?;
        let mut last: BTreeMap<TenantId, u64> = BTreeMap::new();
        for event in &events {
            last.insert(event.tenant(), event.seq());
        }
        let whole =
            |tenant: &TenantId| found.get(tenant).is_some_and(|seq| last.get(tenant).copied().unwrap_or(0) >= *seq);
        let up_to = |event: &&Logged| {
            let tenant = event.tenant();
            whole(&tenant) && found.get(&tenant).is_some_and(|seq| event.seq() <= *seq)
        };
        let ats: Vec<(TenantId, u64)> = found.iter().map(|(tenant, seq)| (*tenant, *seq)).collect();
        let skips = Skips::load(&mut tx, &ats).await?;
        write_rows(&mut tx, &skips.read(events.iter().filter(up_to))?).await?;
        compare_from_here(tx.connection()).await?;
        let ids: Vec<Uuid> = found.keys().filter(|tenant| whole(tenant)).map(|tenant| tenant.0).collect();
        let mut differences = Vec::new();
        for it in self.statements.iter() {
            let whose = Whose { tenants: &ids, run };
            differences.extend(compare(tx.connection(), it, whose, &Slice::default()).await?);
        }
        drop(tx);
        verified.tell(differences, sink);
        verified.tenants += ids.len() as u64;
        verified.events += found.iter().filter(|(tenant, _)| whole(tenant)).map(|(_, seq)| seq).sum::<u64>();
        verified.other_version += (tenants.len() - found.len()) as u64;
        Ok(found.keys().filter(|tenant| !whole(tenant)).copied().collect())
    }

    /// Page by page, then slice by slice, each in one snapshot.
    async fn compare_alone(
        &self,
        tenant: TenantId,
        verified: &mut Verified,
        sink: Sink<'_>,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        // Nobody else's: what another process compares must not go meanwhile.
        let run = Uuid::now_v7();
        let compared = self.compare_in_steps(tenant, run, verified, sink, stop).await;
        let discard = || run::discard(&self.database, &self.statements, tenant, run, self.sizes.swap);
        let discarded = patiently(discard).await;
        compared.and(discarded)
    }

    async fn compare_in_steps(
        &self,
        tenant: TenantId,
        run: Uuid,
        verified: &mut Verified,
        sink: Sink<'_>,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let (mut from, mut patience) = (Swapped::default(), Patience::new());
        while !stop.is_cancelled() {
            match self.compare_step(tenant, run, &from).await {
                Ok(Compared::OtherVersion) => {
                    verified.other_version += 1;
                    break;
                }
                Ok(Compared::Outdated) => {
                    run::discard(&self.database, &self.statements, tenant, run, self.sizes.swap).await?;
                }
                Ok(Compared::More(place, differences)) => {
                    verified.tell(differences, sink);
                    (from, patience) = (place, Patience::new());
                }
                Ok(Compared::Whole(events, differences)) => {
                    verified.tell(differences, sink);
                    verified.tenants += 1;
                    verified.events += events;
                    break;
                }
                Err(error) if error.is_deterministic() => return Err(error),
                Err(error) => patience.with(error).await?,
            }
        }
        Ok(())
    }

    /// One transaction: projects a page or, when all events are, compares some slices. How far it has projected is in the
    /// database: a crash of PostgreSQL, which takes the staged rows, has it project anew.
    async fn compare_step(&self, tenant: TenantId, run: Uuid, from: &Swapped) -> Result<Compared, Error> {
        let mut tx = TenantsTx::begin_staging_snapshot(&self.database, [tenant], run).await?;
        let Some(mut progress) = run::load(tx.connection(), tenant, run, true).await? else {
            run::make(tx.connection(), tenant, run, Purpose::Verify).await?;
            tx.commit().await?;
            return Ok(Compared::More(from.clone(), vec![]));
        };
        let Some(checkpoint) = checkpoints(tx.connection(), &[tenant]).await?.get(&tenant).copied() else {
            return Ok(Compared::OtherVersion);
        };
        if run::mended(tx.connection(), tenant).await? != progress.mended {
            return Ok(Compared::Outdated);
        }
        let before = progress.seq;
        progress.seq = run::fill(&mut tx, tenant, before, checkpoint, self.sizes.page).await?;
        let mut differences = Vec::new();
        let mut place = Some(from.clone());
        if progress.seq == checkpoint {
            compare_from_here(tx.connection()).await?;
            let tenants = [tenant.0];
            let whose = Whose { tenants: &tenants, run };
            let mut walk = Walk::from(&self.statements, from, self.sizes.slice, self.sizes.swap);
            while let Some((statements, slice)) = walk.next(tx.connection(), whose).await? {
                differences.extend(compare(tx.connection(), statements, whose, &slice).await?);
            }
            place = walk.place();
        } else if progress.seq == before {
            return Err(Error::LogEnds { checkpoint });
        }
        run::save(tx.connection(), tenant, run, &progress).await?;
        tx.commit().await?;
        Ok(match place {
            Some(place) => Compared::More(place, differences),
            None => Compared::Whole(checkpoint, differences),
        })
    }
}

/// What a transaction of a comparison has come to.
enum Compared {
    /// It goes on from here.
    More(Swapped, Vec<Difference>),
    /// Parked events were projected that the run's rows leave out: they are built anew.
    Outdated,
    /// All rows are compared, which follow from so many events.
    Whole(u64, Vec<Difference>),
    /// The rows are another version's.
    OtherVersion,
}

/// The checkpoints of those whose rows are of this version.
async fn checkpoints(connection: &mut PgConnection, tenants: &[TenantId]) -> Result<BTreeMap<TenantId, u64>, Error> {
    let found: Vec<(Uuid, i64)> = sqlx::query_as(
        "select tenant_id, seq from public.projection_checkpoints
         where tenant_id = any($1) and group_name = $2 and version = $3",
    )
    .bind(tenants.iter().map(|tenant| tenant.0).collect::<Vec<_>>())
    .bind(READ_MODEL)
    .bind(read_model_version())
    .fetch_all(connection)
    .await?;
    Ok(found.into_iter().map(|(tenant, seq)| (TenantId(tenant), seq.cast_unsigned())).collect())
}

type Values = Vec<Option<String>>;

/// The rows of a slice that are only in one of the tables, both halves of a changed row together.
async fn compare(
    connection: &mut PgConnection,
    statements: &Statements,
    whose: Whose<'_>,
    slice: &Slice,
) -> Result<Vec<Difference>, Error> {
    // By the tenant and the values of the key; what is there and what should be.
    let mut rows: BTreeMap<Values, [Option<Values>; 2]> = BTreeMap::new();
    let places: Vec<usize> = std::iter::once("tenant_id")
        .chain(statements.table.key.iter().copied())
        .filter_map(|name| statements.columns.iter().position(|column| column == name))
        .collect();
    for (side, sql) in [&statements.only_read, &statements.only_staged].into_iter().enumerate() {
        let found = sqlx::query(AssertSqlSafe(sql.clone()))
            .bind(whose.tenants)
            .bind(whose.run)
            .bind(slice.after.as_deref())
            .bind(slice.to.as_deref())
            .persistent(false)
            .fetch_all(&mut *connection)
            .await?;
        for row in found {
            let values: Values = row.try_get(0)?;
            let key = places.iter().filter_map(|place| values.get(*place).cloned()).collect();
            rows.entry(key).or_default()[side] = Some(values);
        }
    }
    let named = |values: Values| statements.columns.iter().cloned().zip(values).collect::<Vec<_>>();
    let difference = |(key, [there, expected]): (Values, [Option<Values>; 2])| {
        let tenant = key.first().and_then(|it| it.as_deref()).and_then(|text| text.parse().ok()).map(TenantId);
        Difference {
            tenant: tenant.unwrap_or(TenantId(Uuid::nil())),
            table: statements.table.name,
            key: statements.table.key.iter().map(ToString::to_string).zip(key.into_iter().skip(1)).collect(),
            there: there.map(named),
            expected: expected.map(named),
        }
    };
    Ok(rows.into_iter().map(difference).collect())
}
