//! Sign-ins: who is signed in, with what tokens, until when. Rows beside the log, changed with the event that says so.

use chrono::{DateTime, TimeDelta, Utc};
use domain::tenant::{Plan, Role};
use domain::user::{self, Event, Method, RevokeReason, SessionRevoked, SignedIn};
use domain::{Category, UserId};
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::log::{CommandContext, OnCommit};
use crate::tasks::spawn;
use crate::{ApiDatabase, Error, TenantContext, TenantTx};

/// How long a sign-in lasts after it was used last.
pub const SIGN_IN_LIFETIME: TimeDelta = TimeDelta::days(30);

/// How long a sign-in lasts however often it is used.
pub const SIGN_IN_CAP: TimeDelta = TimeDelta::days(180);

/// How often the end of a sign-in that is in use moves forward.
const EXTENSION: TimeDelta = TimeDelta::hours(24);

/// Most sign-ins of one user; a further one ends the oldest.
pub const MAX_SIGN_INS: usize = 50;

/// Longest user agent that is kept, in characters; what is longer is cut.
pub(crate) const MAX_USER_AGENT: usize = 300;

/// A sign-in to be.
#[derive(Clone, Debug)]
pub struct NewSignIn {
    /// Its id.
    pub id: Uuid,
    /// Whose.
    pub user: UserId,
    /// How they have proven who they are.
    pub method: Method,
    /// The client's name for itself.
    pub user_agent: Option<String>,
    /// The client's address.
    pub address: Option<String>,
    /// By what it is known.
    pub token: TokenHash,
}

/// SHA-256 of what a sign-in is known by.
#[derive(Clone, Copy, Debug)]
pub enum TokenHash {
    /// Its first refresh token.
    Refresh([u8; 32]),
    /// A browser's cookie, which stays as long as the sign-in does.
    Cookie([u8; 32]),
}

/// By what the refresh tokens of a sign-in are known again.
#[derive(Clone)]
pub struct Chain {
    /// SHA-256 of the token that is good.
    pub current: Vec<u8>,
    /// SHA-256 of the one before it.
    pub parent: Option<Vec<u8>>,
    /// When the token that is good took its place.
    pub rotated_at: DateTime<Utc>,
}

/// What a refresh token is, by the chain of its sign-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The one that is good; its successor has this hash.
    Current([u8; 32]),
    /// The one before, so soon that its successor may not have arrived: it is answered again.
    Parent,
    /// One that was used up.
    Reused,
}

/// Somebody who is signed in.
#[derive(Clone, Debug)]
pub struct Member {
    /// Who.
    pub user: UserId,
    /// Their address.
    pub email: String,
    /// Their name.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// Their tenant's name.
    pub tenant_name: String,
    /// What it pays for.
    pub plan: Plan,
}

/// The password by which somebody signs in.
#[derive(Clone)]
pub struct CheckedPassword {
    /// The stored hash that it fits.
    pub hash: String,
    /// What takes its place, where that is cheaper than hashes are today.
    pub renewed: Option<String>,
}

/// Signs somebody in: the row and the event, in one transaction. Answers the number of the last event, `None` when there is no
/// such user any more or their password is not the one that was checked: then nothing was done.
pub async fn sign_in(
    database: &ApiDatabase,
    on_commit: OnCommit,
    context: CommandContext,
    new: NewSignIn,
    password: CheckedPassword,
) -> Result<Option<u64>, Error> {
    let database = database.clone();
    let signed_in = spawn("sign in", async move {
        let mut tx = TenantTx::begin(&database, &context.caller).await?;
        if lock_member(&mut tx, new.user).await?.is_none() || !hold_password(&mut tx, new.user, &password).await? {
            return Ok(None);
        }
        make_room(&mut tx, &context, new.user).await?;
        let seq = open(&mut tx, &context, &new).await?;
        tx.commit_appended(&on_commit, seq).await.map(Some)
    });
    signed_in.await.unwrap_or(Err(Error::OutcomeUnknown))
}

/// A user; whoever removes them waits until the transaction is over, and then finds what it has written.
pub(crate) async fn lock_member(tx: &mut TenantTx, user: UserId) -> Result<Option<Member>, Error> {
    let row = sqlx::query(
        "select u.id, u.email, u.name, u.role, t.name as tenant_name, t.plan
         from users u join tenants t on t.tenant_id = u.tenant_id
         where u.tenant_id = $1 and u.id = $2 for share of u",
    )
    .bind(tx.tenant().0)
    .bind(user.0)
    .fetch_optional(tx.connection())
    .await?;
    Ok(row.as_ref().map(member).transpose()?)
}

