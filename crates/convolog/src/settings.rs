//! The command line: what subcommands share, read once from flags and environment variables, every name known.

mod names;

use std::path::PathBuf;

use clap::{Args, Parser, ValueEnum};

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
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// PostgreSQL as the role convolog_api, which then keeps its password; derived from DATABASE_URL when not set.
    #[arg(long, env = "CONVOLOG_API_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub api_database_url: Option<String>,
    /// PostgreSQL as the role convolog_projector, which then keeps its password; derived from DATABASE_URL when not set.
    #[arg(long, env = "CONVOLOG_PROJECTOR_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub projector_database_url: Option<String>,
    /// PostgreSQL as the role convolog_relay, which then keeps its password; derived from DATABASE_URL when not set.
    #[arg(long, env = "CONVOLOG_RELAY_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub relay_database_url: Option<String>,
    /// NATS; a local one when not set.
    #[arg(long, env = "NATS_URL", hide_env_values = true, value_name = "URL")]
    pub nats_url: Option<String>,
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
