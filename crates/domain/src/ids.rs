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

impl MessageId {
    /// An id for a new message of the tenant, from a fresh UUIDv7: its last 32 bits are made to follow from the others.
    ///
    /// So [`MessageId::was_made_for`] tells the ids that we make from those that clients choose, and nothing has to remember
    /// which were made, for nobody to choose one again. What is left is the time in milliseconds and 42 bits that count
    /// within a process and begin anew at a random number in each millisecond: of two processes that post a hundred
    /// messages per second each for one tenant, one makes an id of the other's in some 7,000 years.
    pub fn make(tenant: TenantId, fresh: Uuid) -> Self {
        let mut bytes = fresh.into_bytes();
        let mark = mark(tenant, &bytes);
        bytes[UNMARKED..].copy_from_slice(&mark);
        Self(Uuid::from_bytes(bytes))
    }

    /// Whether the id is like those that [`MessageId::make`] makes for the tenant; of all others one in 2^32 is.
    pub fn was_made_for(self, tenant: TenantId) -> bool {
        let bytes = self.0.as_bytes();
        self.0.get_version_num() == 7 && bytes[UNMARKED..] == mark(tenant, bytes)
    }
}

/// The bytes of a message's id before its mark.
const UNMARKED: usize = 12;

/// The first 4 bytes of SHA-256 over the tenant's id and the first 12 bytes of the message's.
fn mark(tenant: TenantId, id: &[u8; 16]) -> [u8; 4] {
    let hash = Sha256::new().chain_update(tenant.0.as_bytes()).chain_update(&id[..UNMARKED]).finalize();
    [hash[0], hash[1], hash[2], hash[3]]
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
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ids_that_we_make_are_told_from_chosen_ones_and_are_of_one_tenant(tenant: u128, other: u128, random: [u8; 10]) {
            let [tenant, other] = [tenant, other].map(|id| TenantId(Uuid::from_u128(id)));
            let fresh = uuid::Builder::from_unix_timestamp_millis(1_763_000_000_000, &random).into_uuid();
            let made = MessageId::make(tenant, fresh);
            prop_assert!(made.was_made_for(tenant));
            // By chance, once in 2^32.
            prop_assert!(!MessageId(fresh).was_made_for(tenant) || made.0 == fresh);
            prop_assert!(tenant == other || !made.was_made_for(other));
            prop_assert_eq!((made.0.get_version_num(), made.0.get_variant()), (7, uuid::Variant::RFC4122));
            prop_assert_eq!(&made.0.as_bytes()[..12], &fresh.as_bytes()[..12]);
        }
    }

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
