//! How often somebody may ask: log-ins and registrations of an address, wrong passwords of an account, all requests of a
//! tenant. Each process counts for itself, in bounded memory, and forgets when it ends.

mod client;
mod gcra;
mod standings;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::request::Parts;
use domain::{Email, TenantId};
use metrics::{Counter, counter, describe_counter};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

pub(crate) use client::Client;
use gcra::{Buckets, Key, Outcome};
pub use gcra::{MAX_KEYS, Quota};
use standings::{Standing, whole_seconds};
pub(crate) use standings::{Standings, tell};

use crate::error::{Code, Error};

/// Log-ins of one client address, right or wrong: ten at once, five a minute.
pub const LOG_INS: Quota = Quota { burst: 10, every: Duration::from_secs(12) };
/// Wrong passwords of one account, from wherever: ten in a quarter of an hour. An account is an e-mail address, with the
/// tenant where the log-in names one, whether it exists or not. It is never locked: after the wait the right password is
/// right.
pub const WRONG_PASSWORDS: Quota = Quota { burst: 10, every: Duration::from_secs(90) };
/// Registrations of one client address: three at once, three an hour.
pub const REGISTRATIONS: Quota = Quota { burst: 3, every: Duration::from_secs(1200) };
/// Requests of one tenant: two thousand at once, a thousand a second. Nobody's work needs so many: a thousand messages a
/// second are three thousand million a month. It keeps a program that has gone wild from taking a whole process.
pub const TENANT_REQUESTS: Quota = Quota { burst: 2000, every: Duration::from_millis(1) };

/// Where the time that passes comes from; it never goes back.
#[derive(Clone)]
pub struct Monotonic(Arc<dyn Fn() -> Instant + Send + Sync>);

impl Monotonic {
    /// A clock of one's own.
    pub fn new(now: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }
}

impl Default for Monotonic {
    fn default() -> Self {
        Self::new(Instant::now)
    }
}

impl fmt::Debug for Monotonic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Monotonic(…)")
    }
}

/// Whether and how requests are limited.
#[derive(Clone, Debug)]
pub struct RateLimitSettings {
    /// Off only where no stranger asks.
    pub on: bool,
    /// How many proxies before the API add to `X-Forwarded-For`.
    pub trusted_proxies: usize,
    /// See [`TENANT_REQUESTS`].
    pub tenant_requests: Quota,
    /// Where the time comes from.
    pub clock: Monotonic,
}

impl Default for RateLimitSettings {
    fn default() -> Self {
        Self { on: true, trusted_proxies: 0, tenant_requests: TENANT_REQUESTS, clock: Monotonic::default() }
    }
}

impl RateLimitSettings {
    /// Nobody is limited.
    pub fn off() -> Self {
        Self { on: false, ..Self::default() }
    }
}

/// All limits of this process.
pub(crate) struct RateLimits {
    settings: RateLimitSettings,
    begun: Instant,
    log_ins: Limit,
    wrong_passwords: Limit,
    registrations: Limit,
    tenants: Limit,
}

impl RateLimits {
    pub(crate) fn new(settings: RateLimitSettings) -> Self {
        describe_counter!("convolog_rate_limited_total", "Requests refused because there were too many, by limit");
        describe_counter!(
            "convolog_rate_limits_untracked_total",
            "Requests that passed uncounted because the limit remembers as many as it can"
        );
        Self {
            begun: (settings.clock.0)(),
            log_ins: Limit::new("login", LOG_INS),
            wrong_passwords: Limit::new("wrong_password", WRONG_PASSWORDS),
            registrations: Limit::new("registration", REGISTRATIONS),
            tenants: Limit::new("tenant", settings.tenant_requests),
            settings,
        }
    }

    pub(crate) fn are_on(&self) -> bool {
        self.settings.on
    }

    fn trusted_proxies(&self) -> usize {
        self.settings.trusted_proxies
    }

    /// Counts a log-in of this address.
    pub(crate) fn log_in(&self, client: &Client) -> Result<(), Error> {
        self.count(&self.log_ins, client.key(), client.standings.as_ref())
    }

    /// Counts a registration of this address.
    pub(crate) fn registration(&self, client: &Client) -> Result<(), Error> {
        self.count(&self.registrations, client.key(), client.standings.as_ref())
    }

    /// Counts a request of this tenant.
    pub(crate) fn request(&self, tenant: TenantId, parts: &Parts) -> Result<(), Error> {
        self.count(&self.tenants, Key(tenant.0.into_bytes()), parts.extensions.get())
    }

    /// Counts a password as wrong until it is known what it is, so that many at once are no more than one after the other.
    pub(crate) fn guess(&self, email: &Email, tenant: Option<Uuid>) -> Result<Guess<'_>, Error> {
        let mut hash = Sha256::new();
        hash.update(tenant.unwrap_or_default());
        hash.update(email.as_str());
        let mut key = [0; 16];
        key.copy_from_slice(&hash.finalize()[..16]);
        // Nobody is told how many others have guessed, only that they were too many.
        self.count(&self.wrong_passwords, Key(key), None)?;
        Ok(Guess { limits: self, key: Key(key), wrong: false })
    }

    fn count(&self, limit: &Limit, key: Key, standings: Option<&Standings>) -> Result<(), Error> {
        if !self.settings.on {
            return Ok(());
        }
        let now = (self.settings.clock.0)().saturating_duration_since(self.begun);
        limit.count(key, now, standings)
    }
}

/// A password that somebody tries; not counted after all when it is dropped without being wrong.
pub(crate) struct Guess<'a> {
    limits: &'a RateLimits,
    key: Key,
    wrong: bool,
}

impl Guess<'_> {
    /// It was wrong, and counts.
    pub(crate) fn was_wrong(mut self) {
        self.wrong = true;
    }
}

impl Drop for Guess<'_> {
    fn drop(&mut self) {
        if self.limits.settings.on && !self.wrong {
            self.limits.wrong_passwords.buckets.give_back(self.key);
        }
    }
}

/// One limit with its name and what is counted of it.
struct Limit {
    name: &'static str,
    quota: Quota,
    buckets: Buckets,
    refused: Counter,
    untracked: Counter,
}

impl Limit {
    fn new(name: &'static str, quota: Quota) -> Self {
        Self {
            name,
            quota,
            buckets: Buckets::new(quota, MAX_KEYS),
            refused: counter!("convolog_rate_limited_total", "limit" => name),
            untracked: counter!("convolog_rate_limits_untracked_total", "limit" => name),
        }
    }

    fn count(&self, key: Key, now: Duration, standings: Option<&Standings>) -> Result<(), Error> {
        let note = |remaining, next| {
            if let Some(standings) = standings {
                standings.note(Standing { limit: self.name, quota: self.quota, remaining, next });
            }
        };
        match self.buckets.take(key, now) {
            Outcome::Room { remaining, next } => note(remaining, next),
            Outcome::Untracked => self.untracked.increment(1),
            Outcome::Exhausted { next } => {
                self.refused.increment(1);
                note(0, next);
                let detail = format!("The limit `{}` is exhausted; nothing was done.", self.name);
                return Err(Error::new(Code::RateLimited, detail).retry_after(whole_seconds(next)));
            }
        }
        Ok(())
    }
}
