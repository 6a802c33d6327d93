//! Password hashes: Argon2id in a bounded number of blocking threads, the same work for known and unknown accounts.

mod common;
mod hasher;
mod policy;

use std::{num::NonZeroUsize, sync::Arc};

use argon2::{Params, password_hash};
use axum::{extract::FromRequestParts, http::request::Parts};
use metrics::{Counter, counter, describe_counter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::{
    error::{Code, Error},
    openapi::{Operation, Part},
    secret::Secret,
    state::Api,
};

use hasher::Hasher;
pub use policy::{MAX_LENGTH, MIN_LENGTH, Password, Personal, Weakness};

/// How many requests may wait for a thread; any more are told to come back.
pub const WAITING: usize = 16;

/// Log-ins and the like that read or write at the same time, once their password is known: those of one tenant wait for each
/// other, and each keeps a connection meanwhile. They leave the others to everybody else.
pub const MAX_STORING: usize = 4;

/// What a hash costs. The default is OWASP's recommendation and this service's minimum; tests choose less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Memory in KiB, per hash that is being computed.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Degree of parallelism.
    pub lanes: u32,
}

impl Default for Cost {
    fn default() -> Self {
        Self { memory_kib: 19_456, passes: 2, lanes: 1 }
    }
}

/// The cost is outside what Argon2 allows, or the system has no randomness.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Argon2 does not take these numbers.
    #[error("the cost of password hashes is out of range")]
    Cost(#[source] argon2::Error),
    /// The first hash failed.
    #[error("no password can be hashed")]
    Hash(#[source] password_hash::Error),
}

/// What came of comparing a password with a stored hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is another password, or there is no account.
    Wrong,
    /// It is the password.
    Right {
        /// The stored hash is cheaper than today's cost: store a new one.
        needs_rehash: bool,
    },
}

/// Hashes and verifies passwords; clones share their threads.
#[derive(Clone, Debug)]
pub struct Passwords {
    hasher: Hasher,
    dummy: Arc<str>,
    places: Arc<Semaphore>,
    storing: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
    running: Arc<Semaphore>,
    /// Permits of the two.
    permits: (usize, usize),
    refused: Counter,
}

