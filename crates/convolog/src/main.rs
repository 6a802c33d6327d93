//! The binary: reads the settings, sets up logging, runs one subcommand, turns its end into an exit code.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser as _;
use convolog::commands::UserFolders;
use convolog::logging::subscriber;
use convolog::settings::{Cli, Logging, check_names};

/// Bad usage.
const USAGE: u8 = 2;
/// A service is unavailable.
const UNAVAILABLE: u8 = 3;

fn main() -> ExitCode {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    if let Err(error) = check_names(names) {
        return fail(USAGE, &error);
    }
    let cli = Cli::parse();
    let logging = cli.logging.clone();
    let command = cli.command();
    if let Err(error) = start_logging(&logging, command.default_log()) {
        return fail(USAGE, &error);
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(UNAVAILABLE, &error.to_string()),
    };
    let folders = UserFolders { home: variable("HOME"), xdg_cache_home: variable("XDG_CACHE_HOME") };
    match runtime.block_on(command.run(&folders)) {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(failure) => fail(failure.code(), &failure.to_string()),
    }
}

fn fail(code: u8, error: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "convolog: {error}");
    ExitCode::from(code)
}

fn start_logging(settings: &Logging, default: &str) -> Result<(), String> {
    let directives = settings.log.as_deref().unwrap_or(default);
    let subscriber = subscriber(directives, settings.log_format, std::io::stderr().is_terminal(), std::io::stderr);
    let subscriber = subscriber.map_err(|error| format!("CONVOLOG_LOG: {error}"))?;
    tracing::subscriber::set_global_default(subscriber).map_err(|error| error.to_string())
}