/// Whether the password is still the one that was checked; then nobody changes it before the transaction is over, so that no
/// sign-in by the old one comes after the change that ends them all.
async fn hold_password(tx: &mut TenantTx, user: UserId, password: &CheckedPassword) -> Result<bool, Error> {
    let tenant = tx.tenant().0;
    let held = match &password.renewed {
        Some(renewed) => sqlx::query(
            "update credentials set password_hash = $4 where tenant_id = $1 and user_id = $2 and password_hash = $3",
        )
        .bind(tenant)
        .bind(user.0)
        .bind(&password.hash)
        .bind(renewed),
        None => sqlx::query(
            "select from credentials where tenant_id = $1 and user_id = $2 and password_hash = $3 for share",
        )
        .bind(tenant)
        .bind(user.0)
        .bind(&password.hash),
    };
    Ok(held.execute(tx.connection()).await?.rows_affected() == 1)
}

/// The row and the event of a sign-in; answers the event's number.
pub(crate) async fn open(tx: &mut TenantTx, context: &CommandContext, new: &NewSignIn) -> Result<u64, Error> {
    insert(tx, context, new).await?;
    let event = SignedIn { user_id: new.user, session_id: new.id, method: new.method };
    append(tx, context, &[Event::SignedIn(event)]).await
}

/// The row of a sign-in.
pub(crate) async fn insert(tx: &mut TenantTx, context: &CommandContext, new: &NewSignIn) -> Result<(), Error> {
    let (refresh, cookie) = match &new.token {
        TokenHash::Refresh(hash) => (Some(hash.as_slice()), None),
        TokenHash::Cookie(hash) => (None, Some(hash.as_slice())),
    };
    let user_agent = new.user_agent.as_ref().map(|text| text.chars().take(MAX_USER_AGENT).collect::<String>());
    sqlx::query(
        "insert into auth_sessions (tenant_id, id, user_id, method, created_at, last_seen_at, expires_at, user_agent, address,
                                    token_hash, cookie_hash, cookie_role, rotated_at)
         values ($1, $2, $3, $4, $5, $5, $6, $7, $8, $9, $10, (select role from users where tenant_id = $1 and id = $3), $5)",
    )
    .bind(tx.tenant().0)
    .bind(new.id)
    .bind(new.user.0)
    .bind(new.method.as_str())
    .bind(context.occurred_at)
    .bind(context.occurred_at + SIGN_IN_LIFETIME)
    .bind(user_agent)
    .bind(&new.address)
    .bind(refresh)
    .bind(cookie)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Forgets the user's sign-ins that are over, and ends the oldest ones where a further one would be too many.
async fn make_room(tx: &mut TenantTx, context: &CommandContext, user: UserId) -> Result<(), Error> {
    let tenant = tx.tenant().0;
    sqlx::query("delete from auth_sessions where tenant_id = $1 and user_id = $2 and expires_at <= $3")
        .bind(tenant)
        .bind(user.0)
        .bind(context.occurred_at)
        .execute(tx.connection())
        .await?;
    let surplus: Vec<Uuid> = sqlx::query_scalar(
        "select id from auth_sessions where tenant_id = $1 and user_id = $2 order by created_at desc, id offset $3 limit 50",
    )
    .bind(tenant)
    .bind(user.0)
    .bind(i64::try_from(MAX_SIGN_INS - 1).unwrap_or(i64::MAX))
    .fetch_all(tx.connection())
    .await?;
    if !surplus.is_empty() {
        remove(tx, context, user, &surplus, RevokeReason::Revoked).await?;
    }
    Ok(())
}

/// Which of a user's sign-ins are to be ended.
#[derive(Clone, Copy, Debug)]
pub enum Which {
    /// This one.
    One(Uuid),
    /// All but this one.
    AllBut(Uuid),
    /// All.
    All,
}

