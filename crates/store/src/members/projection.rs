//! The inline projections: events of the tenant's stream as rows of `tenants` and `users`.

use chrono::{DateTime, Utc};
use domain::tenant::{Added, Event};

use crate::{Error, TenantTx};

/// Writes what the events say; they follow version `after`.
pub(super) async fn project(tx: &mut TenantTx, after: u64, at: DateTime<Utc>, events: &[Event]) -> Result<(), Error> {
    for (version, event) in (after + 1..).zip(events) {
        project_one(tx, version.cast_signed(), at, event).await?;
    }
    Ok(())
}

async fn project_one(tx: &mut TenantTx, version: i64, at: DateTime<Utc>, event: &Event) -> Result<(), Error> {
    let tenant = tx.tenant().0;
    let query = match event {
        Event::TenantRegistered(registered) => {
            sqlx::query("insert into tenants (tenant_id, version, created_at, name, plan) values ($1, $2, $3, $4, $5)")
                .bind(tenant)
                .bind(version)
                .bind(at)
                .bind(&registered.name)
                .bind(registered.plan.as_str())
        }
        Event::TenantRenamed(renamed) => sqlx::query("update tenants set version = $2, name = $3 where tenant_id = $1")
            .bind(tenant)
            .bind(version)
            .bind(&renamed.name),
        Event::PlanChanged(changed) => sqlx::query("update tenants set version = $2, plan = $3 where tenant_id = $1")
            .bind(tenant)
            .bind(version)
            .bind(changed.plan.as_str()),
        Event::SettingsChanged(changed) => {
            let settings = serde_json::to_string(&changed.settings).map_err(Error::Encode)?;
            sqlx::query("update tenants set version = $2, settings = $3::json where tenant_id = $1")
                .bind(tenant)
                .bind(version)
                .bind(settings)
        }
        Event::BillingChanged(billing) => sqlx::query(
            "update tenants set version = $2, stripe_customer_id = $3, stripe_subscription_id = $4 where tenant_id = $1",
        )
        .bind(tenant)
        .bind(version)
        .bind(&billing.stripe_customer_id)
        .bind(&billing.stripe_subscription_id),
        Event::UserAdded(added) | Event::UserInvited(added) => {
            let Added { user_id, email, name, role } = added;
            sqlx::query(
                "insert into users (tenant_id, version, joined, created_at, name, id, email, role)
                 values ($1, $2, $2, $3, $4, $5, $6, $7)",
            )
            .bind(tenant)
            .bind(version)
            .bind(at)
            .bind(name)
            .bind(user_id.0)
            .bind(email.as_str())
            .bind(role.as_str())
        }
        Event::UserRoleChanged(changed) => {
            sqlx::query("update users set version = $2, role = $4 where tenant_id = $1 and id = $3")
                .bind(tenant)
                .bind(version)
                .bind(changed.user_id.0)
                .bind(changed.role.as_str())
        }
        Event::UserProfileChanged(changed) => {
            sqlx::query("update users set version = $2, name = $4, avatar_url = $5 where tenant_id = $1 and id = $3")
                .bind(tenant)
                .bind(version)
                .bind(changed.user_id.0)
                .bind(&changed.name)
                .bind(&changed.avatar_url)
        }
        Event::UserRemoved(removed) => {
            sqlx::query("delete from users where tenant_id = $1 and id = $2").bind(tenant).bind(removed.user_id.0)
        }
    };
    query.execute(tx.connection()).await?;
    Ok(())
}
