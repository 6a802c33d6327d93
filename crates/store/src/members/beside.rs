//! What a change of a member writes beside the log: passwords, invitations, and the end of all ways in.

use chrono::{DateTime, TimeDelta, Utc};
use domain::UserId;
use domain::user::RevokeReason;

use crate::log::CommandContext;
use crate::{Error, TenantTx, api_keys, sign_ins};

/// How long an invitation can be taken up.
pub const INVITATION_LIFETIME: TimeDelta = TimeDelta::days(7);

/// What is written beside the log.
#[derive(Clone, Debug)]
pub enum Beside {
    /// Nothing.
    Nothing,
    /// A first password, Argon2id as a PHC string.
    Password(String),
    /// A token with which the member chooses their password.
    Invitation(Invitation),
    /// Nothing opens anything for the member any more.
    EndOfAccess,
}

/// An invitation.
#[derive(Clone, Debug)]
pub struct Invitation {
    /// SHA-256 of the token.
    pub token_hash: [u8; 32],
    /// The address that it is for.
    pub email: String,
}

pub(super) async fn write(
    tx: &mut TenantTx,
    context: &CommandContext,
    user: UserId,
    beside: &Beside,
) -> Result<(), Error> {
    match beside {
        Beside::Nothing => Ok(()),
        Beside::Password(hash) => store_password(tx, user, hash, context.occurred_at).await,
        Beside::Invitation(invitation) => invite(tx, user, invitation, context.occurred_at).await,
        Beside::EndOfAccess => end_access(tx, context, user).await,
    }
}

/// Sets the first password of a user.
pub(super) async fn store_password(
    tx: &mut TenantTx,
    user: UserId,
    hash: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query("insert into credentials (tenant_id, user_id, password_hash, changed_at) values ($1, $2, $3, $4)")
        .bind(tx.tenant().0)
        .bind(user.0)
        .bind(hash)
        .bind(now)
        .execute(tx.connection())
        .await?;
    Ok(())
}

async fn invite(tx: &mut TenantTx, user: UserId, invitation: &Invitation, now: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query(
        "insert into verification_tokens (tenant_id, token_hash, user_id, purpose, email, created_at, expires_at)
         values ($1, $2, $3, 'set_password', $4, $5, $6)",
    )
    .bind(tx.tenant().0)
    .bind(invitation.token_hash.as_slice())
    .bind(user.0)
    .bind(&invitation.email)
    .bind(now)
    .bind(now + INVITATION_LIFETIME)
    .execute(tx.connection())
    .await?;
    Ok(())
}

async fn end_access(tx: &mut TenantTx, context: &CommandContext, user: UserId) -> Result<(), Error> {
    for table in ["credentials", "verification_tokens", "accounts"] {
        sqlx::query(sqlx::AssertSqlSafe(format!("delete from {table} where tenant_id = $1 and user_id = $2")))
            .bind(tx.tenant().0)
            .bind(user.0)
            .execute(tx.connection())
            .await?;
    }
    // Before the log is locked.
    let keys = api_keys::remove_all_of(tx, user).await?;
    sign_ins::end_all(tx, context, user, RevokeReason::UserRemoved).await?;
    api_keys::record_revoked(tx, context, &keys).await
}