/// Ends sign-ins of a user. Answers those that were ended with the number of the last event.
pub async fn end_sign_ins(
    database: &ApiDatabase,
    on_commit: OnCommit,
    context: CommandContext,
    (user, which): (UserId, Which),
    reason: RevokeReason,
) -> Result<Option<(Vec<Uuid>, u64)>, Error> {
    let database = database.clone();
    let ended = spawn("end sign-ins", async move {
        let mut tx = TenantTx::begin(&database, &context.caller).await?;
        let ids = lock_all(&mut tx, user, which).await?;
        if ids.is_empty() {
            return Ok(None);
        }
        let seq = remove(&mut tx, &context, user, &ids, reason).await?;
        let seq = tx.commit_appended(&on_commit, seq).await?;
        Ok(Some((ids, seq)))
    });
    ended.await.unwrap_or(Err(Error::OutcomeUnknown))
}

async fn remove(
    tx: &mut TenantTx,
    context: &CommandContext,
    user: UserId,
    ids: &[Uuid],
    reason: RevokeReason,
) -> Result<u64, Error> {
    delete(tx, ids).await?;
    append(tx, context, &revoked(user, ids, reason).collect::<Vec<_>>()).await
}

/// The rows of these sign-ins are no more.
pub(crate) async fn delete(tx: &mut TenantTx, ids: &[Uuid]) -> Result<(), Error> {
    sqlx::query("delete from auth_sessions where tenant_id = $1 and id = any ($2)")
        .bind(tx.tenant().0)
        .bind(ids)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// The events that say so.
pub(crate) fn revoked(user: UserId, ids: &[Uuid], reason: RevokeReason) -> impl Iterator<Item = Event> {
    ids.iter().map(move |id| Event::SessionRevoked(SessionRevoked { user_id: user, session_id: *id, reason }))
}

/// Ends all sign-ins of a user, if any.
pub(crate) async fn end_all(
    tx: &mut TenantTx,
    context: &CommandContext,
    user: UserId,
    reason: RevokeReason,
) -> Result<(), Error> {
    let ids = lock_all(tx, user, Which::All).await?;
    if !ids.is_empty() {
        remove(tx, context, user, &ids, reason).await?;
    }
    Ok(())
}

pub(crate) async fn lock_all(tx: &mut TenantTx, user: UserId, which: Which) -> Result<Vec<Uuid>, Error> {
    let (one, but) = match which {
        Which::One(id) => (Some(id), None),
        Which::AllBut(id) => (None, Some(id)),
        Which::All => (None, None),
    };
    let ids = sqlx::query_scalar(
        "select id from auth_sessions
         where tenant_id = $1 and user_id = $2 and ($3::uuid is null or id = $3) and id is distinct from $4
         order by id for update",
    )
    .bind(tx.tenant().0)
    .bind(user.0)
    .bind(one)
    .bind(but)
    .fetch_all(tx.connection())
    .await?;
    Ok(ids)
}

pub(crate) async fn append(tx: &mut TenantTx, context: &CommandContext, events: &[Event]) -> Result<u64, Error> {
    tx.record(context, (Category::User, user::stream(tx.tenant())), events).await
}

/// Exchanges a refresh token, judged by its chain while nobody else does the same. `None`: it is good for nothing (any more).
pub async fn refresh(
    database: &ApiDatabase,
    on_commit: OnCommit,
    context: CommandContext,
    id: Uuid,
    judge: impl FnOnce(&Chain) -> Judgement + Send + 'static,
) -> Result<Option<Member>, Error> {
    let database = database.clone();
    let refreshed = spawn("refresh", async move {
        let mut tx = TenantTx::begin(&database, &context.caller).await?;
        let Some((member, chain, ends)) = lock(&mut tx, &context, id).await? else { return Ok(None) };
        let refreshed = match judge(&chain) {
            Judgement::Current(successor) => {
                rotate(&mut tx, &context, (id, ends), (&chain, successor)).await?;
                tx.commit_unsure().await?;
                Some(member)
            }
            Judgement::Parent => Some(member),
            Judgement::Reused => {
                let seq = remove(&mut tx, &context, member.user, &[id], RevokeReason::TokenReused).await?;
                tx.commit_appended(&on_commit, seq).await?;
                None
            }
        };
        Ok(refreshed)
    });
    refreshed.await.unwrap_or(Err(Error::OutcomeUnknown))
}

/// When a sign-in began, and when it ends.
type Span = (DateTime<Utc>, DateTime<Utc>);

async fn lock(tx: &mut TenantTx, context: &CommandContext, id: Uuid) -> Result<Option<(Member, Chain, Span)>, Error> {
    let row = sqlx::query(
        "select s.token_hash, s.parent_hash, s.rotated_at, s.created_at, s.expires_at,
                u.id, u.email, u.name, u.role, t.name as tenant_name, t.plan
         from auth_sessions s
         join users u on u.tenant_id = s.tenant_id and u.id = s.user_id
         join tenants t on t.tenant_id = s.tenant_id
         where s.tenant_id = $1 and s.id = $2 and s.expires_at > $3 and s.token_hash is not null
         for update of s",
    )
    .bind(tx.tenant().0)
    .bind(id)
    .bind(context.occurred_at)
    .fetch_optional(tx.connection())
    .await?;
    let Some(row) = row else { return Ok(None) };
    let chain = Chain {
        current: row.try_get("token_hash")?,
        parent: row.try_get("parent_hash")?,
        rotated_at: row.try_get("rotated_at")?,
    };
    Ok(Some((member(&row)?, chain, (row.try_get("created_at")?, row.try_get("expires_at")?))))
}

fn member(row: &PgRow) -> Result<Member, sqlx::Error> {
    Ok(Member {
        user: UserId(row.try_get("id")?),
        email: row.try_get("email")?,
        name: row.try_get("name")?,
        // The columns have CHECKs over the same names.
        role: Role::parse(row.try_get("role")?).unwrap_or(Role::Member),
        tenant_name: row.try_get("tenant_name")?,
        plan: Plan::parse(row.try_get("plan")?).unwrap_or_default(),
    })
}

async fn rotate(
    tx: &mut TenantTx,
    context: &CommandContext,
    (id, (began, ends)): (Uuid, Span),
    (chain, successor): (&Chain, [u8; 32]),
) -> Result<(), Error> {
    sqlx::query(
        "update auth_sessions set token_hash = $3, parent_hash = $4, rotated_at = $5, last_seen_at = $5, expires_at = $6
         where tenant_id = $1 and id = $2",
    )
    .bind(tx.tenant().0)
    .bind(id)
    .bind(successor.as_slice())
    .bind(&chain.current)
    .bind(context.occurred_at)
    .bind(extended(began, ends, context.occurred_at))
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// When a sign-in ends that is used now.
pub(crate) fn extended(began: DateTime<Utc>, ends: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
    let later = (now + SIGN_IN_LIFETIME).min(began + SIGN_IN_CAP);
    if ends + EXTENSION <= now + SIGN_IN_LIFETIME { later.max(ends) } else { ends }
}

/// What a user who is signed in by this may do now; `None` when they are not (any more).
pub async fn role_of_sign_in(
    database: &ApiDatabase,
    caller: &TenantContext,
    (id, user): (Uuid, UserId),
    now: DateTime<Utc>,
) -> Result<Option<Role>, Error> {
    let mut tx = TenantTx::begin_with(database, caller.tenant(), "begin read only").await?;
    let row = sqlx::query(
        "select u.id, u.role from auth_sessions s join users u on u.tenant_id = s.tenant_id and u.id = s.user_id
         where s.tenant_id = $1 and s.id = $2 and s.expires_at > $3",
    )
    .bind(caller.tenant().0)
    .bind(id)
    .bind(now)
    .fetch_optional(tx.connection())
    .await?;
    let Some(row) = row else { return Ok(None) };
    let is_theirs = row.try_get::<Uuid, _>("id")? == user.0;
    Ok(Role::parse(row.try_get("role")?).filter(|_| is_theirs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_sign_in_moves_once_a_day_and_never_beyond_the_cap() {
        let began = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let ends = began + SIGN_IN_LIFETIME;
        let at = |age: TimeDelta, ends| extended(began, ends, began + age);
        assert_eq!(at(TimeDelta::hours(23), ends), ends);
        assert_eq!(at(TimeDelta::hours(24), ends), ends + TimeDelta::hours(24));
        assert_eq!(at(TimeDelta::days(29), ends), began + TimeDelta::days(59));
        let cap = began + SIGN_IN_CAP;
        assert_eq!(at(TimeDelta::days(170), cap - TimeDelta::days(5)), cap);
        assert_eq!(at(TimeDelta::days(179), cap), cap);
        // A clock that was set back takes nothing away.
        assert_eq!(at(-TimeDelta::days(3), ends), ends);
    }
}
