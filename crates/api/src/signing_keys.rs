//! Signing keys from the master secret: a node believes a row of the database only when it can derive the key itself, so
//! a row that somebody else has written opens nothing.

mod rotation;

use std::sync::Arc;
use std::time::Duration;

use store::{ApiDatabase, KeyState, NewKey, StoredKey};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::master_secret::MasterSecret;
use crate::tokens::{KeyError, KeySet, LEEWAY, LIFETIME, PublicKey, Signer, Tokens};

pub use rotation::{Refused, Rotated, retire, rotate};

/// How often a node reads which keys there are: so long it takes until all know a new one and refuse a retired one.
pub const KEY_RELOAD: Duration = Duration::from_secs(30);

/// How long the next key has to be there before it signs: by then a node has read it even if one reading has failed.
pub const LEAST_AGE_OF_NEXT: Duration = Duration::from_secs(2 * KEY_RELOAD.as_secs());

/// How long the database is waited for, before the next try at the next time.
const READ_PATIENCE: Duration = Duration::from_secs(5);

/// How long tokens of a key may be in use after another one has begun to sign.
#[expect(clippy::cast_sign_loss, reason = "both are positive")]
pub const IN_USE: Duration =
    Duration::from_secs(KEY_RELOAD.as_secs() + (LIFETIME.num_seconds() + LEEWAY.num_seconds()) as u64);

/// Why a node has no keys.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The database did not tell.
    #[error("the signing keys cannot be read")]
    Store(#[from] store::Error),
    /// A key cannot be made of its seed.
    #[error("a signing key cannot be derived")]
    Key(#[from] KeyError),
    /// Somebody started with another secret before.
    #[error(
        "CONVOLOG_SIGNING_KEY is not the one that the signing key {kid} of this database was made with: set that one; if it \
         is lost or was replaced, `convolog keys rotate` makes a new key of this one, and everybody signs in again"
    )]
    AnotherSecret {
        /// The key that should sign.
        kid: String,
    },
    /// The table has none, although one was just stored.
    #[error("no key of this database signs")]
    NoneSigns,
}

/// The private key of this id.
pub(crate) fn derive(master: &MasterSecret, id: Uuid) -> Result<Signer, KeyError> {
    Signer::from_seed(master.derive("signing key", id.as_bytes()))
}

/// A key that nobody has yet.
fn fresh(master: &MasterSecret) -> Result<NewKey, KeyError> {
    loop {
        let id = Uuid::now_v7();
        let signer = derive(master, id)?;
        // Its name stands on command lines: it shall not look like a flag.
        if !signer.public_key().kid().starts_with('-') {
            return Ok(NewKey { id, public_key: signer.public_key().bytes()? });
        }
    }
}

/// The `kid` of a row, whoever has written it.
pub fn kid(key: &StoredKey) -> Result<String, KeyError> {
    Ok(PublicKey::from_bytes(key.public_key)?.kid().to_owned())
}

/// The private key of a row; `None` when it was not made with this secret.
pub fn derived(master: &MasterSecret, key: &StoredKey) -> Result<Option<Signer>, KeyError> {
    let signer = derive(master, key.id)?;
    Ok((signer.public_key().bytes()? == key.public_key).then_some(signer))
}

/// Those that are ours.
#[derive(Default)]
struct Ours {
    signer: Option<Arc<Signer>>,
    believed: Vec<PublicKey>,
}

impl Ours {
    fn among(master: &MasterSecret, stored: &[StoredKey]) -> Result<Self, KeyError> {
        let mut ours = Self::default();
        for key in stored {
            let Some(signer) = derived(master, key)? else { continue };
            ours.believed.push(signer.public_key().clone());
            if key.state == KeyState::Signing {
                ours.signer = Some(Arc::new(signer));
            }
        }
        Ok(ours)
    }
}

/// The keys of this database; makes the first two when there are none. Refuses when the one that signs was made with
/// another secret.
pub async fn provide(database: &ApiDatabase, master: &MasterSecret) -> Result<KeySet, LoadError> {
    let has = |stored: &[StoredKey], state| stored.iter().any(|key| key.state == state);
    let mut stored = database.signing_keys().await?;
    if !(has(&stored, KeyState::Signing) && has(&stored, KeyState::Next)) {
        database.add_signing_keys(fresh(master)?, fresh(master)?).await?;
        // Somebody else's, when they were first.
        stored = database.signing_keys().await?;
    }
    let Ours { signer, believed } = Ours::among(master, &stored)?;
    match (signer, stored.iter().find(|key| key.state == KeyState::Signing)) {
        (Some(signer), _) => Ok(KeySet::of(signer, believed)),
        (None, Some(foreign)) => Err(LoadError::AnotherSecret { kid: kid(foreign)? }),
        (None, None) => Err(LoadError::NoneSigns),
    }
}

/// Reads the keys again and again until `stop`. When the database does not tell, what is known stays; when the key that
/// signs is not ours, ours goes on signing, believed or not.
pub async fn follow(
    tokens: Arc<Tokens>,
    database: ApiDatabase,
    master: MasterSecret,
    every: Duration,
    stop: CancellationToken,
) {
    let reading = async {
        loop {
            tokio::time::sleep(every).await;
            match tokio::time::timeout(READ_PATIENCE, database.signing_keys()).await {
                Ok(Ok(stored)) => take(&tokens, &master, &stored),
                Ok(Err(error)) => {
                    tracing::warn!(error = store::chain(&error), "signing keys not read, those that are known stay");
                }
                Err(_elapsed) => tracing::warn!("signing keys not read in time, those that are known stay"),
            }
        }
    };
    stop.run_until_cancelled(reading).await;
}

fn take(tokens: &Tokens, master: &MasterSecret, stored: &[StoredKey]) {
    let Ours { signer, believed } = match Ours::among(master, stored) {
        Ok(ours) => ours,
        Err(error) => return tracing::error!(error = &error as &dyn std::error::Error, "signing keys not derived"),
    };
    let signer = signer.unwrap_or_else(|| {
        tracing::error!(
            "the key that should sign was made with another CONVOLOG_SIGNING_KEY: start again with that one"
        );
        tokens.keys().signer().clone()
    });
    let signs = signer.public_key().kid();
    if signs != tokens.keys().signer().public_key().kid() {
        tracing::info!(kid = signs, "another key signs access tokens from now on");
    }
    tokens.replace_keys(KeySet::of(signer, believed));
}

#[cfg(test)]
mod tests;
