//! The command line: what subcommands share, read once from flags and environment variables, every name known.

mod names;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bus::User;
use clap::{Args, Parser, ValueEnum};

use crate::attach::Role;
use crate::commands::{Command, dev};

/// The event-sourced backend of multi-tenant AI assistants.
#[derive(Debug, Parser)]
#[command(name = "convolog", version, about, after_help = dev::EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    dev: dev::Settings,
    /// What is logged and how.
    #[command(flatten)]
    pub logging: Logging,
}

impl Cli {
    /// What to do; `dev` when left out.
    pub fn command(self) -> Command {
        self.command.unwrap_or(Command::Dev(self.dev))
    }
}

/// How logs are written; settings of every subcommand.
#[derive(Clone, Debug, Args)]
pub struct Logging {
    /// What is logged, as tracing directives; when not set, servers log what they do, tools only what is wrong.
    #[arg(long, env = "CONVOLOG_LOG", global = true, value_name = "DIRECTIVES")]
    pub log: Option<String>,
    /// How logs are written.
    #[arg(long, env = "CONVOLOG_LOG_FORMAT", global = true, value_enum, default_value = "text")]
    pub log_format: LogFormat,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Where PostgreSQL and NATS are; settings of every subcommand that works on a database.
#[derive(Clone, Debug, Args)]
pub struct ServiceSettings {
    /// Where local services keep their data, and passwords and keys lie.
    #[arg(long, env = "CONVOLOG_DATA_DIR", default_value = ".convolog", value_name = "DIRECTORY")]
    pub data_dir: PathBuf,
    /// The administrator's PostgreSQL; a local one when not set.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL", value_parser = secret)]
    pub database_url: Option<String>,
    /// PostgreSQL as the role convolog_api, which then keeps its password; derived from DATABASE_URL when not set.
    #[arg(long, env = "CONVOLOG_API_DATABASE_URL", hide_env_values = true, value_name = "URL", value_parser = secret)]
    pub api_database_url: Option<String>,
    /// PostgreSQL as the role convolog_projector, which then keeps its password; derived from DATABASE_URL when not set.
    #[arg(long, env = "CONVOLOG_PROJECTOR_DATABASE_URL", hide_env_values = true, value_name = "URL", value_parser = secret)]
    pub projector_database_url: Option<String>,
    /// PostgreSQL as the role convolog_relay, which then keeps its password; derived from DATABASE_URL when not set.
    #[arg(long, env = "CONVOLOG_RELAY_DATABASE_URL", hide_env_values = true, value_name = "URL", value_parser = secret)]
    pub relay_database_url: Option<String>,
    /// NATS; a local one when not set.
    #[arg(long, env = "NATS_URL", hide_env_values = true, value_name = "URL", value_parser = secret)]
    pub nats_url: Option<String>,
    /// Password of the user `api` of NATS; when not set, the API logs in as NATS_URL says.
    #[arg(long, env = "CONVOLOG_NATS_API_PASSWORD", hide_env_values = true, value_name = "PASSWORD", value_parser = secret)]
    pub nats_api_password: Option<String>,
    /// Password of the user `relay` of NATS; when not set, the relay logs in as NATS_URL says.
    #[arg(long, env = "CONVOLOG_NATS_RELAY_PASSWORD", hide_env_values = true, value_name = "PASSWORD", value_parser = secret)]
    pub nats_relay_password: Option<String>,
    /// Password of the user `projector` of NATS; when not set, the projector logs in as NATS_URL says.
    #[arg(long, env = "CONVOLOG_NATS_PROJECTOR_PASSWORD", hide_env_values = true, value_name = "PASSWORD", value_parser = secret)]
    pub nats_projector_password: Option<String>,
}

impl ServiceSettings {
    /// Those of a data directory, with nothing else set.
    pub fn of(data_dir: &Path) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
            database_url: None,
            api_database_url: None,
            projector_database_url: None,
            relay_database_url: None,
            nats_url: None,
            nats_api_password: None,
            nats_relay_password: None,
            nats_projector_password: None,
        }
    }

    /// The URL of a role, if it is set.
    pub fn role_url(&self, role: Role) -> Option<&str> {
        let url = match role {
            Role::Api => &self.api_database_url,
            Role::Projector => &self.projector_database_url,
            Role::Relay => &self.relay_database_url,
        };
        url.as_deref()
    }

    /// The passwords of NATS' users that are set.
    pub fn nats_passwords(&self) -> HashMap<User, String> {
        let all = [
            (User::Api, &self.nats_api_password),
            (User::Relay, &self.nats_relay_password),
            (User::Projector, &self.nats_projector_password),
        ];
        all.into_iter().filter_map(|(user, password)| Some((user, password.clone()?))).collect()
    }
}

