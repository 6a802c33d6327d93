//! Leases on shards: which process works on them, with an epoch that fences out whoever held them before.

use std::time::Duration;

use domain::Shard;
use sqlx::PgPool;

use crate::Error;

/// A kind of work that is shared shard by shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Publishing events on NATS.
    Relay,
    /// Projecting the group `read_model`.
    ReadModel,
}

impl Work {
    /// Its name in the table `leases`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::ReadModel => "read_model",
        }
    }
}

/// The right to work on one shard until it expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The shard.
    pub shard: Shard,
    /// Grows with every change of holder.
    pub epoch: i64,
}

/// The leases of one holder.
#[derive(Clone, Debug)]
pub struct Leases {
    pool: PgPool,
    work: Work,
    holder: String,
}

impl Leases {
    /// How long a lease lasts unless it is renewed: another process takes over that much, and a renewal, after one has died.
    pub const DURATION: Duration = Duration::from_secs(6);
    /// How often a holder renews. So long it also takes until a process that has come or gone changes the others' shares.
    pub const RENEWAL: Duration = Duration::from_secs(1);

    /// Leases for `work`, taken in the name of `holder`: a name that no other running process has. A process that
    /// comes back under its old name gets its leases back at once, with a new epoch.
    pub fn new(pool: PgPool, work: Work, holder: String) -> Self {
        Self { pool, work, holder }
    }

    /// Takes its share of what is free, and what was ours before this process started.
    pub async fn acquire(&self) -> Result<Vec<Lease>, Error> {
        self.hold(true).await
    }

    /// Prolongs what we hold, up to our share; gives the rest back, or takes what is missing of it and free. Answers all that
    /// we hold.
    pub async fn renew(&self) -> Result<Vec<Lease>, Error> {
        self.hold(false).await
    }

    /// Gives all of them back, so that others can take over at once.
    pub async fn release(&self) -> Result<(), Error> {
        sqlx::query("select release_leases($1, $2)")
            .bind(self.work.as_str())
            .bind(&self.holder)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn hold(&self, anew: bool) -> Result<Vec<Lease>, Error> {
        let rows: Vec<(i16, i64)> = sqlx::query_as("select held_shard, held_epoch from hold_leases($1, $2, $3, $4)")
            .bind(self.work.as_str())
            .bind(&self.holder)
            .bind(i32::try_from(Self::DURATION.as_secs()).unwrap_or(i32::MAX))
            .bind(anew)
            .fetch_all(&self.pool)
            .await?;
        let lease = |(shard, epoch)| Some(Lease { shard: Shard::new(u8::try_from(shard).ok()?)?, epoch });
        Ok(rows.into_iter().filter_map(lease).collect())
    }
}
