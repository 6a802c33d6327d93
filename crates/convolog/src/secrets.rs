//! What is made once per data directory and never shown but where it is needed: passwords and the signing key.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use api::master_secret::MasterSecret;
use bus::User;
use serde::{Deserialize, Serialize};
use store::RolePasswords;

/// The file in the data directory.
pub const FILE: &str = "secrets.json";

/// The secrets of one installation of `convolog dev`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    /// What signing keys are derived from, hexadecimal.
    signing_seed: String,
    /// Password of the database roles.
    postgres_api: String,
    postgres_projector: String,
    postgres_relay: String,
    /// Passwords of the NATS users.
    nats: NatsPasswords,
    /// The name in which leases are taken.
    pub holder: String,
    /// Password of the demo's users.
    pub demo_password: String,
}

/// Passwords of the users of NATS.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatsPasswords {
    relay: String,
    projector: String,
    api: String,
    viewer: String,
}

impl std::fmt::Debug for NatsPasswords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NatsPasswords(…)")
    }
}

impl NatsPasswords {
    /// New ones.
    pub fn random() -> anyhow::Result<Self> {
        // NATS reads a variable's value as configuration: it must begin with a letter.
        let password = || Ok::<_, anyhow::Error>(format!("n{}", random_hex(16)?));
        Ok(Self { relay: password()?, projector: password()?, api: password()?, viewer: password()? })
    }

    /// The password of one user.
    pub fn of(&self, user: User) -> &str {
        match user {
            User::Relay => &self.relay,
            User::Projector => &self.projector,
            User::Api => &self.api,
            User::Viewer => &self.viewer,
        }
    }

    /// All of them.
    pub fn all(&self) -> HashMap<User, String> {
        User::ALL.iter().map(|user| (*user, self.of(*user).to_owned())).collect()
    }

    /// The variables of the server's configuration.
    pub fn variables(&self) -> Vec<(String, String)> {
        User::ALL.iter().map(|user| (user.password_variable().to_owned(), self.of(*user).to_owned())).collect()
    }
}

/// A password that is taken whatever the digits are: alone, twelve of them after a common word would be none.
fn demo_password(digits: &str) -> String {
    format!("demo-violet-{digits}")
}

impl Secrets {
    /// New ones.
    pub fn random() -> anyhow::Result<Self> {
        Ok(Self {
            signing_seed: random_hex(32)?,
            postgres_api: random_hex(16)?,
            postgres_projector: random_hex(16)?,
            postgres_relay: random_hex(16)?,
            nats: NatsPasswords::random()?,
            holder: format!("dev-{}", random_hex(8)?),
            demo_password: demo_password(&random_hex(6)?),
        })
    }

    /// Those of the directory, if it has any.
    pub fn load(directory: &Path) -> anyhow::Result<Option<Self>> {
        let path = directory.join(FILE);
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map(Some).with_context(|| format!("{} is damaged", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Those of the directory; made when it has none. The file is readable for its owner only.
    pub fn load_or_make(directory: &Path) -> anyhow::Result<Self> {
        if let Some(secrets) = Self::load(directory)? {
            return Ok(secrets);
        }
        let secrets = Self::random()?;
        // Whole or not at all, also when the process dies here.
        let new = directory.join(format!("{FILE}.new"));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(serde_json::to_string_pretty(&secrets)?.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, directory.join(FILE))?;
        Ok(secrets)
    }

    /// What signing keys are derived from.
    pub fn master_secret(&self) -> anyhow::Result<MasterSecret> {
        master_secret(&self.signing_seed).context("the signing seed is damaged")
    }

    /// The same as the setting `CONVOLOG_SIGNING_KEY`.
    pub fn signing_key(&self) -> &str {
        &self.signing_seed
    }

    /// Passwords of the database roles.
    pub fn roles(&self) -> RolePasswords {
        RolePasswords {
            api: self.postgres_api.clone(),
            projector: self.postgres_projector.clone(),
            relay: self.postgres_relay.clone(),
        }
    }

    /// Passwords of the NATS users.
    pub fn nats(&self) -> &NatsPasswords {
        &self.nats
    }
}

/// The secret of 64 hexadecimal digits.
pub fn master_secret(digits: &str) -> Option<MasterSecret> {
    let mut seed = [0; 32];
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (at, slot) in seed.iter_mut().enumerate() {
        *slot = u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(MasterSecret::new(seed))
}

/// That many random bytes from the system, hexadecimal.
pub fn random_hex(bytes: usize) -> anyhow::Result<String> {
    let mut random = vec![0; bytes];
    fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut random))
        .context("no random numbers")?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use api::passwords::{Password, Personal};
    use api::secret::Secret;
    use domain::Email;

    use super::*;

    #[test]
    fn secrets_are_made_once_and_are_the_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let first = Secrets::load_or_make(directory.path()).unwrap();
        let again = Secrets::load_or_make(directory.path()).unwrap();
        assert_eq!(first.signing_key(), again.signing_key());
        assert_eq!(first.nats().of(User::Relay), again.nats().of(User::Relay));
        let mode = fs::metadata(directory.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_ne!(first.signing_key(), Secrets::random().unwrap().signing_key());
        assert!(first.master_secret().is_ok());
    }

    #[test]
    fn the_demos_password_is_good_enough_whatever_is_drawn() {
        let email = Email::parse("demo@example.com").unwrap();
        for digits in ["000000000000", "123456789012", "aaaaaaaaaaaa", "deadbeefcafe", "334bf3c9d63d"] {
            let password = Secret::new(demo_password(digits));
            let chosen = Password::chosen(&password, Personal { email: &email, tenant_name: "Demo" });
            assert!(chosen.is_ok(), "{digits}: {:?}", chosen.err());
        }
    }
}
