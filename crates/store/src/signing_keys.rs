//! The keys of access tokens as the database has them: public halves and states. It holds nothing that could sign, and
//! what a row is worth is found out by whoever can derive the key.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, PgExecutor, Row as _};
use uuid::Uuid;

use crate::migrate::check_schema;
use crate::{ApiDatabase, ConnectionSettings, Error};

/// What a key is used for. It moves in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyState {
    /// Believed, so that every process knows it when it begins to sign.
    Next,
    /// Signs.
    Signing,
    /// Believed as long as tokens of it may be in use.
    Former,
}

impl KeyState {
    /// Its name in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Signing => "signing",
            Self::Former => "former",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Next, Self::Signing, Self::Former].into_iter().find(|state| state.as_str() == text)
    }
}

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// What the key is derived from, with the secret.
    pub id: Uuid,
    /// What it is used for.
    pub state: KeyState,
    /// Its public half, if nobody has meddled with the row.
    pub public_key: [u8; 32],
    /// Since when it is in this state.
    pub since: DateTime<Utc>,
    /// How long that was ago, by the server's clock.
    pub age: Duration,
}

/// A key that is to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// What it is derived from.
    pub id: Uuid,
    /// Its public half.
    pub public_key: [u8; 32],
}

/// One step of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyChange {
    /// The key gets another state.
    Move(Uuid, KeyState),
    /// A new key.
    Add(KeyState, NewKey),
    /// The key is gone.
    Remove(Uuid),
}

impl ApiDatabase {
    /// All keys.
    pub async fn signing_keys(&self) -> Result<Vec<StoredKey>, Error> {
        // As for its health, however busy the process is.
        select(&self.checks).await
    }

    /// Stores them, each unless somebody has stored one of its state before.
    pub async fn add_signing_keys(&self, signing: NewKey, next: NewKey) -> Result<(), Error> {
        // In this order at every process, so that one waits for the other instead of both for each other.
        sqlx::query(
            "insert into signing_keys (id, state, public_key) values ($1, 'signing', $2), ($3, 'next', $4)
             on conflict do nothing",
        )
        .bind(signing.id)
        .bind(signing.public_key.as_slice())
        .bind(next.id)
        .bind(next.public_key.as_slice())
        .execute(&self.checks)
        .await?;
        Ok(())
    }
}

/// All keys, as the administrator sees them.
pub async fn signing_keys(administrator: &ConnectionSettings) -> Result<Vec<StoredKey>, Error> {
    let mut connection = connect(administrator).await?;
    let keys = select(&mut connection).await?;
    connection.close().await?;
    Ok(keys)
}

/// Does what `decide` makes of all keys, as the administrator; nobody else changes any meanwhile. What it refuses
/// changes nothing.
pub async fn change_signing_keys<T, E>(
    administrator: &ConnectionSettings,
    decide: impl FnOnce(&[StoredKey]) -> Result<(Vec<KeyChange>, T), E>,
) -> Result<Result<T, E>, Error> {
    let mut connection = connect(administrator).await?;
    let mut tx = connection.begin().await?;
    // Processes read on.
    tx.execute("lock table signing_keys in exclusive mode").await?;
    let decided = match decide(&select(&mut *tx).await?) {
        Ok((changes, outcome)) => {
            for change in changes {
                apply(&mut tx, change).await?;
            }
            Ok(outcome)
        }
        Err(refused) => Err(refused),
    };
    tx.commit().await?;
    connection.close().await?;
    Ok(decided)
}

async fn connect(administrator: &ConnectionSettings) -> Result<PgConnection, Error> {
    let mut connection = administrator.options.clone().application_name("convolog-keys").connect().await?;
    connection.execute("set role convolog_owner; set lock_timeout = '5s'").await?;
    check_schema(&mut connection).await?;
    Ok(connection)
}

async fn select(database: impl PgExecutor<'_>) -> Result<Vec<StoredKey>, Error> {
    let rows = sqlx::query(
        "select id, state, public_key, changed_at,
                (extract(epoch from clock_timestamp() - changed_at) * 1000)::bigint as age_ms
         from signing_keys order by state <> 'signing', state <> 'next', changed_at desc, id",
    )
    .fetch_all(database)
    .await?;
    rows.iter().map(|row| read(row).map_err(Error::from)).collect()
}

fn read(row: &PgRow) -> Result<StoredKey, sqlx::Error> {
    // The table's checks hold both.
    let of_another_kind = || sqlx::Error::Decode("a signing key of another kind".into());
    let age: i64 = row.try_get("age_ms")?;
    Ok(StoredKey {
        id: row.try_get("id")?,
        state: KeyState::parse(row.try_get("state")?).ok_or_else(of_another_kind)?,
        public_key: row.try_get::<&[u8], _>("public_key")?.try_into().map_err(|_wrong_length| of_another_kind())?,
        since: row.try_get("changed_at")?,
        age: Duration::from_millis(age.max(0).cast_unsigned()),
    })
}

async fn apply(connection: &mut PgConnection, change: KeyChange) -> Result<(), Error> {
    let query = match change {
        KeyChange::Move(id, state) => {
            sqlx::query("update signing_keys set state = $2, changed_at = now() where id = $1")
                .bind(id)
                .bind(state.as_str())
        }
        KeyChange::Add(state, NewKey { id, public_key }) => {
            sqlx::query("insert into signing_keys (id, state, public_key) values ($1, $2, $3)")
                .bind(id)
                .bind(state.as_str())
                .bind(public_key.to_vec())
        }
        KeyChange::Remove(id) => sqlx::query("delete from signing_keys where id = $1").bind(id),
    };
    query.execute(connection).await?;
    Ok(())
}
