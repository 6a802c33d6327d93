//! How a second process reaches the services: by the settings, else those that a running `convolog dev` has. It makes
//! nothing, no data directory and no secret, and it logs in as whom it is asked for.

use api::master_secret::MasterSecret;
use local::Running;
use store::{ConnectionSettings, RolePasswords};

use crate::commands::Failure;
use crate::node::Nats;
use crate::secrets::{Secrets, master_secret};
use crate::services::DATABASE;
use crate::settings::ServiceSettings;

/// The services that a second process may use.
pub struct Attached {
    settings: ServiceSettings,
    running: Option<Running>,
    secrets: Option<Secrets>,
}

/// A log-in role of PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `convolog_api`.
    Api,
    /// `convolog_projector`.
    Projector,
    /// `convolog_relay`.
    Relay,
}

/// Connections per role.
pub(crate) const API_CONNECTIONS: u32 = 16;
pub(crate) const PROJECTOR_CONNECTIONS: u32 = 6;
pub(crate) const RELAY_CONNECTIONS: u32 = 4;

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Api, Self::Projector, Self::Relay];

    /// Its name in PostgreSQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Api => "convolog_api",
            Self::Projector => "convolog_projector",
            Self::Relay => "convolog_relay",
        }
    }

    /// The setting with its URL.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Api => "CONVOLOG_API_DATABASE_URL",
            Self::Projector => "CONVOLOG_PROJECTOR_DATABASE_URL",
            Self::Relay => "CONVOLOG_RELAY_DATABASE_URL",
        }
    }

    /// Its password among those of all roles.
    pub(crate) fn password(self, passwords: &RolePasswords) -> &str {
        match self {
            Self::Api => &passwords.api,
            Self::Projector => &passwords.projector,
            Self::Relay => &passwords.relay,
        }
    }
}

impl Attached {
    /// Looks for them. Whether they answer is found out by whoever connects.
    pub fn find(settings: &ServiceSettings) -> Result<Self, Failure> {
        let running = Running::find(local::current_uid()?, &settings.data_dir);
        let secrets = Secrets::load(&settings.data_dir)?;
        Ok(Self { settings: settings.clone(), running, secrets })
    }

    /// PostgreSQL as one of the roles, with so many connections at most.
    pub fn database(&self, role: Role, connections: u32) -> Result<ConnectionSettings, Failure> {
        let (variable, name) = (role.variable(), role.name());
        if let Some(url) = self.settings.role_url(role) {
            return Ok(ConnectionSettings::from_url(variable, url, connections)?);
        }
        let server = match (&self.settings.database_url, self.running.and_then(|running| running.postgres)) {
            (Some(url), _) => ConnectionSettings::from_url("DATABASE_URL", url, connections)?,
            (None, Some(port)) => {
                let url = format!("postgres://127.0.0.1:{port}/{DATABASE}");
                ConnectionSettings::from_url("DATABASE_URL", &url, connections)?
            }
            (None, None) => return Err(self.nothing_runs(variable)),
        };
        let Some(secrets) = &self.secrets else { return Err(self.no_password(variable, name)) };
        Ok(server.as_role(name, role.password(&secrets.roles()), connections))
    }

    /// PostgreSQL as its administrator, for what no role may do.
    pub fn administrator(&self) -> Result<ConnectionSettings, Failure> {
        let local = || {
            let uid = local::current_uid().ok()?;
            Running::admin_url(uid, &self.settings.data_dir, DATABASE)
        };
        match self.settings.database_url.clone().or_else(local) {
            Some(url) => Ok(ConnectionSettings::from_url("DATABASE_URL", &url, 1)?),
            None => Err(self.nothing_runs("DATABASE_URL")),
        }
    }

    /// NATS; `None` when it is not set and no local one runs. Whoever can do without goes on.
    pub fn nats(&self) -> Option<Nats> {
        if let Some(url) = &self.settings.nats_url {
            return Some(Nats { url: url.clone(), passwords: self.settings.nats_passwords() });
        }
        let port = self.running?.nats?;
        let passwords = self.secrets.as_ref()?.nats().all();
        Some(Nats { url: format!("nats://127.0.0.1:{port}"), passwords })
    }

    /// The same for whoever cannot do without.
    pub fn needed_nats(&self) -> Result<Nats, Failure> {
        self.nats().ok_or_else(|| self.nothing_runs("NATS_URL"))
    }

    /// The secret that signing keys are derived from: the one that is set, else that of the data directory, if any.
    pub fn master_secret(&self, set: Option<&str>) -> Result<Option<MasterSecret>, Failure> {
        let Some(digits) = set else { return Ok(self.secrets.as_ref().map(Secrets::master_secret).transpose()?) };
        master_secret(digits).map(Some).ok_or_else(|| {
            Failure::usage("CONVOLOG_SIGNING_KEY: expected 64 hexadecimal digits, as `openssl rand -hex 32` makes them")
        })
    }

    /// The same for whoever cannot do without.
    pub fn needed_master_secret(&self, set: Option<&str>) -> Result<MasterSecret, Failure> {
        self.master_secret(set)?.ok_or_else(|| {
            let folder = self.settings.data_dir.display();
            Failure::usage(format!(
                "the secret that signing keys are made of is not known: set CONVOLOG_SIGNING_KEY (there is none in {folder})"
            ))
        })
    }

    /// The password of the demo that the running process has made.
    pub fn demo_password(&self) -> Option<&str> {
        self.secrets.as_ref().map(|secrets| secrets.demo_password.as_str())
    }

    fn nothing_runs(&self, variable: &str) -> Failure {
        let folder = self.settings.data_dir.display();
        let reason = format!(
            "no `convolog dev` runs with the data directory {folder}: start it, name its folder with --data-dir, or \
             set {variable}"
        );
        Failure::Unavailable(anyhow::Error::msg(reason))
    }

    fn no_password(&self, variable: &str, role: &str) -> Failure {
        let folder = self.settings.data_dir.display();
        let reason = format!(
            "the password of {role} is not known: set {variable}, or name with --data-dir the folder whose secrets \
             were used for the database (there are none in {folder})"
        );
        Failure::Unavailable(anyhow::Error::msg(reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_folder_is_an_error_that_says_what_to_do_and_nothing_is_made() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("wrong");
        let attached = Attached::find(&ServiceSettings::of(&folder)).unwrap();
        let failure = attached.database(Role::Api, 1).unwrap_err();
        assert_eq!(failure.code(), 3);
        let message = failure.to_string();
        assert!(message.contains("start it") && message.contains(&folder.display().to_string()), "{message}");
        assert!(attached.nats().is_none());
        assert!(!folder.exists());
    }

    #[test]
    fn an_administrators_url_is_used_with_the_role_and_its_password() {
        let folder = tempfile::tempdir().unwrap();
        let url = Some("postgres://boss:hers@127.0.0.1:1/convolog".to_owned());
        let given = ServiceSettings { database_url: url, ..ServiceSettings::of(folder.path()) };
        let failure = Attached::find(&given).unwrap().database(Role::Api, 1).unwrap_err();
        assert!(failure.to_string().contains("CONVOLOG_API_DATABASE_URL"), "{failure}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

        Secrets::load_or_make(folder.path()).unwrap();
        let attached = Attached::find(&given).unwrap();
        let text = format!("{:?}", attached.database(Role::Api, 1).unwrap());
        assert!(text.contains("convolog_api") && !text.contains("boss") && !text.contains("hers"), "{text}");
    }
}
