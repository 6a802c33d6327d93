//! Changes of passwords: the row beside the log, what becomes of the user's sign-ins, and the events that say so.

use chrono::{DateTime, Utc};
use domain::UserId;
use domain::user::{self, Event, Method, RevokeReason, SignedIn};
use sqlx::Row as _;
use uuid::Uuid;

use crate::cookie_sign_ins::replace_cookie;
use crate::log::{CommandContext, OnCommit};
use crate::sign_ins::{self, Member, NewSignIn, Which};
use crate::tasks::spawn;
use crate::{ApiDatabase, Error, TenantContext, TenantTx};

/// Whose password it is, and what theirs is compared with.
#[derive(Clone)]
pub struct PasswordHolder {
    /// Their address.
    pub email: String,
    /// Their tenant's name.
    pub tenant_name: String,
    /// Argon2id as a PHC string; `None` when they have none.
    pub password_hash: Option<String>,
}

/// The password of a user; `None` when there is no such user.
pub async fn password_holder(
    database: &ApiDatabase,
    caller: &TenantContext,
    user: UserId,
) -> Result<Option<PasswordHolder>, Error> {
    let mut tx = TenantTx::begin_with(database, caller.tenant(), "begin read only").await?;
    let row = sqlx::query(
        "select u.email, t.name as tenant_name, c.password_hash
         from users u
         join tenants t on t.tenant_id = u.tenant_id
         left join credentials c on c.tenant_id = u.tenant_id and c.user_id = u.id
         where u.tenant_id = $1 and u.id = $2",
    )
    .bind(caller.tenant().0)
    .bind(user.0)
    .fetch_optional(tx.connection())
    .await?;
    let holder = |row: &sqlx::postgres::PgRow| {
        Ok::<_, sqlx::Error>(PasswordHolder {
            email: row.try_get("email")?,
            tenant_name: row.try_get("tenant_name")?,
            password_hash: row.try_get("password_hash")?,
        })
    };
    Ok(row.as_ref().map(holder).transpose()?)
}

/// Another password for a user who is signed in.
#[derive(Clone)]
pub struct PasswordChange {
    /// Whose.
    pub user: UserId,
    /// The sign-in that asks: it stays, all others end.
    pub sign_in: Uuid,
    /// The hash that the current password was compared with.
    pub checked: String,
    /// The hash of the new one.
    pub new: String,
    /// By what the sign-in that asks is known from now on, where it is a browser's.
    pub new_cookie: [u8; 32],
}

/// What a change of a password has come to.
#[derive(Clone, Debug)]
pub struct PasswordChanged {
    /// The sign-ins that were ended.
    pub ended: Vec<Uuid>,
    /// When the sign-in that asked ends, where it is a browser's and has another cookie now.
    pub cookie_until: Option<DateTime<Utc>>,
    /// Number of the last event.
    pub seq: u64,
}

/// Changes a password. `None` when the password or the sign-in that asks is not what it was when it was checked: then nothing was
/// done.
pub async fn change_password(
    database: &ApiDatabase,
    on_commit: OnCommit,
    context: CommandContext,
    change: PasswordChange,
) -> Result<Option<PasswordChanged>, Error> {
    let database = database.clone();
    let changed = spawn("change password", async move {
        let PasswordChange { user, sign_in, checked, new, new_cookie } = change;
        let mut tx = TenantTx::begin(&database, &context.caller).await?;
        let stored = sqlx::query(
            "update credentials set password_hash = $4, changed_at = $5
             where tenant_id = $1 and user_id = $2 and password_hash = $3",
        )
        .bind(tx.tenant().0)
        .bind(user.0)
        .bind(checked)
        .bind(new)
        .bind(context.occurred_at)
        .execute(tx.connection())
        .await?;
        let mut ended = sign_ins::lock_all(&mut tx, user, Which::All).await?;
        let asks = ended.iter().position(|id| *id == sign_in);
        let (1, Some(asks)) = (stored.rows_affected(), asks) else { return Ok(None) };
        ended.remove(asks);
        sign_ins::delete(&mut tx, &ended).await?;
        let cookie_until = replace_cookie(&mut tx, sign_in, new_cookie).await?;
        let mut events = vec![Event::PasswordChanged(user::PasswordChanged { user_id: user })];
        events.extend(sign_ins::revoked(user, &ended, RevokeReason::PasswordChanged));
        let seq = sign_ins::append(&mut tx, &context, &events).await?;
        let seq = tx.commit_appended(&on_commit, seq).await?;
        Ok(Some(PasswordChanged { ended, cookie_until, seq }))
    });
    changed.await.unwrap_or(Err(Error::OutcomeUnknown))
}

