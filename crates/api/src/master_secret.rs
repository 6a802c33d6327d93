//! The one secret that all API processes share. Every other key is derived from it, so that the database holds none.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// 32 random bytes that are in no database.
#[derive(Clone)]
pub struct MasterSecret([u8; 32]);

impl MasterSecret {
    /// From these bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key for this purpose; `context` tells several of one purpose apart.
    pub fn derive(&self, purpose: &str, context: &[u8]) -> [u8; 32] {
        hmac(&self.0, &[b"convolog ", purpose.as_bytes(), b"\0", context])
    }
}

impl std::fmt::Debug for MasterSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterSecret(_)")
    }
}

/// HMAC-SHA-256 of the parts, one after the other: at most one of them may vary in length.
pub(crate) fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}
