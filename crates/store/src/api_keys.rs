//! API keys: by what programs come in, and what they may do. Rows beside the log, changed with the event that says so; of
//! its secret a key has the hash alone.

use chrono::{DateTime, TimeDelta, Utc};
use domain::tenant::Role;
use domain::user::{self, ApiKeyCreated, ApiKeyRevoked, Event, Scope};
use domain::{Category, UserId};
use sqlx::Row as _;
use uuid::Uuid;

use crate::log::{Appending, Claim, CommandContext, ExecuteError, OnCommit, Outcome};
use crate::tasks::spawn;
use crate::{ApiDatabase, Error, TenantContext, TenantTx};

/// Most keys of one tenant, expired ones too.
pub const MAX_API_KEYS: usize = 100;

/// How far off the end of a key may be: five years.
pub const MAX_API_KEY_LIFETIME: TimeDelta = TimeDelta::days(5 * 366);

/// How exactly it is known when a key was used last.
const NOTED_EVERY: TimeDelta = TimeDelta::minutes(1);

/// A key to be.
#[derive(Clone, Debug)]
pub struct NewApiKey {
    /// Its id, which no user and no other key of the tenant has or ever had.
    pub id: Uuid,
    /// What it is for.
    pub name: String,
    /// What it may do, at least one thing.
    pub scopes: Vec<Scope>,
    /// When it stops working.
    pub expires_at: Option<DateTime<Utc>>,
    /// SHA-256 of its secret.
    pub secret_hash: [u8; 32],
}

/// Why a key is not created or revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiKeyRejection {
    /// Who asks is no admin (any more).
    NotAllowed,
    /// There is no such key.
    NotFound,
    /// The tenant has [`MAX_API_KEYS`].
    TooMany,
    /// It would end now or earlier, or later than [`MAX_API_KEY_LIFETIME`] from now.
    ExpiresOutOfRange,
}

type Decided = Result<Outcome<Uuid>, ExecuteError<ApiKeyRejection>>;

/// Creates a key for a user who is an admin at that moment: the row and the event, in one transaction.
pub async fn create_api_key(
    database: &ApiDatabase,
    on_commit: OnCommit,
    context: CommandContext,
    new: NewApiKey,
) -> Decided {
    let database = database.clone();
    let created = spawn("create api key", async move {
        let mut tx = TenantTx::begin(&database, &context.caller).await?;
        if let Some(rejection) = why_not(&mut tx, &context, &new).await? {
            return tx.refuse(&context, rejection).await;
        }
        insert(&mut tx, &context, &new).await?;
        let NewApiKey { id, name, scopes, expires_at, .. } = new;
        // Users and keys are callers: an id names one of them for ever.
        let claims = [Claim { name: format!("user/{id}"), event: 0 }];
        let event = Event::ApiKeyCreated(ApiKeyCreated { key_id: id, name, scopes, expires_at });
        append(tx, &on_commit, &context, (id, event), &claims).await
    });
    created.await.unwrap_or(Err(ExecuteError::Store(Error::OutcomeUnknown)))
}

/// Revokes a key for a user who is an admin at that moment.
pub async fn revoke_api_key(database: &ApiDatabase, on_commit: OnCommit, context: CommandContext, id: Uuid) -> Decided {
    let database = database.clone();
    let revoked = spawn("revoke api key", async move {
        let mut tx = TenantTx::begin(&database, &context.caller).await?;
        if !administers(&mut tx, &context).await? {
            return tx.refuse(&context, ApiKeyRejection::NotAllowed).await;
        }
        let removed = sqlx::query("delete from api_keys where tenant_id = $1 and id = $2")
            .bind(tx.tenant().0)
            .bind(id)
            .execute(tx.connection())
            .await?;
        if removed.rows_affected() == 0 {
            return tx.refuse(&context, ApiKeyRejection::NotFound).await;
        }
        append(tx, &on_commit, &context, (id, Event::ApiKeyRevoked(ApiKeyRevoked { key_id: id })), &[]).await
    });
    revoked.await.unwrap_or(Err(ExecuteError::Store(Error::OutcomeUnknown)))
}

