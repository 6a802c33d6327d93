//! Which accounts an e-mail address has, across tenants: what log-in needs before a tenant is known.

use domain::tenant::{Plan, Role};
use domain::{Email, TenantId, UserId};
use sqlx::Row as _;

use crate::{ApiDatabase, Error, TenantTx};

/// Most accounts of one address that a log-in looks at; whoever has more names the tenant.
pub const MAX_ACCOUNTS_PER_EMAIL: i32 = 8;

/// A user of a tenant with what proves who they are.
pub struct Account {
    /// The tenant.
    pub tenant: TenantId,
    /// Its name.
    pub tenant_name: String,
    /// What it pays for.
    pub plan: Plan,
    /// The user.
    pub user: UserId,
    /// Their name.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// Argon2id as a PHC string.
    pub password_hash: String,
}

/// The accounts of an address, of one tenant or of all, oldest tenant first, at most [`MAX_ACCOUNTS_PER_EMAIL`].
pub async fn accounts_by_email(
    database: &ApiDatabase,
    email: &Email,
    tenant: Option<TenantId>,
) -> Result<Vec<Account>, Error> {
    let _waiting = database.room_to_wait()?;
    let rows = sqlx::query(
        "select tenant_id, tenant_name, user_id, name, role, password_hash, plan from accounts_by_email($1, $2, $3)",
    )
    .bind(email.as_str())
    .bind(tenant.map(|tenant| tenant.0))
    .bind(MAX_ACCOUNTS_PER_EMAIL)
    .fetch_all(&database.pool)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Account {
                tenant: TenantId(row.try_get("tenant_id")?),
                tenant_name: row.try_get("tenant_name")?,
                user: UserId(row.try_get("user_id")?),
                name: row.try_get("name")?,
                // The columns have CHECKs over the same names.
                plan: Plan::parse(row.try_get("plan")?).unwrap_or_default(),
                role: Role::parse(row.try_get("role")?).unwrap_or(Role::Member),
                password_hash: row.try_get("password_hash")?,
            })
        })
        .collect()
}

/// The name of a tenant, if there is one of this id.
pub async fn tenant_name(database: &ApiDatabase, tenant: TenantId) -> Result<Option<String>, Error> {
    let mut tx = TenantTx::begin_with(database, tenant, "begin read only").await?;
    let query = sqlx::query_scalar("select name from tenants where tenant_id = $1").bind(tenant.0);
    Ok(query.fetch_optional(tx.connection()).await?)
}
