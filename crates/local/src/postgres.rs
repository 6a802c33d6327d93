//! A local PostgreSQL cluster on the loopback, made at the first start; it knows no table of ours.

use std::{
    ffi::OsString,
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::{Duration, Instant},
};

use crate::{
    Binaries, Error, Storage,
    account::{private_dir, private_file, random_hex},
    error::cannot,
    guard::{Guard, Program},
    lock::Lock,
    server::{did_not_start, end_left_over, free_port, port_was_taken, rotate},
};

const NAME: &str = "postgres";
/// Beside the cluster: the password of its superuser, [`NAME`].
pub(crate) const PASSWORD_FILE: &str = "superuser-password";
/// In the cluster: process id, port and state of its server.
pub(crate) const PID_FILE: &str = "postmaster.pid";
/// How long recovery after a crash may take.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long a port, or the memory of a killed server, may stay taken.
const TAKEN: Duration = Duration::from_secs(15);

/// For every cluster: loopback and TCP only, UTC, a log that says who.
const SETTINGS: &[&str] = &[
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "timezone=UTC",
    "log_timezone=UTC",
    "log_line_prefix=%m [%p] %q%u@%d ",
    "shared_preload_libraries=pg_stat_statements",
    "cluster_name=convolog",
];
const KEPT: &[&str] = &["max_connections=200", "shared_buffers=256MB"];
/// `synchronous_commit` stays on, so that commits take the paths that they take in earnest.
const THROWN_AWAY: &[&str] =
    &["fsync=off", "full_page_writes=off", "max_connections=300", "shared_buffers=64MB", "max_wal_size=512MB"];

/// How a cluster is to run.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Where its data lies, and with it whether writes are made durable.
    pub storage: Storage,
    /// The port; a free one when `None`.
    pub port: Option<u16>,
    /// Further settings, which override ours.
    pub settings: Vec<(String, String)>,
}

impl PostgresOptions {
    /// A cluster on a free port.
    #[must_use]
    pub fn new(storage: Storage) -> Self {
        Self { storage, port: None, settings: Vec::new() }
    }
}

/// A running PostgreSQL. Dropping it stops the server without waiting; when this process dies, a guard stops it.
#[derive(Debug)]
pub struct Postgres {
    // Dropped first: the lock is free when the server is on its way out.
    guard: Guard,
    binaries: Binaries,
    options: PostgresOptions,
    folder: PathBuf,
    data: PathBuf,
    port: u16,
    password: String,
    _lock: Lock,
}

impl Postgres {
    /// Starts the cluster in its folder, making it when there is none, and recovering it when it was killed. A server
    /// that an earlier run has left there is stopped first.
    ///
    /// # Errors
    ///
    /// When another process of ours runs on the data, or the server does not start; the text then holds the end of
    /// its log.
    pub async fn start(binaries: &Binaries, options: PostgresOptions) -> Result<Self, Error> {
        let account = binaries.account.as_ref();
        let folder = options.storage.folder(NAME);
        private_dir(&folder, account)?;
        let lock = Lock::of_data(&folder)?;
        let data = folder.join("data");
        end_left_over(NAME, &data.join(PID_FILE), &data, &["INT", "QUIT", "KILL"]).await?;
        let password = make(binaries, &options, &folder, &data).await?;
        let (guard, port) = launch(binaries, &options, &folder, &data, options.port).await?;
        Ok(Self { guard, binaries: binaries.clone(), options, folder, data, port, password, _lock: lock })
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The superuser's URL of a database, whose name stands in it as it is; `postgres` exists from the start.
    #[must_use]
    pub fn admin_url(&self, database: &str) -> String {
        superuser_url(&self.password, self.port, database)
    }

    /// The cluster's data directory.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data
    }

    /// The server's log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    /// The process id of the postmaster.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.guard.pid()
    }

    /// How the server ended, when it has ended by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.guard.ended()
    }

    /// Stops the server in order (fast shutdown; a throw-away one at once) and waits until it is gone.
    ///
    /// # Errors
    ///
    /// When it does not go.
    pub async fn stop(mut self) -> Result<(), Error> {
        self.guard.stop().await
    }

    /// Kills the postmaster with SIGKILL, as a crash would, and waits until it is gone. See [`Self::start_again`].
    ///
    /// # Errors
    ///
    /// When it does not go.
    pub async fn kill(&mut self) -> Result<(), Error> {
        self.guard.kill().await
    }

    /// Starts the killed or ended server again on the same port and data.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub async fn start_again(&mut self) -> Result<(), Error> {
        self.guard.kill().await?;
        end_left_over(NAME, &self.data.join(PID_FILE), &self.data, &["QUIT", "KILL"]).await?;
        let (guard, _) = launch(&self.binaries, &self.options, &self.folder, &self.data, Some(self.port)).await?;
        self.guard = guard;
        Ok(())
    }
}