async fn why_not(
    tx: &mut TenantTx,
    context: &CommandContext,
    new: &NewApiKey,
) -> Result<Option<ApiKeyRejection>, Error> {
    let tenant = tx.tenant().0;
    // One at a time, so that two can't both be the last one.
    sqlx::query("select 1 from tenants where tenant_id = $1 for no key update")
        .bind(tenant)
        .execute(tx.connection())
        .await?;
    if !administers(tx, context).await? {
        return Ok(Some(ApiKeyRejection::NotAllowed));
    }
    let now = context.occurred_at;
    if new.expires_at.is_some_and(|end| end <= now || end > now + MAX_API_KEY_LIFETIME) {
        return Ok(Some(ApiKeyRejection::ExpiresOutOfRange));
    }
    let count: i64 = sqlx::query_scalar("select count(*) from api_keys where tenant_id = $1")
        .bind(tenant)
        .fetch_one(tx.connection())
        .await?;
    let is_full = usize::try_from(count).is_ok_and(|count| count >= MAX_API_KEYS);
    Ok(is_full.then_some(ApiKeyRejection::TooMany))
}

/// Whether who asks is an admin of the tenant, which then stays so until the transaction ends.
async fn administers(tx: &mut TenantTx, context: &CommandContext) -> Result<bool, Error> {
    let role: Option<String> = sqlx::query_scalar("select role from users where tenant_id = $1 and id = $2 for share")
        .bind(tx.tenant().0)
        .bind(context.caller.actor().id)
        .fetch_optional(tx.connection())
        .await?;
    Ok(role.and_then(|role| Role::parse(&role)).is_some_and(|role| role >= Role::Admin))
}

async fn insert(tx: &mut TenantTx, context: &CommandContext, new: &NewApiKey) -> Result<(), Error> {
    // Whether the id is taken is for the log to say, which knows what was revoked, too.
    sqlx::query(
        "insert into api_keys (tenant_id, id, name, scopes, secret_hash, created_by, created_at, expires_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (tenant_id, id) do nothing",
    )
    .bind(tx.tenant().0)
    .bind(new.id)
    .bind(&new.name)
    .bind(new.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>())
    .bind(new.secret_hash.as_slice())
    .bind(context.caller.actor().id)
    .bind(context.occurred_at)
    .bind(new.expires_at)
    .execute(tx.connection())
    .await?;
    Ok(())
}

async fn append(
    tx: TenantTx,
    on_commit: &OnCommit,
    context: &CommandContext,
    (id, event): (Uuid, Event),
    claims: &[Claim],
) -> Decided {
    let stream = (Category::User, user::stream(tx.tenant()));
    let to = Appending { stream, expected: None, claims, receipt: None };
    let outcome = tx.conclude(on_commit, context, (id, to), &[event]).await?;
    Ok(outcome.unwrap_or_else(|| unreachable!("a stream that accumulates has no version to miss")))
}

/// Removes all keys that a user has created, and says which; the events come later, because they lock the log.
pub(crate) async fn remove_all_of(tx: &mut TenantTx, user: UserId) -> Result<Vec<Uuid>, Error> {
    let mut ids: Vec<Uuid> =
        sqlx::query_scalar("delete from api_keys where tenant_id = $1 and created_by = $2 returning id")
            .bind(tx.tenant().0)
            .bind(user.0)
            .fetch_all(tx.connection())
            .await?;
    ids.sort_unstable();
    Ok(ids)
}

