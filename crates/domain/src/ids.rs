//! Ids as types of their own, so that a user's id cannot be passed where a tenant's is meant.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// A tenant: whoever owns a log of events.
    TenantId
);
id!(
    /// A person who belongs to a tenant.
    UserId
);
id!(
    /// An AI conversation; also the id of its event stream.
    SessionId
);
id!(
    /// One message of a session.
    MessageId
);

/// Number of shards, a constant of the database: `tenant_heads.shard` is generated with the same number.
pub const SHARDS: u8 = 64;

/// A shard: the unit in which relay and projector share the tenants among processes; `0..SHARDS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shard(u8);

impl Shard {
    /// All shards in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..SHARDS).map(Self)
    }

    /// The shard with this number, `None` beyond the last.
    pub fn new(number: u8) -> Option<Self> {
        (number < SHARDS).then_some(Self(number))
    }

    /// Its number, `0..SHARDS`.
    pub fn number(self) -> u8 {
        self.0
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl TenantId {
    /// First 8 bytes of SHA-256 over the id's 16 bytes, read big-endian, modulo [`SHARDS`].
    pub fn shard(self) -> Shard {
        // SHARDS divides 256, so the last of the eight bytes decides alone.
        Shard(Sha256::digest(self.0.as_bytes())[7] % SHARDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_the_first_eight_bytes_of_the_hash_modulo_the_number_of_shards() {
        for n in 0..1000_u128 {
            let tenant = TenantId(Uuid::from_u128(n * 0x1234_5678_9abc_def1));
            let hash = Sha256::digest(tenant.0.as_bytes());
            let first = u64::from_be_bytes(hash[..8].try_into().unwrap());
            assert_eq!(u64::from(tenant.shard().number()), first % u64::from(SHARDS));
        }
    }
}
