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
    /// How long a lease lasts unless it is renewed.
    pub const DURATION: Duration = Duration::from_secs(8);
    /// How often a holder renews.
    pub const RENEWAL: Duration = Duration::from_secs(2);

    /// Leases for `work`, taken in the name of `holder`: a name that no other running process has. A process that
    /// comes back under its old name gets its leases back at once, with a new epoch.
    pub fn new(pool: PgPool, work: Work, holder: String) -> Self {
        Self { pool, work, holder }
    }

    /// Takes every shard that is free, expired, or was ours before this process started.
    pub async fn acquire(&self) -> Result<Vec<Lease>, Error> {
        // In shard order, so that two who acquire at once do not deadlock.
        self.fetch(
            "update leases set holder = $2, epoch = epoch + 1, expires_at = clock_timestamp() + $3 * interval '1 second'
             where work = $1 and shard in (
               select shard from leases where work = $1 and (expires_at < clock_timestamp() or holder = $2)
               order by shard for update)
             returning shard, epoch",
        )
        .await
    }

    /// Prolongs what we hold and takes what has expired since; answers all that we hold.
    pub async fn renew(&self) -> Result<Vec<Lease>, Error> {
        self.fetch(
            "update leases set epoch = case when holder = $2 then epoch else epoch + 1 end, holder = $2,
               expires_at = clock_timestamp() + $3 * interval '1 second'
             where work = $1 and shard in (
               select shard from leases where work = $1 and (holder = $2 or expires_at < clock_timestamp())
               order by shard for update)
             returning shard, epoch",
        )
        .await
    }

    /// Gives all of them back, so that another process can take over at once.
    pub async fn release(&self) -> Result<(), Error> {
        sqlx::query("update leases set expires_at = '-infinity', holder = '' where work = $1 and holder = $2")
            .bind(self.work.as_str())
            .bind(&self.holder)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn fetch(&self, sql: &'static str) -> Result<Vec<Lease>, Error> {
        let mut rows: Vec<(i16, i64)> = sqlx::query_as(sql)
            .bind(self.work.as_str())
            .bind(&self.holder)
            .bind(i32::try_from(Self::DURATION.as_secs()).unwrap_or(i32::MAX))
            .fetch_all(&self.pool)
            .await?;
        rows.sort_unstable();
        let lease = |(shard, epoch)| Some(Lease { shard: Shard::new(u8::try_from(shard).ok()?)?, epoch });
        Ok(rows.into_iter().filter_map(lease).collect())
    }
}