/// The URL of a cluster's superuser.
pub(crate) fn superuser_url(password: &str, port: u16, database: &str) -> String {
    format!("postgres://{NAME}:{password}@127.0.0.1:{port}/{database}")
}

/// Makes the cluster when there is none; gives its superuser's password.
async fn make(binaries: &Binaries, options: &PostgresOptions, folder: &Path, data: &Path) -> Result<String, Error> {
    let account = binaries.account.as_ref();
    let file = folder.join(PASSWORD_FILE);
    if data.is_dir() {
        return fs::read_to_string(&file).map_err(|source| Error::Password { dir: folder.to_owned(), file, source });
    }
    let password = random_hex(24)?;
    private_file(&file, &password, account)?;
    // A cluster appears at once: one whose making was interrupted is made anew.
    let unfinished = folder.join("data.unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(cannot("remove", &unfinished))?;
    }
    let scratch = options.storage.throw_away();
    let mut arguments: Vec<OsString> = vec!["-D".into(), unfinished.clone().into(), "-U".into(), NAME.into()];
    arguments.push("--pwfile".into());
    arguments.push(file.into());
    arguments.extend(["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions"].map(Into::into));
    // The order of code points, as in C, with letters beyond ASCII known as letters.
    arguments.extend(["--locale-provider=builtin", "--builtin-locale=C.UTF-8"].map(Into::into));
    arguments.extend(scratch.map(|_| "--no-sync".into()));
    let log = folder.join("initdb.log");
    let path = binaries.postgres_bin.join("initdb");
    let program =
        Program { name: "initdb", path, arguments, env: &[], account, log: &log, signals: "TERM KILL", scratch };
    let status = Guard::spawn(program)?.gone(PATIENCE).await?;
    if !status.success() {
        return Err(did_not_start("initdb", status.to_string(), &log));
    }
    fs::rename(&unfinished, data).map_err(cannot("create", data))?;
    Ok(password)
}

/// Starts the server; when its port or its memory is still taken, again and again for a while.
async fn launch(
    binaries: &Binaries,
    options: &PostgresOptions,
    folder: &Path,
    data: &Path,
    wanted: Option<u16>,
) -> Result<(Guard, u16), Error> {
    let log = folder.join("server.log");
    let scratch = options.storage.throw_away();
    let deadline = Instant::now() + TAKEN;
    loop {
        let port = wanted.map_or_else(free_port, Ok)?;
        rotate(&log)?;
        let mut guard = Guard::spawn(Program {
            name: NAME,
            path: binaries.postgres_bin.join(NAME),
            arguments: arguments(options, data, port),
            env: &[],
            account: binaries.account.as_ref(),
            log: &log,
            signals: if scratch.is_some() { "QUIT KILL" } else { "INT QUIT KILL" },
            scratch,
        })?;
        let Err(why) = ready(&mut guard, data).await else { return Ok((guard, port)) };
        let memory = fs::read_to_string(&log).is_ok_and(|text| text.contains("pre-existing shared memory block"));
        if Instant::now() > deadline || !(memory || port_was_taken(&log)) {
            return Err(did_not_start(NAME, why, &log));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn arguments(options: &PostgresOptions, data: &Path, port: u16) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["-D".into(), data.into(), "-p".into(), port.to_string().into()];
    let by_storage = if options.storage.throw_away().is_some() { THROWN_AWAY } else { KEPT };
    let ours = SETTINGS.iter().chain(by_storage).map(|setting| (*setting).to_owned());
    let theirs = options.settings.iter().map(|(name, value)| format!("{name}={value}"));
    for setting in ours.chain(theirs) {
        arguments.extend(["-c".into(), setting.into()]);
    }
    arguments
}

/// Waits until the server says in its pid file that it takes connections. Asking the port instead could be answered
/// by a stranger who has taken it.
async fn ready(guard: &mut Guard, data: &Path) -> Result<(), String> {
    let pid_file = data.join(PID_FILE);
    let pid = guard.pid().to_string();
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(status) = guard.ended() {
            let signal = status.signal().map(|signal| format!("signal {signal}"));
            return Err(signal.unwrap_or_else(|| status.to_string()));
        }
        let text = fs::read_to_string(&pid_file).unwrap_or_default();
        let mut lines = text.lines().map(str::trim);
        if lines.next() == Some(pid.as_str()) && lines.nth(6) == Some("ready") {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Err(format!("not ready after {} s", PATIENCE.as_secs()))
}
