//! Sign-ins of browsers: what a cookie is compared with, and how its end moves forward while it is used.

use chrono::{DateTime, Utc};
use domain::UserId;
use domain::tenant::Role;
use sqlx::Row as _;
use uuid::Uuid;

use crate::sign_ins::extended;
use crate::tasks::spawn;
use crate::{ApiDatabase, Error, TenantContext, TenantTx};

/// The sign-in of a browser.
#[derive(Clone)]
pub struct CookieSignIn {
    /// Whose.
    pub user: UserId,
    /// What they may do now.
    pub role: Role,
    /// SHA-256 of its cookie's token.
    pub cookie_hash: Vec<u8>,
    /// The role for which that token was given.
    pub cookie_role: Option<Role>,
    /// SHA-256 of the token before it, and when it was given up.
    pub parent: Option<(Vec<u8>, DateTime<Utc>)>,
    /// When it ends unless it is used.
    pub ends: DateTime<Utc>,
    began: DateTime<Utc>,
}

/// The sign-in of this id that goes on and is a browser's.
pub async fn cookie_sign_in(
    database: &ApiDatabase,
    caller: &TenantContext,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<Option<CookieSignIn>, Error> {
    let mut tx = TenantTx::begin_with(database, caller.tenant(), "begin read only").await?;
    let row = sqlx::query(
        "select s.user_id, s.cookie_hash, s.cookie_role, s.parent_hash, s.rotated_at, s.created_at, s.expires_at, u.role
         from auth_sessions s join users u on u.tenant_id = s.tenant_id and u.id = s.user_id
         where s.tenant_id = $1 and s.id = $2 and s.expires_at > $3 and s.cookie_hash is not null",
    )
    .bind(caller.tenant().0)
    .bind(id)
    .bind(now)
    .fetch_optional(tx.connection())
    .await?;
    let sign_in = |row: &sqlx::postgres::PgRow| {
        let rotated_at = row.try_get("rotated_at")?;
        Ok::<_, sqlx::Error>(CookieSignIn {
            user: UserId(row.try_get("user_id")?),
            // The column has a CHECK over the same names.
            role: Role::parse(row.try_get("role")?).unwrap_or(Role::Member),
            cookie_hash: row.try_get("cookie_hash")?,
            cookie_role: row.try_get::<Option<&str>, _>("cookie_role")?.and_then(Role::parse),
            parent: row.try_get::<Option<Vec<u8>>, _>("parent_hash")?.map(|hash| (hash, rotated_at)),
            ends: row.try_get("expires_at")?,
            began: row.try_get("created_at")?,
        })
    };
    Ok(row.as_ref().map(sign_in).transpose()?)
}

/// Gives another cookie's hash the place of the one that was found. Whether it did: of requests at once the first one does.
pub async fn renew_cookie(
    database: &ApiDatabase,
    caller: &TenantContext,
    (id, found): (Uuid, &CookieSignIn),
    hash: [u8; 32],
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let (database, caller, found) = (database.clone(), *caller, found.clone());
    let renewed = spawn("renew a cookie", async move {
        let mut tx = TenantTx::begin(&database, &caller).await?;
        let renewed = sqlx::query(
            "update auth_sessions set cookie_hash = $3, cookie_role = $4, parent_hash = $5, rotated_at = $6
             where tenant_id = $1 and id = $2 and cookie_hash = $5",
        )
        .bind(caller.tenant().0)
        .bind(id)
        .bind(hash.as_slice())
        .bind(found.role.as_str())
        .bind(&found.cookie_hash)
        .bind(now)
        .execute(tx.connection())
        .await?;
        tx.commit().await?;
        Ok(renewed.rows_affected() == 1)
    });
    renewed.await.unwrap_or(Err(Error::OutcomeUnknown))
}

/// The same for whoever has proven anew who they are: the former cookie is good for nothing at once. Answers when the sign-in
/// ends; `None` when it is no browser's.
pub(crate) async fn replace_cookie(
    tx: &mut TenantTx,
    id: Uuid,
    hash: [u8; 32],
) -> Result<Option<DateTime<Utc>>, Error> {
    let ends = sqlx::query_scalar(
        "update auth_sessions set cookie_hash = $3, parent_hash = null
         where tenant_id = $1 and id = $2 and cookie_hash is not null returning expires_at",
    )
    .bind(tx.tenant().0)
    .bind(id)
    .bind(hash.as_slice())
    .fetch_optional(tx.connection())
    .await?;
    Ok(ends)
}

/// Moves the end of a sign-in that is used forward, once a day at the most. Answers the new end, `None` when it stays.
pub async fn extend_cookie_sign_in(
    database: &ApiDatabase,
    caller: &TenantContext,
    (id, sign_in): (Uuid, &CookieSignIn),
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, Error> {
    let ends = extended(sign_in.began, sign_in.ends, now);
    if ends <= sign_in.ends {
        return Ok(None);
    }
    let (database, caller, before) = (database.clone(), *caller, sign_in.ends);
    let moved = spawn("extend a sign-in", async move {
        let mut tx = TenantTx::begin(&database, &caller).await?;
        // Of requests at once the first one moves it.
        let moved = sqlx::query(
            "update auth_sessions set expires_at = $3, last_seen_at = $4 where tenant_id = $1 and id = $2 and expires_at = $5",
        )
        .bind(caller.tenant().0)
        .bind(id)
        .bind(ends)
        .bind(now)
        .bind(before)
        .execute(tx.connection())
        .await?;
        tx.commit().await?;
        Ok((moved.rows_affected() == 1).then_some(ends))
    });
    moved.await.unwrap_or(Err(Error::OutcomeUnknown))
}