impl Passwords {
    /// Computes at most `cores` hashes at a time and lets `waiting` more requests wait. Blocks for one hash, which
    /// unknown accounts are compared with.
    pub fn new(cost: Cost, cores: NonZeroUsize, waiting: usize) -> Result<Self, SetupError> {
        let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, None).map_err(SetupError::Cost)?;
        let hasher = Hasher::new(params);
        let dummy = hasher.hash(&Password::presented(&Secret::new(""))).map_err(SetupError::Hash)?.into();
        describe_counter!(
            "convolog_password_hashes_refused_total",
            "Log-ins and the like refused because too many wait"
        );
        let cores = cores.get().min(Semaphore::MAX_PERMITS / 2);
        let waiting = waiting.min(Semaphore::MAX_PERMITS / 2);
        Ok(Self {
            hasher,
            dummy,
            places: Arc::new(Semaphore::new(cores + waiting)),
            storing: Arc::new(Semaphore::new(MAX_STORING)),
            admitted: Arc::new(Semaphore::new(cores + waiting)),
            running: Arc::new(Semaphore::new(cores)),
            permits: (cores + waiting, cores),
            refused: counter!("convolog_password_hashes_refused_total"),
        })
    }

    /// Hashes that are being computed, and those that wait for a thread.
    pub fn load(&self) -> (usize, usize) {
        let admitted = self.permits.0.saturating_sub(self.admitted.available_permits());
        let running = self.permits.1.saturating_sub(self.running.available_permits());
        (running, admitted.saturating_sub(running))
    }

    /// Whether a request that needs a hash would be refused now.
    pub fn is_full(&self) -> bool {
        self.admitted.available_permits() == 0 || self.places.available_permits() == 0
    }

    /// A place among those whose password is looked at, as many as may hash or wait for it; 503 when all are taken. It is kept
    /// until the request is done.
    pub fn place(&self) -> Result<OwnedSemaphorePermit, Error> {
        Arc::clone(&self.places).try_acquire_owned().map_err(|_full| self.refuse())
    }

    /// The turn of a request that stores what came of its password; see [`MAX_STORING`].
    pub async fn turn_to_store(&self) -> Result<SemaphorePermit<'_>, Error> {
        self.storing.acquire().await.map_err(Error::internal)
    }

    fn refuse(&self) -> Error {
        self.refused.increment(1);
        Error::overloaded()
    }

    /// The password's hash as a PHC string, with a new salt; 503 when too many are waiting.
    pub async fn hash(&self, password: Password) -> Result<String, Error> {
        let hasher = self.hasher.clone();
        self.run(move || hasher.hash(&password)).await?.map_err(Error::internal)
    }

    /// Compares with a stored PHC string. `None`, for an unknown account or one without a password, takes as long and
    /// is always wrong. 503 when too many are waiting.
    pub async fn verify(&self, password: Password, stored: Option<String>) -> Result<Verdict, Error> {
        let known = stored.is_some();
        let stored = stored.unwrap_or_else(|| self.dummy.as_ref().to_owned());
        let hasher = self.hasher.clone();
        let verdict = self.run(move || hasher.compare(&password, &stored)).await?.map_err(Error::internal)?;
        Ok(if known { verdict } else { Verdict::Wrong })
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        // Without a cause: a refusal for every request of a flood must not be a line in the log.
        let admission = Arc::clone(&self.admitted).try_acquire_owned().map_err(|_full| self.refuse())?;
        let turn = Arc::clone(&self.running).acquire_owned().await.map_err(Error::internal)?;
        // The permits go with the work: it runs on when the client goes away, and still counts.
        let permits: [OwnedSemaphorePermit; 2] = [admission, turn];
        let task = tokio::task::spawn_blocking(move || {
            let _permits = permits;
            work()
        });
        task.await.map_err(Error::internal)
    }
}

/// Asks for room before the body is read and the database is asked: a flood of log-ins is refused for next to nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoomToHash;

impl Part for RoomToHash {
    fn describe(operation: &mut Operation<'_>) {
        operation.fails(&[Code::Overloaded]);
    }
}

impl FromRequestParts<Api> for RoomToHash {
    type Rejection = Error;

    async fn from_request_parts(_: &mut Parts, api: &Api) -> Result<Self, Error> {
        let passwords = &api.inner.passwords;
        if passwords.is_full() { Err(passwords.refuse()) } else { Ok(Self) }
    }
}

#[cfg(test)]
mod tests {
    use argon2::{Algorithm, Argon2, PasswordHasher as _, Version};
    use futures_util::FutureExt;

    use super::*;

    const CHEAP: Cost = Cost { memory_kib: 64, passes: 1, lanes: 1 };

    fn passwords(cost: Cost) -> Passwords {
        Passwords::new(cost, NonZeroUsize::MIN, 1).unwrap()
    }

    fn password(text: &str) -> Password {
        Password::presented(&Secret::new(text))
    }

    #[tokio::test]
    async fn a_password_is_right_in_every_spelling_that_means_the_same() {
        let passwords = passwords(CHEAP);
        let stored = passwords.hash(password("schl\u{fc}ssel \u{fb01}nden")).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{stored}");
        let decomposed = password("schlu\u{308}ssel finden");
        let verdict = passwords.verify(decomposed, Some(stored.clone())).await.unwrap();
        assert_eq!(verdict, Verdict::Right { needs_rehash: false });
        let verdict = passwords.verify(password("Schl\u{fc}ssel finden"), Some(stored)).await.unwrap();
        assert_eq!(verdict, Verdict::Wrong);
    }

    #[tokio::test]
    async fn the_same_password_is_never_hashed_to_the_same_text() {
        let passwords = passwords(CHEAP);
        assert_ne!(passwords.hash(password("x")).await.unwrap(), passwords.hash(password("x")).await.unwrap());
    }

