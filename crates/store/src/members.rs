//! A tenant and its members: decided on their stream, with the read tables `tenants` and `users` and what lies beside the log
//! written in the same transaction.

mod beside;
mod projection;

use domain::tenant::{self, Command, NewUser, Rejection, Tenant};
use domain::{Aggregate as _, Category, UserId};
use uuid::Uuid;

pub use beside::{Beside, INVITATION_LIFETIME, Invitation};

use crate::error::is_unique_violation;
use crate::log::{Appending, Claim, CommandContext, ExecuteError, OnCommit, Outcome};
use crate::sign_ins::{self, NewSignIn};
use crate::tasks::spawn;
use crate::{ApiDatabase, CrashPoint, Error, TenantTx};

/// How often a command is decided again when others were faster, before it is refused as overload.
const MAX_LOST_RACES: u32 = 20;

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
    /// The owner's first sign-in.
    pub sign_in: Option<NewSignIn>,
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
    Rejected(Rejection),
    /// The store could not.
    Store(Error),
}

impl<E: Into<Error>> From<E> for RegisterError {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

async fn register(database: &ApiDatabase, on_commit: &OnCommit, new: NewTenant) -> Result<u64, RegisterError> {
    let NewTenant { context, name, owner, password_hash, sign_in } = new;
    let (tenant, owner_id) = (context.caller.tenant(), owner.user_id);
    let events = Tenant::decide(&tenant::State::default(), Command::Register { name, owner });
    let events = events.map_err(RegisterError::Rejected)?;
    let mut tx = TenantTx::begin(database, &context.caller).await?;
    sqlx::query("select open_tenant($1)").bind(tenant.0).execute(tx.connection()).await?;
    projection::project(&mut tx, 0, context.occurred_at, &events).await?;
    beside::store_password(&mut tx, owner_id, &password_hash, context.occurred_at).await?;
    let claims = claims(&events);
    let to = Appending { stream: (Category::Tenant, tenant.0), expected: Some(0), claims: &claims, receipt: None };
    let stored = tx.append(&context, &to, &events).await?.stored();
    let mut seq = stored.ok_or(RegisterError::Rejected(Rejection::AlreadyRegistered))?;
    if let Some(sign_in) = &sign_in {
        seq = sign_ins::open(&mut tx, &context, sign_in).await?;
    }
    // From here on nobody knows whether a lost connection took the tenant with it.
    tx.commit_unsure().await.inspect_err(|error| tracing::warn!(%error, "a registration was not committed"))?;
    CrashPoint::AfterRegistration.reached();
    on_commit(&[(tenant, seq)]);
    Ok(seq)
}

/// A change of a tenant or of one of its members.
#[derive(Clone, Debug)]
pub struct MembersChange {
    /// Whose log, and who asks.
    pub context: CommandContext,
    /// What is asked.
    pub command: Command,
    /// What it is about: the id that is answered.
    pub id: Uuid,
    /// What is written beside the log with it.
    pub beside: Beside,
}

/// Decides on the members as they are, and stores events, read rows and what lies beside in one transaction, in a task of
/// its own. What another process has decided in between is seen: the command is decided again.
pub async fn change_members(
    database: &ApiDatabase,
    on_commit: OnCommit,
    change: MembersChange,
) -> Result<Outcome<Uuid>, ExecuteError<Rejection>> {
    let database = database.clone();
    let changed = spawn("change members", async move {
        let mut lost = Error::Overloaded;
        for _ in 0..MAX_LOST_RACES {
            match try_change(&database, &on_commit, &change).await {
                Ok(Some(outcome)) => return Ok(outcome),
                Ok(None) => lost = Error::Overloaded,
                // Somebody else was faster with the same address or id; that they have it is seen on their event.
                Err(ExecuteError::Store(error)) if is_unique_violation(&error) => lost = error,
                Err(error) => return Err(error),
            }
        }
        Err(ExecuteError::Store(lost))
    });
    changed.await.unwrap_or(Err(ExecuteError::Store(Error::OutcomeUnknown)))
}

/// One attempt; `None`: somebody else was faster.
async fn try_change(
    database: &ApiDatabase,
    on_commit: &OnCommit,
    change: &MembersChange,
) -> Result<Option<Outcome<Uuid>>, ExecuteError<Rejection>> {
    let MembersChange { context, command, id, beside } = change;
    let mut tx = TenantTx::begin(database, &context.caller).await?;
    let tenant = tx.tenant();
    let (state, version) = tx.state_of::<Tenant>(tenant.0).await?;
    let events = match Tenant::decide(&state, command.clone()) {
        Ok(events) => events,
        Err(rejection) => return tx.refuse(context, rejection).await.map(Some),
    };
    // Rows first: the log is locked last and for the shortest time, and nobody waits for a row who holds it.
    projection::project(&mut tx, version, context.occurred_at, &events).await?;
    beside::write(&mut tx, context, UserId(*id), beside).await?;
    let claims = claims(&events);
    let stream = (Category::Tenant, tenant.0);
    let to = Appending { stream, expected: Some(version), claims: &claims, receipt: None };
    tx.conclude(on_commit, context, (*id, to), &events).await
}

impl<E, S: Into<Error>> From<S> for ExecuteError<E> {
    fn from(error: S) -> Self {
        Self::Store(error.into())
    }
}

/// An id names one person for ever, also after they have left.
fn claims(events: &[tenant::Event]) -> Vec<Claim> {
    let claim = |(event, it): (usize, &tenant::Event)| match it {
        tenant::Event::UserAdded(added) | tenant::Event::UserInvited(added) => {
            Some(Claim { name: format!("user/{}", added.user_id.0), event })
        }
        tenant::Event::TenantRegistered(_)
        | tenant::Event::TenantRenamed(_)
        | tenant::Event::PlanChanged(_)
        | tenant::Event::SettingsChanged(_)
        | tenant::Event::BillingChanged(_)
        | tenant::Event::UserRoleChanged(_)
        | tenant::Event::UserProfileChanged(_)
        | tenant::Event::UserRemoved(_) => None,
    };
    events.iter().enumerate().filter_map(claim).collect()
}
