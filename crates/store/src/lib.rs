//! Convolog on PostgreSQL: the tenant log and its writers, tenant-scoped transactions, leases; the only crate that appends.
//!
//! Tenant rows are reached through [`TenantTx`] (one tenant, the API) or [`TenantsTx`] (many tenants, the projector),
//! never through a pool: a query without tenant context cannot be written outside this crate.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at the first surprise"))]

mod accounts;
mod claimed;
pub mod crash;
mod database;
mod discards;
mod error;
mod leases;
mod log;
mod log_reader;
mod members;
mod migrate;
mod monitoring;
mod pool_meter;
mod role_check;
mod tasks;
mod tenant_tx;
mod tenants_tx;

pub use accounts::{Account, MAX_ACCOUNTS_PER_EMAIL, accounts_by_email, tenant_name};
pub use crash::CrashPoint;
pub use database::{ApiDatabase, ConnectionSettings, ProjectorDatabase, RelayDatabase};
pub use discards::{Discard, DiscardOutcome, discard};
pub use error::{Error, chain};
pub use leases::{Lease, Leases, Work};
pub use log::{CommandContext, ExecuteError, IdempotencyKey, Log, LogSettings, OnCommit, Outcome, Posting, Stop, Unit};
pub use log_reader::{EVENT_COLUMNS, EventPlace, MAX_PAGE_BYTES, event_from_row, place_from_row, select_events_after};
pub use members::{NewTenant, RegisterError, register_tenant};
pub use migrate::{
    Migrated, RoleLogin, RolePasswords, SCHEMA_VERSION, create_database, ensure_database, migrate,
    prepare_cluster_and_database,
};
pub use monitoring::{AGE_SAMPLE, Lag, Progress, STUCK_AFTER, Server, Snapshot};
pub use pool_meter::{PoolMeter, PoolUse};
pub use role_check::check_role;
pub use tasks::spawn;
pub use tenant_tx::{TenantContext, TenantTx};
pub use tenants_tx::TenantsTx;