/// What signing keys are derived from.
#[derive(Clone, Debug, Args)]
pub struct SigningSecret {
    /// The secret from which the keys of access and refresh tokens are derived, 64 hexadecimal digits, the same for all processes
    /// (`openssl rand -hex 32` makes one); that of the data directory when not set.
    #[arg(long, env = "CONVOLOG_SIGNING_KEY", hide_env_values = true, value_name = "HEX", value_parser = secret)]
    pub signing_key: Option<String>,
}

/// What a secret's setting begins with when the secret is in a file.
const FILE: &str = "file:";

/// A secret as it stands there, or the contents of the file that `file:PATH` names, without white space at its end.
pub(crate) fn secret(value: &str) -> Result<String, String> {
    let Some(path) = value.strip_prefix(FILE) else { return Ok(value.to_owned()) };
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read the file: {error}"))?;
    match text.trim_end() {
        "" => Err("the file is empty".to_owned()),
        text => Ok(text.to_owned()),
    }
}

/// Fails for a `CONVOLOG_…` variable that is no subcommand's setting, and names the nearest that is.
pub fn check_names(names: impl IntoIterator<Item = String>) -> Result<(), String> {
    names::check(&names::known(&<Cli as clap::CommandFactory>::command()), names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound_and_every_subcommand_shows_an_example() {
        let command = <Cli as clap::CommandFactory>::command();
        command.clone().debug_assert();
        for subcommand in command.get_subcommands() {
            let name = subcommand.get_name();
            let help = subcommand.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains(&format!("convolog {name}")), "`{name} --help` shows no example");
        }
    }

    #[test]
    fn a_secret_may_be_in_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().display();
        std::fs::write(file.path(), "nats://api:secret@nats:4222\n").unwrap();
        let cli = Cli::parse_from(["convolog", &format!("--nats-url=file:{path}"), "--nats-api-password", "n1"]);
        assert_eq!(cli.dev.services.nats_url.as_deref(), Some("nats://api:secret@nats:4222"));
        assert_eq!(cli.dev.services.nats_passwords(), HashMap::from([(User::Api, "n1".to_owned())]));
        std::fs::write(file.path(), "\n").unwrap();
        assert!(secret(&format!("file:{path}")).unwrap_err().contains("empty"));
        assert!(secret("file:/nowhere/at/all").unwrap_err().contains("cannot read"));
    }

    #[test]
    fn logs_may_be_set_with_and_without_a_subcommand() {
        for arguments in [&["convolog", "--log", "debug"][..], &["convolog", "dev", "--log", "debug"]] {
            assert_eq!(Cli::parse_from(arguments).logging.log.as_deref(), Some("debug"));
        }
    }

    #[test]
    fn the_operators_page_names_every_setting_and_every_subcommand_is_in_the_readme() {
        let command = <Cli as clap::CommandFactory>::command();
        let page = include_str!("../../../docs/operations.md");
        for name in names::known(&command) {
            assert!(page.contains(&format!("| `{name}` |")), "docs/operations.md does not name {name}");
        }
        let readme = include_str!("../../../README.md");
        for subcommand in command.get_subcommands() {
            let name = subcommand.get_name();
            let row = [format!("| `{name}` |"), format!("| `{name} ")];
            assert!(row.iter().any(|row| readme.contains(row)), "README does not name `{name}`");
        }
    }
}
