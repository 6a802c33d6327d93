//! The settings: flags and environment variables, read once, every name known.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

const EXAMPLES: &str = "Examples:
  convolog                                 everything on this machine, at http://127.0.0.1:8080
  convolog dev --listen 127.0.0.1:0        the same on a free port, named in the ready line
  DATABASE_URL=postgres://… NATS_URL=nats://… convolog dev
                                           on servers that are already there";

/// The event-sourced backend of multi-tenant AI assistants.
#[derive(Debug, Parser)]
#[command(name = "convolog", version, about, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do; `dev` when left out.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Settings of `dev`.
    #[command(flatten)]
    pub dev: DevSettings,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run API, relay and projector with local PostgreSQL and NATS, fetched on the first start.
    #[command(after_help = EXAMPLES)]
    Dev(DevSettings),
    /// Print the OpenAPI document of the API; needs no service.
    #[command(after_help = "Example:\n  convolog openapi > docs/openapi.json")]
    Openapi,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Settings of `convolog dev`.
#[derive(Clone, Debug, Args)]
pub struct DevSettings {
    /// Where the API listens; port 0 picks a free one.
    #[arg(long, env = "CONVOLOG_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Where local services keep their data, and passwords and keys lie.
    #[arg(long, env = "CONVOLOG_DATA_DIR", default_value = ".convolog", value_name = "DIRECTORY")]
    pub data_dir: PathBuf,
    /// The administrator's PostgreSQL; a local one is started when not set.
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
    /// NATS; a local one is started when not set.
    #[arg(long, env = "NATS_URL", hide_env_values = true, value_name = "URL")]
    pub nats_url: Option<String>,
    /// The URL by which clients reach the API, also the issuer of access tokens.
    #[arg(long, env = "CONVOLOG_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<String>,
    /// What is logged, as tracing directives.
    #[arg(long, env = "CONVOLOG_LOG", default_value = "info,async_nats=warn,sqlx=warn", value_name = "DIRECTIVES")]
    pub log: String,
    /// How logs are written.
    #[arg(long, env = "CONVOLOG_LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
}

/// Every `CONVOLOG_…` variable that means something.
const KNOWN: [&str; 8] = [
    "CONVOLOG_LISTEN",
    "CONVOLOG_DATA_DIR",
    "CONVOLOG_API_DATABASE_URL",
    "CONVOLOG_PROJECTOR_DATABASE_URL",
    "CONVOLOG_RELAY_DATABASE_URL",
    "CONVOLOG_PUBLIC_URL",
    "CONVOLOG_LOG",
    "CONVOLOG_LOG_FORMAT",
];

/// Fails for a `CONVOLOG_…` variable that is not a setting, and names the nearest that is.
pub fn check_names(names: impl IntoIterator<Item = String>) -> Result<(), String> {
    for name in names {
        if !name.starts_with("CONVOLOG_") || KNOWN.contains(&name.as_str()) {
            continue;
        }
        let nearest = KNOWN.iter().min_by_key(|known| distance(known, &name)).copied().unwrap_or_default();
        return Err(format!("unknown setting {name}: did you mean {nearest}?"));
    }
    Ok(())
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_known_names_are_those_of_the_flags() {
        Cli::command().debug_assert();
        let command = Cli::command();
        let mut flags: Vec<String> = command
            .get_arguments()
            .filter_map(|argument| Some(argument.get_env()?.to_string_lossy().into_owned()))
            .filter(|name| name.starts_with("CONVOLOG_"))
            .collect();
        flags.sort();
        let mut known = KNOWN.map(String::from);
        known.sort();
        assert_eq!(flags, known);
    }

    #[test]
    fn an_unknown_setting_is_an_error_that_names_the_nearest() {
        let error = check_names(["PATH".into(), "CONVOLOG_LISTN".into()]).unwrap_err();
        assert_eq!(error, "unknown setting CONVOLOG_LISTN: did you mean CONVOLOG_LISTEN?");
        check_names(KNOWN.map(String::from)).unwrap();
    }
}
