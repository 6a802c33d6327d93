//! Convolog on PostgreSQL: the tenant log and its writer, tenant-scoped transactions, leases; the only crate that appends.
//!
//! Tenant rows are reached through [`TenantTx`] (one tenant, the API) or [`TenantsTx`] (many tenants, the projector),
//! never through a pool: a query without tenant context cannot be written outside this crate.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at the first surprise"))]

mod accounts;
mod api_keys;
mod claimed;
mod cookie_sign_ins;
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
mod passwords;
mod pool_meter;
mod role_check;
mod sign_ins;
mod signing_keys;
mod tasks;
mod tenant_tx;
mod tenants_tx;

pub use accounts::{Account, MAX_ACCOUNTS_PER_EMAIL, accounts_by_email, tenant_name};
pub use api_keys::{
    ApiKeyRejection, KnownApiKey, MAX_API_KEY_LIFETIME, MAX_API_KEYS, NewApiKey, api_key, create_api_key,
    note_use_of_api_key, revoke_api_key,
};
pub use cookie_sign_ins::{CookieSignIn, cookie_sign_in, extend_cookie_sign_in, renew_cookie};
pub use crash::CrashPoint;
pub use database::{ApiDatabase, ConnectionSettings, ProjectorDatabase, RelayDatabase};
pub use discards::{Discard, DiscardOutcome, discard};
pub use error::{Error, chain};
pub use leases::{Lease, Leases, Work};
pub use log::{CommandContext, ExecuteError, IdempotencyKey, Log, LogSettings, OnCommit, Outcome, Posting, Stop, Unit};
pub use log_reader::{EVENT_COLUMNS, EventPlace, MAX_PAGE_BYTES, event_from_row, place_from_row, select_events_after};
pub use members::{
    Beside, INVITATION_LIFETIME, Invitation, MembersChange, NewTenant, RegisterError, change_members, register_tenant,
};
pub use migrate::{
    Migrated, RoleLogin, RolePasswords, SCHEMA_VERSION, create_database, ensure_database, migrate,
    prepare_cluster_and_database,
};
pub use monitoring::{AGE_SAMPLE, Lag, Progress, STUCK_AFTER, Server, Snapshot};
pub use passwords::{
    PasswordChange, PasswordChanged, PasswordHolder, Presented, change_password, invited, password_holder,
    take_up_invitation,
};
pub use pool_meter::{PoolMeter, PoolUse};
pub use role_check::check_role;
pub use sign_ins::{
    Chain, CheckedPassword, Judgement, MAX_SIGN_INS, Member, NewSignIn, SIGN_IN_CAP, SIGN_IN_LIFETIME, TokenHash,
    Which, end_sign_ins, refresh, role_of_sign_in, sign_in,
};
pub use signing_keys::{KeyChange, KeyState, NewKey, StoredKey, change_signing_keys, signing_keys};
pub use tasks::spawn;
pub use tenant_tx::{TenantContext, TenantTx};
pub use tenants_tx::TenantsTx;
