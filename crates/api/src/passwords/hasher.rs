//! Argon2id as PHC strings, in memory that is used again.
//!
//! A hash needs 19 MiB for a moment. An allocator that gets so much back again and again takes it for its own next time and keeps
//! what is free between smaller things: after a flood of log-ins a process had half a gigabyte.

use std::sync::{Arc, Mutex, PoisonError};

use argon2::password_hash::phc::{Output, ParamsString, Salt};
use argon2::{Algorithm, Argon2, Block, Params, PasswordHash, Version, password_hash};
use subtle::ConstantTimeEq as _;

use super::{Password, Verdict};

/// As RFC 9106 recommends.
const SALT_BYTES: usize = 16;

/// Hashes one password after the other; of clones, as many at a time as run, each in memory that stays.
#[derive(Clone)]
pub(super) struct Hasher {
    params: Params,
    idle: Arc<Mutex<Vec<Vec<Block>>>>,
}

impl Hasher {
    pub(super) fn new(params: Params) -> Self {
        Self { params, idle: Arc::default() }
    }

    /// A PHC string, with a new salt.
    pub(super) fn hash(&self, password: &Password) -> Result<String, password_hash::Error> {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt).or(Err(password_hash::Error::Crypto))?;
        let (algorithm, version) = (Algorithm::Argon2id, Version::V0x13);
        let mut out = [0; Params::DEFAULT_OUTPUT_LEN];
        self.fill(&Argon2::new(algorithm, version, self.params.clone()), password, &salt, &mut out)?;
        let hash = PasswordHash {
            algorithm: algorithm.ident(),
            version: Some(version.into()),
            params: ParamsString::try_from(&self.params)?,
            salt: Some(Salt::new(&salt)?),
            hash: Some(Output::new(&out)?),
        };
        Ok(hash.to_string())
    }

    /// Compares with a PHC string.
    pub(super) fn compare(&self, password: &Password, stored: &str) -> Result<Verdict, password_hash::Error> {
        let stored = PasswordHash::new(stored)?;
        let (Some(salt), Some(expected)) = (&stored.salt, &stored.hash) else { return Ok(Verdict::Wrong) };
        let params = Params::try_from(&stored)?;
        let algorithm = Algorithm::try_from(stored.algorithm.as_str())?;
        let version = stored.version.map(Version::try_from).transpose()?.unwrap_or_default();
        let mut out = vec![0; expected.len()];
        self.fill(&Argon2::new(algorithm, version, params.clone()), password, salt, &mut out)?;
        if !bool::from(out.ct_eq(expected.as_bytes())) {
            return Ok(Verdict::Wrong);
        }
        let today = (Algorithm::Argon2id, Version::V0x13);
        Ok(Verdict::Right { needs_rehash: (algorithm, version) != today || self.is_dearer_than(&params) })
    }

    fn is_dearer_than(&self, stored: &Params) -> bool {
        let today = &self.params;
        stored.m_cost() < today.m_cost() || stored.t_cost() < today.t_cost() || stored.p_cost() < today.p_cost()
    }

    fn fill(
        &self,
        argon2: &Argon2<'_>,
        password: &Password,
        salt: &[u8],
        out: &mut [u8],
    ) -> Result<(), password_hash::Error> {
        let mut blocks = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        // What an earlier hash has left is overwritten before it is read.
        blocks.resize(argon2.params().block_count(), Block::new());
        let filled = argon2.hash_password_into_with_memory(password.as_bytes(), salt, out, &mut blocks);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(blocks);
        Ok(filled?)
    }
}

impl std::fmt::Debug for Hasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hasher").field("params", &self.params).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use argon2::{PasswordHasher as _, PasswordVerifier as _};

    use super::*;
    use crate::secret::Secret;

    #[test]
    fn memory_that_is_used_again_makes_the_same_hashes_as_the_library_and_is_no_more_than_one_needs() {
        let hasher = Hasher::new(Params::new(64, 2, 2, None).unwrap());
        let password = |text: &str| Password::presented(&Secret::new(text));
        for params in [(64, 2, 2), (256, 1, 1), (32, 3, 1)] {
            let params = Params::new(params.0, params.1, params.2, None).unwrap();
            let theirs = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
            let stored = theirs.hash_password(b"one").unwrap().to_string();
            assert!(matches!(hasher.compare(&password("one"), &stored).unwrap(), Verdict::Right { .. }), "{stored}");
            assert_eq!(hasher.compare(&password("two"), &stored).unwrap(), Verdict::Wrong);
            let ours = hasher.hash(&password("two")).unwrap();
            assert!(theirs.verify_password(b"two", &PasswordHash::new(&ours).unwrap()).is_ok(), "{ours}");
        }
        assert_eq!(hasher.idle.lock().unwrap().len(), 1);
    }
}
