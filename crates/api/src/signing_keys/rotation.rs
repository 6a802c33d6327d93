//! What the administrator may do with the keys, decided of what there is.

use std::time::Duration;

use store::{KeyChange, KeyState, StoredKey};
use uuid::Uuid;

use super::{LEAST_AGE_OF_NEXT, derived, fresh, kid};
use crate::master_secret::MasterSecret;
use crate::tokens::{KeyError, PublicKey};

/// What a rotation has come to, by `kid`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// Signs from now on.
    pub signing: String,
    /// Will sign after it.
    pub next: String,
    /// Do not sign any more.
    pub former: Vec<String>,
    /// Whether the nodes may not know yet what signs: until they have read it they refuse its tokens.
    pub at_once: bool,
}

/// Why nothing is done.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Not all nodes may know it.
    #[error("the next key is too new, a node may not know it yet: wait {} s, or use --now when the present one must not sign any more", .0.as_secs() + 1)]
    TooNew(Duration),
    /// There is no such key.
    #[error("there is no key {0}: `convolog keys list` shows all")]
    Unknown(String),
    /// It signs.
    #[error("{0} signs: `convolog keys rotate` first makes it a former one")]
    Signs(String),
    /// It will sign.
    #[error("{0} is the next one: it cannot be retired before it has signed, by two times `convolog keys rotate`")]
    IsNext(String),
    /// A key cannot be made of its seed.
    #[error("a signing key cannot be derived")]
    Key(#[from] KeyError),
}

/// The next key signs and a fresh one waits. When the next one was made with another secret, or there is none, both are
/// fresh.
pub fn rotate(master: &MasterSecret, stored: &[StoredKey], now: bool) -> Result<(Vec<KeyChange>, Rotated), Refused> {
    let of = |state| stored.iter().find(|key| key.state == state);
    let mut changes = Vec::new();
    let mut former = Vec::new();
    let mut end = |key: Option<&StoredKey>, changes: &mut Vec<KeyChange>| -> Result<(), KeyError> {
        if let Some(key) = key {
            changes.push(KeyChange::Move(key.id, KeyState::Former));
            former.push(kid(key)?);
        }
        Ok(())
    };
    // There is one that signs at any moment of the order, and never two.
    end(of(KeyState::Signing), &mut changes)?;
    let (signing, at_once) = match of(KeyState::Next) {
        Some(next) if derived(master, next)?.is_some() => {
            let missing = LEAST_AGE_OF_NEXT.saturating_sub(next.age);
            if !(missing.is_zero() || now) {
                return Err(Refused::TooNew(missing));
            }
            changes.push(KeyChange::Move(next.id, KeyState::Signing));
            (next.public_key, !missing.is_zero())
        }
        foreign => {
            end(foreign, &mut changes)?;
            let signing = fresh(master)?;
            changes.push(KeyChange::Add(KeyState::Signing, signing));
            (signing.public_key, true)
        }
    };
    let next = fresh(master)?;
    changes.push(KeyChange::Add(KeyState::Next, next));
    let of = |bytes| PublicKey::from_bytes(bytes).map(|key| key.kid().to_owned());
    Ok((changes, Rotated { signing: of(signing)?, next: of(next.public_key)?, former, at_once }))
}

/// Takes a former key away; gives back for how long it has been one.
pub fn retire(stored: &[StoredKey], named: &str) -> Result<(Vec<KeyChange>, Duration), Refused> {
    let mut found: Option<(Uuid, KeyState, Duration)> = None;
    for key in stored {
        if kid(key)? == named {
            found = Some((key.id, key.state, key.age));
        }
    }
    match found {
        Some((id, KeyState::Former, age)) => Ok((vec![KeyChange::Remove(id)], age)),
        Some((_, KeyState::Signing, _)) => Err(Refused::Signs(named.to_owned())),
        Some((_, KeyState::Next, _)) => Err(Refused::IsNext(named.to_owned())),
        None => Err(Refused::Unknown(named.to_owned())),
    }
}
