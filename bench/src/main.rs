//! The benchmarks: each figure of the product beside a raw figure of the same PostgreSQL, taken in the same run.
//!
//! Three processes, so that their CPU can be told apart: this one starts the services, runs `pgbench` and adds up;
//! `bench node` is the product; `bench load` sends the requests.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may stop at the first surprise"))]
#![expect(clippy::float_arithmetic, clippy::disallowed_types, reason = "ratios and percentiles, no amounts of money")]

mod fleet;
mod http;
mod lag;
mod load;
mod machine;
mod node;
mod paced;
mod process;
mod raw;
mod report;
mod rows;
mod services;
mod soak;
mod storm;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

const EXAMPLES: &str = "Examples:
  cargo run --release -p bench                         every row, about ten minutes
  cargo run --release -p bench -- --quick              every row once and short, about two minutes
  cargo run --release -p bench -- --row commands       one group of rows; may be repeated
  cargo run --release -p bench -- --scratch /var/tmp   the cluster on another disk than /tmp
  cargo run --release -p bench -- soak --minutes 5     no figures: the proof that faults lose nothing";

/// Measures the write path beside raw inserts into the same PostgreSQL; docs/performance.md says how to read it.
#[derive(Debug, Parser)]
#[command(name = "bench", after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    settings: Settings,
}

/// What this program starts itself as.
#[derive(Debug, Subcommand)]
enum Part {
    /// The product; settings and orders come on standard input.
    #[command(hide = true)]
    Node,
    /// The load generator; its plan comes on standard input.
    #[command(hide = true)]
    Load,
    /// A process of the product, with its own arguments.
    #[command(hide = true)]
    Product {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Proves that faults lose nothing: kills, freezes and wipes what there is while clients go on; docs/proof.md.
    #[command(after_help = soak::EXAMPLES)]
    Soak(soak::Settings),
}

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Settings {
    /// Each row once and for a short time.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only this group of rows; may be repeated.
    #[arg(long = "row", value_name = "NAME")]
    pub(crate) rows: Vec<Group>,
    /// Where the figures go as JSON.
    #[arg(long, default_value = "target/bench.json", value_name = "FILE")]
    pub(crate) json: PathBuf,
    /// The folder in which the cluster is made and removed again; it must be on a disk.
    #[arg(long, default_value = "/tmp", value_name = "DIRECTORY")]
    pub(crate) scratch: PathBuf,
}

/// Rows that are measured together, in their order: what reads the whole log comes before what makes it long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Group {
    /// Rebuilding the read tables: how fast, and what commands notice of it.
    Rebuild,
    /// Rows that are not as the log says, after appends from all sides and lost connections.
    Projected,
    /// Commands per second with relay and projector running, and whether the read tables fall behind.
    Everything,
    /// From a command to its row in the read table, at 200 commands per second.
    Visible,
    /// Commands per second, relay and projector paused, 64 and 256 connections.
    Commands,
    /// One hot tenant, one hot stream.
    Hot,
    /// One client, one command at a time.
    Single,
    /// Commands and log-ins beyond what can be done: how much of the peak is still done.
    Overload,
    /// Reads under row-level security and without it.
    Reads,
    /// Commands and reads with a hundred times the events, and a hundred times the tenants.
    Scale,
    /// Memory of the process at full load, time from its start until it is ready.
    Process,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ended = match cli.part {
        Some(Part::Node) => runtime(true, node::main()).map(|()| 0),
        Some(Part::Load) => runtime(false, load::main()).map(|()| 0),
        Some(Part::Product { arguments }) => runtime(true, soak::product::main(arguments)),
        Some(Part::Soak(settings)) => runtime(true, soak::run(&settings)).map(u8::from),
        None => runtime(true, rows::run(&cli.settings)).map(|()| 0),
    };
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The load generator has one thread, so that it takes no more than one core from what it measures.
fn runtime<T>(threads: bool, part: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let mut builder = match threads {
        true => tokio::runtime::Builder::new_multi_thread(),
        false => tokio::runtime::Builder::new_current_thread(),
    };
    builder.enable_all().build()?.block_on(part)
}
