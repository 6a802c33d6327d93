//! `convolog migrate`: roles, rights and schema in the administrator's database, up to this version.

use std::io::Write as _;

use anyhow::Context as _;
use clap::Args;
use percent_encoding::percent_decode_str;
use store::{ConnectionSettings, Migrated, RoleLogin};
use url::Url;

use super::{Exit, Failure};
use crate::attach::Role;
use crate::secrets::{FILE, Secrets};
use crate::settings::ServiceSettings;

/// Shown below the help.
pub const EXAMPLES: &str = "Makes the database when it is missing, the roles that the processes log in as, and the schema. May be run again at any time, and
by several at once: only what is missing is done. A schema of a newer version is refused.

A role gets the password that its URL carries (CONVOLOG_API_DATABASE_URL, CONVOLOG_PROJECTOR_DATABASE_URL,
CONVOLOG_RELAY_DATABASE_URL); without its URL that of the data directory, where passwords are made when there are none.

Examples:
  DATABASE_URL=postgres://postgres:…@db/convolog CONVOLOG_API_DATABASE_URL=postgres://convolog_api:…@db/convolog \\
  CONVOLOG_PROJECTOR_DATABASE_URL=… CONVOLOG_RELAY_DATABASE_URL=… \\
    convolog migrate
  DATABASE_URL=file:/run/secrets/database_url convolog migrate --data-dir /etc/convolog

Exit codes: 0 the schema is this version's, 2 bad usage, 3 the database is not available or refuses.";

/// Settings of `convolog migrate`.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub services: ServiceSettings,
}

/// Migrates.
pub async fn run(settings: &Settings) -> Result<Exit, Failure> {
    let services = &settings.services;
    let Some(url) = &services.database_url else {
        return Err(Failure::usage(
            "DATABASE_URL is not set: name the database as its administrator, for example \
             postgres://postgres:…@localhost:5432/convolog (`convolog dev` migrates its own)",
        ));
    };
    let administrator = ConnectionSettings::from_url("DATABASE_URL", url, 1)?;
    let mut logins = Vec::new();
    let mut secrets = None;
    for role in Role::ALL {
        logins.push(match services.role_url(role) {
            Some(url) => login_of(role, url)?,
            None => {
                if secrets.is_none() {
                    std::fs::create_dir_all(&services.data_dir)
                        .with_context(|| format!("cannot make {}", services.data_dir.display()))?;
                    secrets = Some(Secrets::load_or_make(&services.data_dir)?);
                }
                let passwords = secrets.as_ref().map(Secrets::roles).context("no passwords")?;
                let password = Some(role.password(&passwords).to_owned());
                RoleLogin { role: role.name(), password }
            }
        });
    }
    store::create_database(&administrator).await.context("DATABASE_URL: the database cannot be made")?;
    let migrated = store::migrate(&administrator, &logins).await;
    let Migrated { version, run } = migrated.context("DATABASE_URL: the database cannot be used")?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "schema version {version}, {run} migrations run")?;
    if secrets.is_some() {
        writeln!(out, "passwords of roles without a URL are in {}", services.data_dir.join(FILE).display())?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

/// The role and the password that its URL carries.
fn login_of(role: Role, url: &str) -> Result<RoleLogin, Failure> {
    let (variable, name) = (role.variable(), role.name());
    // What is wrong is not told: it may be the password.
    let url = Url::parse(url).map_err(|_bad| Failure::usage(format!("{variable} is not a URL")))?;
    let decoded = |text: &str| percent_decode_str(text).decode_utf8().map(|text| text.into_owned());
    if decoded(url.username())? != name {
        return Err(Failure::usage(format!("{variable} must log in as {name}: postgres://{name}:…@…")));
    }
    let password = url.password().map(decoded).transpose()?;
    Ok(RoleLogin { role: name, password })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_gets_the_password_of_its_url() {
        let login = login_of(Role::Api, "postgres://convolog_api:a%40b@db:5432/convolog").unwrap();
        assert_eq!((login.role, login.password.as_deref()), ("convolog_api", Some("a@b")));
        let login = login_of(Role::Relay, "postgres://convolog_relay@db/convolog?sslmode=require").unwrap();
        assert_eq!(login.password, None);
    }

    #[test]
    fn a_url_of_somebody_else_is_refused_and_not_repeated() {
        for url in ["postgres://postgres:hers@db/convolog", "://hers"] {
            let failure = login_of(Role::Api, url).err().unwrap();
            assert_eq!(failure.code(), 2);
            let text = failure.to_string();
            assert!(text.contains("CONVOLOG_API_DATABASE_URL") && !text.contains("hers"), "{text}");
        }
    }
}