/// An invitation as somebody takes it up.
#[derive(Clone, Copy)]
pub struct Presented {
    /// For whom it is.
    pub user: UserId,
    /// SHA-256 of its token.
    pub token_hash: [u8; 32],
}

/// For whom an invitation is, with their tenant's name; `None` when it is good for nothing (any more).
pub async fn invited(
    database: &ApiDatabase,
    caller: &TenantContext,
    presented: Presented,
    now: DateTime<Utc>,
) -> Result<Option<PasswordHolder>, Error> {
    let mut tx = TenantTx::begin_with(database, caller.tenant(), "begin read only").await?;
    let row: Option<(String, String)> = sqlx::query_as(
        "select u.email, t.name
         from verification_tokens v
         join users u on u.tenant_id = v.tenant_id and u.id = v.user_id and u.email = v.email
         join tenants t on t.tenant_id = v.tenant_id
         where v.tenant_id = $1 and v.token_hash = $2 and v.user_id = $3 and v.purpose = 'set_password' and v.expires_at > $4",
    )
    .bind(caller.tenant().0)
    .bind(presented.token_hash.as_slice())
    .bind(presented.user.0)
    .bind(now)
    .fetch_optional(tx.connection())
    .await?;
    Ok(row.map(|(email, tenant_name)| PasswordHolder { email, tenant_name, password_hash: None }))
}

/// Takes up an invitation, once: stores the password and signs in. What the user had before to come in with is good no more.
/// `None` when the invitation is good for nothing (any more).
pub async fn take_up_invitation(
    database: &ApiDatabase,
    on_commit: OnCommit,
    context: CommandContext,
    presented: Presented,
    (password_hash, new): (String, NewSignIn),
) -> Result<Option<(Member, Vec<Uuid>)>, Error> {
    let database = database.clone();
    let taken_up = spawn("take up an invitation", async move {
        let mut tx = TenantTx::begin(&database, &context.caller).await?;
        let Some(member) = sign_ins::lock_member(&mut tx, presented.user).await? else { return Ok(None) };
        if !use_up(&mut tx, presented, &member.email, context.occurred_at).await? {
            return Ok(None);
        }
        sqlx::query(
            "insert into credentials (tenant_id, user_id, password_hash, changed_at) values ($1, $2, $3, $4)
             on conflict (tenant_id, user_id) do update set password_hash = $3, changed_at = $4",
        )
        .bind(tx.tenant().0)
        .bind(member.user.0)
        .bind(password_hash)
        .bind(context.occurred_at)
        .execute(tx.connection())
        .await?;
        let ended = sign_ins::lock_all(&mut tx, member.user, Which::All).await?;
        sign_ins::delete(&mut tx, &ended).await?;
        sign_ins::insert(&mut tx, &context, &new).await?;
        let mut events = vec![Event::PasswordChanged(user::PasswordChanged { user_id: member.user })];
        events.extend(sign_ins::revoked(member.user, &ended, RevokeReason::PasswordChanged));
        let signed_in = SignedIn { user_id: member.user, session_id: new.id, method: Method::Password };
        events.push(Event::SignedIn(signed_in));
        let seq = sign_ins::append(&mut tx, &context, &events).await?;
        tx.commit_appended(&on_commit, seq).await?;
        Ok(Some((member, ended)))
    });
    taken_up.await.unwrap_or(Err(Error::OutcomeUnknown))
}

/// Whether it was there and is not any more; others for the same user go with it.
async fn use_up(tx: &mut TenantTx, presented: Presented, email: &str, now: DateTime<Utc>) -> Result<bool, Error> {
    let used = sqlx::query(
        "delete from verification_tokens
         where tenant_id = $1 and token_hash = $2 and user_id = $3 and purpose = 'set_password' and email = $4 and expires_at > $5",
    )
    .bind(tx.tenant().0)
    .bind(presented.token_hash.as_slice())
    .bind(presented.user.0)
    .bind(email)
    .bind(now)
    .execute(tx.connection())
    .await?;
    if used.rows_affected() != 1 {
        return Ok(false);
    }
    sqlx::query("delete from verification_tokens where tenant_id = $1 and user_id = $2 and purpose = 'set_password'")
        .bind(tx.tenant().0)
        .bind(presented.user.0)
        .execute(tx.connection())
        .await?;
    Ok(true)
}