    #[tokio::test]
    async fn a_cheaper_hash_needs_a_new_one_and_a_dearer_one_does_not() {
        let stored = passwords(CHEAP).hash(password("x")).await.unwrap();
        for (cost, needs_rehash) in [
            (CHEAP, false),
            (Cost { memory_kib: 65, ..CHEAP }, true),
            (Cost { passes: 2, ..CHEAP }, true),
            (Cost { lanes: 2, ..CHEAP }, true),
            (Cost { memory_kib: 32, ..CHEAP }, false),
        ] {
            let verdict = passwords(cost).verify(password("x"), Some(stored.clone())).await.unwrap();
            assert_eq!(verdict, Verdict::Right { needs_rehash }, "{cost:?}");
        }
        for (algorithm, version) in [(Algorithm::Argon2i, Version::V0x13), (Algorithm::Argon2id, Version::V0x10)] {
            let foreign = Argon2::new(algorithm, version, Params::new(64, 1, 1, None).unwrap());
            let stored = foreign.hash_password(b"x").unwrap().to_string();
            let verdict = passwords(CHEAP).verify(password("x"), Some(stored)).await.unwrap();
            assert_eq!(verdict, Verdict::Right { needs_rehash: true }, "{algorithm} {version:?}");
        }
    }

    #[tokio::test]
    async fn an_unknown_account_is_compared_at_full_cost_and_is_always_wrong() {
        let passwords = passwords(CHEAP);
        assert!(passwords.dummy.starts_with("$argon2id$v=19$m=64,t=1,p=1$"));
        assert_eq!(passwords.verify(password(""), None).await.unwrap(), Verdict::Wrong);
        assert_eq!(passwords.verify(password("x"), None).await.unwrap(), Verdict::Wrong);
    }

    #[tokio::test]
    async fn a_broken_stored_hash_is_our_fault() {
        let passwords = passwords(CHEAP);
        for stored in ["", "hunter2", "$argon2id$v=19$m=64,t=1,p=1$", "$md5$v=19$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo"] {
            let outcome = passwords.verify(password("x"), Some(stored.into())).await;
            assert!(!matches!(outcome, Ok(Verdict::Right { .. })), "{stored}");
        }
    }

    #[tokio::test]
    async fn who_finds_the_queue_full_is_told_to_come_back() {
        let passwords = passwords(CHEAP);
        let (release, held) = std::sync::mpsc::channel::<()>();
        let mut running = Box::pin(passwords.run(move || held.recv().is_ok()));
        assert!((&mut running).now_or_never().is_none());
        let mut waiting = Box::pin(passwords.hash(password("x")));
        assert!((&mut waiting).now_or_never().is_none());
        assert_eq!(passwords.hash(password("x")).await.unwrap_err().code(), Code::Overloaded);
        release.send(()).unwrap();
        assert!(running.await.unwrap());
        assert!(waiting.await.is_ok());
        assert!(passwords.hash(password("x")).await.is_ok());
    }

    #[tokio::test]
    async fn work_whose_client_has_gone_still_counts() {
        let passwords = passwords(CHEAP);
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (begin, begun) = std::sync::mpsc::channel::<()>();
        let abandoned = passwords.run(move || begin.send(()).is_ok() && held.recv().is_ok());
        assert!(abandoned.now_or_never().is_none());
        begun.recv().unwrap();
        assert_eq!((passwords.running.available_permits(), passwords.admitted.available_permits()), (0, 1));
        release.send(()).unwrap();
        assert!(passwords.hash(password("x")).await.is_ok());
    }

    #[test]
    fn the_default_cost_is_the_documented_one() {
        assert_eq!(Cost::default(), Cost { memory_kib: 19_456, passes: 2, lanes: 1 });
        assert!(matches!(Passwords::new(Cost { passes: 0, ..CHEAP }, NonZeroUsize::MIN, 0), Err(SetupError::Cost(_))));
    }
}
