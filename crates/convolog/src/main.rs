//! The binary: reads the settings, sets up logging, runs one subcommand, turns its end into an exit code.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser as _;
use convolog::settings::{Cli, Command, DevSettings, LogFormat, check_names};
use tracing_subscriber::EnvFilter;

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
    let settings = match cli.command {
        Some(Command::Openapi) => return print(api::openapi::document()),
        Some(Command::Dev(settings)) => settings,
        None => cli.dev,
    };
    if let Err(error) = start_logging(&settings) {
        return fail(USAGE, &error);
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(UNAVAILABLE, &error.to_string()),
    };
    let (home, cache) = (variable("HOME"), variable("XDG_CACHE_HOME"));
    match runtime.block_on(convolog::dev::run(&settings, home.as_deref(), cache.as_deref())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(UNAVAILABLE, &format!("{error:#}")),
    }
}

/// To whoever reads it; a reader that has gone away is no error.
fn print(text: &str) -> ExitCode {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn fail(code: u8, error: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "convolog: {error}");
    ExitCode::from(code)
}

fn start_logging(settings: &DevSettings) -> Result<(), String> {
    let filter = EnvFilter::try_new(&settings.log).map_err(|error| format!("CONVOLOG_LOG: {error}"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match settings.log_format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}
