//! How full a pool is, asked when somebody looks: counting at every borrow would cost more and say less.

use metrics::{Gauge, describe_gauge, gauge};
use sqlx::PgPool;

/// The gauges of one role's pool.
#[derive(Clone, Debug)]
pub struct PoolMeter {
    pool: PgPool,
    idle: Gauge,
    in_use: Gauge,
    most: Gauge,
}

/// What a pool has at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolUse {
    /// Connections that nobody uses.
    pub idle: u32,
    /// Connections that are lent out, or being made.
    pub in_use: u32,
    /// Most connections it makes.
    pub max: u32,
}

impl PoolUse {
    pub(crate) fn of(pool: &PgPool) -> Self {
        let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
        Self { idle, in_use: pool.size().saturating_sub(idle), max: pool.options().get_max_connections() }
    }
}

impl PoolMeter {
    pub(crate) fn new(role: &'static str, pool: PgPool) -> Self {
        describe_gauge!("convolog_pool_connections", "Connections to PostgreSQL, by the role's pool and their state");
        describe_gauge!("convolog_pool_max_connections", "Most connections that the role's pool makes");
        let connections = |state: &'static str| gauge!("convolog_pool_connections", "role" => role, "state" => state);
        let most = gauge!("convolog_pool_max_connections", "role" => role);
        Self { pool, idle: connections("idle"), in_use: connections("in_use"), most }
    }

    /// Sets the gauges to what is so now.
    pub fn observe(&self) {
        let PoolUse { idle, in_use, max } = PoolUse::of(&self.pool);
        self.idle.set(idle);
        self.in_use.set(in_use);
        self.most.set(max);
    }
}
