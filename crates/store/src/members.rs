//! A tenant's members: registering a tenant with its owner, and the inline projections `tenants` and `users`.

use chrono::{DateTime, Utc};
use domain::tenant::{self, Command, NewUser, Tenant};
use domain::{Aggregate as _, TenantId};
use sqlx::PgConnection;

use crate::log::{Claim, CommandContext, OnCommit, SecondDoor};
use crate::tasks::spawn;
use crate::{ApiDatabase, CrashPoint, Error, TenantTx};

/// A tenant to be founded.
#[derive(Clone, Debug)]
pub struct NewTenant {
    /// Whose log; the caller's tenant is the new one.
    pub context: CommandContext,
    /// The tenant's name.
    pub name: String,
    /// Its first user.
    pub owner: NewUser,
    /// The owner's password, Argon2id as a PHC string.
    pub password_hash: String,
}

/// Founds a tenant: events, read rows and credentials in one transaction, in a task of its own. Answers the number
/// of the last event.
pub async fn register_tenant(
    database: &ApiDatabase,
    on_commit: OnCommit,
    new: NewTenant,
) -> Result<u64, RegisterError> {
    let database = database.clone();
    let registered = spawn("register", async move { register(&database, &on_commit, new).await }).await;
    registered.unwrap_or(Err(RegisterError::Store(Error::OutcomeUnknown)))
}

/// Why a tenant was not founded.
#[derive(Debug)]
pub enum RegisterError {
    /// The decision was no.
    Rejected(tenant::Rejection),
    /// The store could not.
    Store(Error),
}

impl<E: Into<Error>> From<E> for RegisterError {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

async fn register(database: &ApiDatabase, on_commit: &OnCommit, new: NewTenant) -> Result<u64, RegisterError> {
    let tenant = new.context.caller.tenant();
    let owner = new.owner.user_id;
    // Taken by the event of the user, the second one.
    let claims = [Claim { name: tenant::email_claim(&new.owner.email), event: 1 }];
    let command = Command::Register { name: new.name, owner: new.owner };
    let events = Tenant::decide(&tenant::State::default(), command).map_err(RegisterError::Rejected)?;

    let mut tx = TenantTx::begin(database, &new.context.caller).await?;
    sqlx::query("select open_tenant($1)").bind(tenant.0).execute(tx.connection()).await?;
    let seq = match tx.append::<Tenant>(&new.context, tenant.0, 0, &events, &claims).await? {
        SecondDoor::Stored { seq } => seq,
        SecondDoor::Claimed(_) | SecondDoor::Conflict => {
            return Err(RegisterError::Rejected(tenant::Rejection::AlreadyRegistered));
        }
    };
    for (version, event) in (1..).zip(&events) {
        project(tx.connection(), tenant, version, new.context.occurred_at, event).await?;
    }
    sqlx::query("insert into credentials (tenant_id, user_id, password_hash, changed_at) values ($1, $2, $3, $4)")
        .bind(tenant.0)
        .bind(owner.0)
        .bind(&new.password_hash)
        .bind(new.context.occurred_at)
        .execute(tx.connection())
        .await?;
    // From here on nobody knows whether a lost connection took the tenant with it.
    if let Err(error) = tx.commit().await {
        let lost = matches!(error, Error::Unavailable(_));
        tracing::warn!(%error, lost, "a registration was not committed");
        return Err(RegisterError::Store(if lost { Error::OutcomeUnknown } else { error }));
    }
    CrashPoint::AfterRegistration.reached();
    on_commit(&[(tenant, seq)]);
    Ok(seq)
}

/// The inline projection: one event of the tenant's stream as rows of `tenants` and `users`.
async fn project(
    connection: &mut PgConnection,
    tenant: TenantId,
    version: i64,
    at: DateTime<Utc>,
    event: &tenant::Event,
) -> Result<(), sqlx::Error> {
    let query = match event {
        tenant::Event::TenantRegistered(registered) => {
            sqlx::query("insert into tenants (tenant_id, version, created_at, name, plan) values ($1, $2, $3, $4, $5)")
                .bind(tenant.0)
                .bind(version)
                .bind(at)
                .bind(&registered.name)
                .bind(registered.plan.as_str())
        }
        tenant::Event::UserAdded(added) => sqlx::query(
            "insert into users (tenant_id, version, created_at, name, id, email, role) values ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(tenant.0)
        .bind(version)
        .bind(at)
        .bind(&added.name)
        .bind(added.user_id.0)
        .bind(added.email.as_str())
        .bind(added.role.as_str()),
    };
    query.execute(connection).await.map(|_| ())
}