/// Records the end of keys that were removed.
pub(crate) async fn record_revoked(tx: &mut TenantTx, context: &CommandContext, ids: &[Uuid]) -> Result<(), Error> {
    if ids.is_empty() {
        return Ok(());
    }
    let events: Vec<_> = ids.iter().map(|id| Event::ApiKeyRevoked(ApiKeyRevoked { key_id: *id })).collect();
    tx.record(context, (Category::User, user::stream(tx.tenant())), &events).await?;
    Ok(())
}

/// What is known about a key.
#[derive(Clone, Debug)]
pub struct KnownApiKey {
    /// SHA-256 of its secret.
    pub secret_hash: Vec<u8>,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// Who has created it.
    pub created_by: UserId,
    /// When it stops working.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was used last, to the minute.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// The tenant's key of this id, expired or not; `None` when there is none (any more).
pub async fn api_key(database: &ApiDatabase, caller: &TenantContext, id: Uuid) -> Result<Option<KnownApiKey>, Error> {
    let mut tx = TenantTx::begin_with(database, caller.tenant(), "begin read only").await?;
    let row = sqlx::query(
        "select secret_hash, scopes, created_by, expires_at, last_used_at from api_keys
         where tenant_id = $1 and id = $2",
    )
    .bind(caller.tenant().0)
    .bind(id)
    .fetch_optional(tx.connection())
    .await?;
    let Some(row) = row else { return Ok(None) };
    let scopes: Vec<String> = row.try_get("scopes")?;
    Ok(Some(KnownApiKey {
        secret_hash: row.try_get("secret_hash")?,
        scopes: scopes.iter().filter_map(|name| Scope::parse(name)).collect(),
        created_by: UserId(row.try_get("created_by")?),
        expires_at: row.try_get("expires_at")?,
        last_used_at: row.try_get("last_used_at")?,
    }))
}

impl KnownApiKey {
    /// Whether what is noted of its use is older than it should be.
    fn is_use_to_be_noted(&self, now: DateTime<Utc>) -> bool {
        self.last_used_at.is_none_or(|then| then + NOTED_EVERY <= now)
    }
}

/// Notes that the key is used, unless that was done a moment ago: beside the request, which neither waits for it nor fails
/// with it.
pub fn note_use_of_api_key(
    database: &ApiDatabase,
    caller: TenantContext,
    (id, key): (Uuid, &KnownApiKey),
    now: DateTime<Utc>,
) {
    if !key.is_use_to_be_noted(now) {
        return;
    }
    let database = database.clone();
    spawn("note use of api key", async move {
        if let Err(error) = note_use(&database, &caller, id, now).await {
            tracing::debug!(%error, "the use of a key was not noted");
        }
    });
}

async fn note_use(database: &ApiDatabase, caller: &TenantContext, id: Uuid, now: DateTime<Utc>) -> Result<(), Error> {
    let mut tx = TenantTx::begin(database, caller).await?;
    // Whoever holds the row notes the same, or revokes the key: nobody queues up for it.
    sqlx::query(
        "update api_keys set last_used_at = $3 where tenant_id = $1 and id = (
           select id from api_keys
           where tenant_id = $1 and id = $2 and (last_used_at is null or last_used_at <= $4) for update skip locked)",
    )
    .bind(caller.tenant().0)
    .bind(id)
    .bind(now)
    .bind(now - NOTED_EVERY)
    .execute(tx.connection())
    .await?;
    tx.commit().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_use_of_a_key_is_noted_once_a_minute() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let used = |last_used_at| KnownApiKey {
            secret_hash: vec![],
            scopes: vec![],
            created_by: UserId(Uuid::nil()),
            expires_at: None,
            last_used_at,
        };
        assert!(used(None).is_use_to_be_noted(now));
        assert!(used(Some(now - NOTED_EVERY)).is_use_to_be_noted(now));
        assert!(!used(Some(now - NOTED_EVERY + TimeDelta::microseconds(1))).is_use_to_be_noted(now));
        // A clock that was set back.
        assert!(!used(Some(now + NOTED_EVERY)).is_use_to_be_noted(now));
    }
}
