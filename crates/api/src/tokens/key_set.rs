//! The keys of one moment: the one that signs, and all that are believed.

use std::collections::HashMap;
use std::sync::Arc;

use jsonwebtoken::jwk::JwkSet;

use super::{PublicKey, Signer};

/// Which keys issue and verify; replaced as a whole.
#[derive(Clone, Debug)]
pub struct KeySet {
    signer: Arc<Signer>,
    believed: HashMap<String, PublicKey>,
}

impl KeySet {
    /// Signs with `signer`, believes it and `others`.
    pub fn new(signer: Signer, others: impl IntoIterator<Item = PublicKey>) -> Self {
        let believed = others.into_iter().chain([signer.public_key().clone()]);
        Self::of(Arc::new(signer), believed)
    }

    /// Signs with `signer`, believes these alone.
    pub(crate) fn of(signer: Arc<Signer>, believed: impl IntoIterator<Item = PublicKey>) -> Self {
        let believed = believed.into_iter().map(|key| (key.kid().to_owned(), key)).collect();
        Self { signer, believed }
    }

    /// The one that signs.
    pub fn signer(&self) -> &Arc<Signer> {
        &self.signer
    }

    /// Our record of a `kid`.
    pub(super) fn believed(&self, kid: &str) -> Option<&PublicKey> {
        self.believed.get(kid)
    }

    /// Whether everything that `other` believes is believed here too.
    pub(super) fn believes_all_of(&self, other: &Self) -> bool {
        other.believed.keys().all(|kid| self.believed.contains_key(kid))
    }

    /// The public keys, ordered by `kid`.
    pub fn jwks(&self) -> JwkSet {
        let mut keys: Vec<_> = self.believed.values().map(PublicKey::jwk).collect();
        keys.sort_by(|one, other| one.common.key_id.cmp(&other.common.key_id));
        JwkSet { keys }
    }
}
