//! Which tenant a tool is about: named by its id, or by the address of a user who belongs to no other.

use domain::{Email, TenantId};
use store::{ApiDatabase, accounts_by_email, tenant_name};
use uuid::Uuid;

use super::Failure;

/// The tenant that was named, and its name; `None` when none was.
pub(super) async fn choose(
    database: &ApiDatabase,
    tenant: Option<Uuid>,
    email: Option<&str>,
) -> Result<Option<(TenantId, String)>, Failure> {
    if let Some(tenant) = tenant.map(TenantId) {
        let name = tenant_name(database, tenant).await?;
        return name.map(|name| Some((tenant, name))).ok_or_else(|| unknown(tenant));
    }
    let Some(email) = email else { return Ok(None) };
    let email = Email::parse(email).map_err(|error| Failure::usage(format!("--email {email}: {error}")))?;
    let mut accounts = accounts_by_email(database, &email, None).await?;
    match (accounts.pop(), accounts.is_empty()) {
        (None, _) => Err(Failure::usage(format!("nobody with the address {email} belongs to a tenant"))),
        (Some(only), true) => Ok(Some((only.tenant, only.tenant_name))),
        (Some(last), false) => {
            accounts.push(last);
            let choices =
                accounts.iter().map(|account| format!("\n  --tenant {}  {}", account.tenant, account.tenant_name));
            Err(Failure::usage(format!(
                "{email} belongs to several tenants, choose one:{}",
                choices.collect::<String>()
            )))
        }
    }
}

/// There is no such tenant.
pub(super) fn unknown(tenant: TenantId) -> Failure {
    Failure::usage(format!("there is no tenant {tenant}"))
}
