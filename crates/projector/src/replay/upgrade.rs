//! Rebuilds the rows that an older version of the group has written, a bounded number of transactions at a time.

use std::collections::HashMap;

use domain::TenantId;
use store::ProjectorDatabase;
use tokio::sync::OnceCell;

use super::long::{Long, Right, Stepped};
use super::statements::{self, Statements};
use super::{Sizes, batch};
use crate::Error;
use crate::checkpoints::Checkpoint;

/// Transactions for one tenant with a long log before others get their turn.
const STEPS: usize = 4;

/// The projector's own rebuilding.
#[derive(Default)]
pub(crate) struct Upgrade {
    sizes: Sizes,
    statements: OnceCell<Vec<Statements>>,
}

/// What a call has come to.
#[derive(Debug, Default)]
pub(crate) struct Upgraded {
    /// Tenants whose rows are of this version now, and where they are.
    pub(crate) at: HashMap<TenantId, u64>,
    /// Tenants that need more transactions.
    pub(crate) unfinished: Vec<TenantId>,
}

impl Upgrade {
    pub(crate) fn new(sizes: Sizes) -> Self {
        Self { sizes, statements: OnceCell::new() }
    }

    async fn statements(&self, database: &ProjectorDatabase) -> Result<&[Statements], Error> {
        let load = async || {
            let mut tx = store::TenantsTx::begin(database, []).await?;
            statements::load(tx.connection()).await
        };
        Ok(self.statements.get_or_try_init(load).await?)
    }

    /// Rebuilds tenants whose rows are older, as far as the leases of these epochs are ours.
    pub(crate) async fn rebuild(
        &self,
        database: &ProjectorDatabase,
        older: &[(TenantId, Checkpoint)],
        epochs: &HashMap<TenantId, i64>,
    ) -> Result<Upgraded, Error> {
        let mut upgraded = Upgraded::default();
        if older.is_empty() {
            return Ok(upgraded);
        }
        tracing::debug!(tenants = older.len(), "rebuilding the read tables of tenants for a new version");
        let statements = self.statements(database).await?;
        let (mut together, mut alone): (Vec<_>, Vec<_>) =
            older.iter().partition(|(_, checkpoint)| checkpoint.seq <= self.sizes.page);
        while !together.is_empty() {
            let mut events = 0;
            let fits = |(_, checkpoint): &&(TenantId, Checkpoint)| {
                events += checkpoint.seq;
                events <= self.sizes.page
            };
            let many = together.iter().copied().take(self.sizes.tenants).take_while(fits).count().max(1);
            let chosen: Vec<&(TenantId, Checkpoint)> = together.drain(..many).collect();
            let tenants: Vec<TenantId> = chosen.iter().map(|(tenant, _)| *tenant).collect();
            let rights = batch::Rights::Upgrade(epochs);
            match batch::rebuild(database, statements, &tenants, &rights, (self.sizes.page, false)).await {
                Ok(rebuilt) => {
                    upgraded.at.extend(rebuilt.tenants);
                    alone.extend(chosen.iter().filter(|(tenant, _)| rebuilt.too_long.contains(tenant)).copied());
                }
                // One of them spoils it for all, or one event for its tenant.
                Err(error) if error.is_poison() || (error.is_deterministic() && chosen.len() > 1) => {
                    alone.extend(chosen);
                }
                Err(error) => return Err(error),
            }
        }
        for (tenant, checkpoint) in alone {
            let Some(epoch) = epochs.get(tenant) else { continue };
            match self.some_steps(database, statements, *tenant, *epoch).await? {
                Stepped::More(_) | Stepped::Ending(_) => upgraded.unfinished.push(*tenant),
                Stepped::Done => {
                    upgraded.at.insert(*tenant, checkpoint.seq);
                }
                Stepped::NotOurs => {}
            }
        }
        if !upgraded.at.is_empty() {
            tracing::info!(tenants = upgraded.at.len(), "the read tables of tenants are rebuilt for a new version");
        }
        Ok(upgraded)
    }

    async fn some_steps(
        &self,
        database: &ProjectorDatabase,
        statements: &[Statements],
        tenant: TenantId,
        epoch: i64,
    ) -> Result<Stepped, Error> {
        let mut long = Long::new(database, statements, self.sizes, tenant, Right::Upgrade { epoch });
        let mut left = STEPS;
        while left > 0 {
            match long.step().await {
                Ok(Stepped::More(_)) => left -= 1,
                // Whoever comes next sees rows of this version and nothing to do.
                Ok(Stepped::Ending(_)) => {}
                Ok(ended @ (Stepped::Done | Stepped::NotOurs)) => return Ok(ended),
                // To the end: what was learnt of where the event is would be forgotten.
                Err(error) if error.is_poison() => {
                    if !long.give_way(&error).await? {
                        return Err(error);
                    }
                    left = STEPS;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Stepped::More(0))
    }
}
