//! PostgreSQL and NATS for `convolog dev`: those that the settings name, else local ones.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use local::{Binaries, Nats, NatsOptions, Places, Postgres, PostgresOptions, Progress, Storage};
use store::{ConnectionSettings, RoleLogin, RolePasswords, migrate};

use crate::attach::{API_CONNECTIONS, PROJECTOR_CONNECTIONS, RELAY_CONNECTIONS, Role};
use crate::commands::UserFolders;
use crate::node::{Databases, Nats as NatsAccess};
use crate::secrets::Secrets;
use crate::settings::ServiceSettings;

/// The database of a local cluster.
pub(crate) const DATABASE: &str = "convolog";

/// The services that a node needs, migrated; local ones run as long as this lives.
pub struct Services {
    postgres: Option<Postgres>,
    nats: Option<Nats>,
    /// How to reach PostgreSQL.
    pub databases: Databases,
    /// How to reach NATS.
    pub nats_access: NatsAccess,
    /// What to tell the user about them, one line each.
    pub lines: Vec<String>,
    /// A name for leases that no other running process has.
    pub holder: String,
}

impl Services {
    /// Fetches and starts what is not set, then migrates.
    pub async fn start(settings: &ServiceSettings, places: &Places, secrets: &Secrets) -> anyhow::Result<Self> {
        let binaries = match (&settings.database_url, &settings.nats_url) {
            (Some(_), Some(_)) => None,
            _ => Some(Binaries::provide(places, &tell).await?),
        };
        let mut lines = Vec::new();
        // One after the other would cost the slower one's time on top.
        let (postgres, nats) = tokio::try_join!(
            start_postgres(settings, places, binaries.as_ref()),
            start_nats(settings, places, binaries.as_ref(), secrets)
        )?;
        let admin_url = match (&settings.database_url, &postgres) {
            (Some(url), _) => url.clone(),
            (None, Some(postgres)) => {
                lines.push(format!(
                    "PostgreSQL   127.0.0.1:{}, data in {}",
                    postgres.port(),
                    postgres.data_dir().display()
                ));
                let admin = ConnectionSettings::from_url("DATABASE_URL", &postgres.admin_url("postgres"), 1)?;
                store::ensure_database(&admin, DATABASE).await?;
                postgres.admin_url(DATABASE)
            }
            (None, None) => anyhow::bail!("PostgreSQL is missing"),
        };
        let admin = ConnectionSettings::from_url("DATABASE_URL", &admin_url, 1)?;
        migrate(&admin, &ours(settings, &secrets.roles()))
            .await
            .context("DATABASE_URL: the database cannot be used")?;
        let nats_access = match (&settings.nats_url, &nats) {
            (Some(url), _) => NatsAccess { url: url.clone(), passwords: settings.nats_passwords() },
            (None, Some(nats)) => {
                let viewer = secrets.nats().of(bus::User::Viewer);
                let address = nats.url();
                let address = address.strip_prefix("nats://").unwrap_or(&address);
                lines.push(format!(
                    "NATS         nats://viewer:{viewer}@{address} (read-only), data in {}",
                    nats.data_dir().display()
                ));
                NatsAccess { url: nats.url(), passwords: secrets.nats().all() }
            }
            (None, None) => anyhow::bail!("NATS is missing"),
        };
        // The lock on the local data keeps a second process from taking the same name.
        let holder = match &postgres {
            Some(_) => secrets.holder.clone(),
            None => uuid::Uuid::now_v7().to_string(),
        };
        let databases = databases(settings, &admin, secrets)?;
        Ok(Self { postgres, nats, databases, nats_access, lines, holder })
    }

    /// Stops the local services, if any.
    pub async fn stop(self) -> anyhow::Result<()> {
        if let Some(nats) = self.nats {
            nats.stop().await?;
        }
        if let Some(postgres) = self.postgres {
            postgres.stop().await?;
        }
        Ok(())
    }
}

/// The roles whose passwords we set: not those whose URL was given, which carries a password of its own.
fn ours(settings: &ServiceSettings, roles: &RolePasswords) -> Vec<RoleLogin> {
    let of = |role: Role| RoleLogin { role: role.name(), password: Some(role.password(roles).to_owned()) };
    Role::ALL.into_iter().filter(|role| settings.role_url(*role).is_none()).map(of).collect()
}

fn databases(settings: &ServiceSettings, admin: &ConnectionSettings, secrets: &Secrets) -> anyhow::Result<Databases> {
    let roles = secrets.roles();
    let of = |role: Role, connections| {
        Ok::<_, anyhow::Error>(match settings.role_url(role) {
            Some(url) => ConnectionSettings::from_url(role.variable(), url, connections)?,
            None => admin.as_role(role.name(), role.password(&roles), connections),
        })
    };
    Ok(Databases {
        api: of(Role::Api, API_CONNECTIONS)?,
        projector: of(Role::Projector, PROJECTOR_CONNECTIONS)?,
        relay: of(Role::Relay, RELAY_CONNECTIONS)?,
    })
}

async fn start_postgres(
    settings: &ServiceSettings,
    places: &Places,
    binaries: Option<&Binaries>,
) -> anyhow::Result<Option<Postgres>> {
    let (None, Some(binaries)) = (&settings.database_url, binaries) else { return Ok(None) };
    let options = PostgresOptions::new(Storage::Kept(places.postgres()));
    Ok(Some(Postgres::start(binaries, options).await?))
}

async fn start_nats(
    settings: &ServiceSettings,
    places: &Places,
    binaries: Option<&Binaries>,
    secrets: &Secrets,
) -> anyhow::Result<Option<Nats>> {
    let (None, Some(binaries)) = (&settings.nats_url, binaries) else { return Ok(None) };
    let options = NatsOptions {
        config_text: bus::SERVER_CONFIG.to_owned(),
        env: secrets.nats().variables(),
        storage: Storage::Kept(places.nats()),
        port: None,
    };
    Ok(Some(Nats::start(binaries, options).await?))
}

/// The places of this process.
pub fn places(folders: &UserFolders, data_dir: &Path) -> anyhow::Result<Places> {
    let (home, cache) = (folders.home.as_deref(), folders.xdg_cache_home.as_deref());
    Ok(Places::from_process(local::current_uid()?, home, cache, data_dir)?)
}

/// Progress goes to standard error, a line each.
fn tell(progress: Progress) {
    let _ = writeln!(std::io::stderr(), "{progress}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        services: ServiceSettings,
    }

    #[test]
    fn a_role_whose_url_is_given_keeps_its_password() {
        let roles = RolePasswords { api: "a".into(), projector: "p".into(), relay: "r".into() };
        let ours_with = |arguments: &[&str]| {
            let flags = Flags::parse_from(["convolog"].iter().chain(arguments));
            let logins = ours(&flags.services, &roles).into_iter();
            logins.map(|login| (login.role, login.password.unwrap())).collect::<Vec<_>>()
        };
        let all = [("convolog_api", "a"), ("convolog_projector", "p"), ("convolog_relay", "r")];
        let all = all.map(|(role, password)| (role, password.to_owned()));
        assert_eq!(ours_with(&[]), all);
        assert_eq!(ours_with(&["--api-database-url", "postgres://x"]), all[1..]);
        assert_eq!(ours_with(&["--projector-database-url", "postgres://x"]), [all[0].clone(), all[2].clone()]);
        assert_eq!(ours_with(&["--relay-database-url", "postgres://x"]), all[..2]);
    }
}
