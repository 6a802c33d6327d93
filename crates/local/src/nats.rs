//! A local NATS server with JetStream on the loopback; users and streams are the caller's.

use std::{
    ffi::OsString,
    io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    time::timeout,
};

use crate::{
    Binaries, Error, Storage,
    account::{private_dir, private_file, random_hex},
    guard::{Guard, Program},
    lock::Lock,
    server::{did_not_start, end_left_over, free_port, port_was_taken, rotate},
};

const NAME: &str = "nats-server";
/// How long the recovery of its streams may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a port may stay taken.
const TAKEN: Duration = Duration::from_secs(15);

/// How a NATS server is to run.
#[derive(Clone, Debug)]
pub struct NatsOptions {
    /// The server's configuration: users, permissions, limits. Address, port and JetStream's folder are added.
    pub config_text: String,
    /// The variables that the configuration uses as `$NAME`, such as passwords; always taken as strings.
    pub env: Vec<(String, String)>,
    /// Where its data lies.
    pub storage: Storage,
    /// The port; a free one when `None`.
    pub port: Option<u16>,
}

/// A running NATS server. Dropping it stops the server without waiting; when this process dies, a guard stops it.
#[derive(Debug)]
pub struct Nats {
    // Dropped first: the lock is free when the server is on its way out.
    guard: Guard,
    binaries: Binaries,
    options: NatsOptions,
    folder: PathBuf,
    port: u16,
    _lock: Lock,
}

impl Nats {
    /// Starts the server on its folder. A server that an earlier run has left there is stopped first.
    ///
    /// # Errors
    ///
    /// When another process of ours runs on the data, or the server does not start; the text then holds the end of
    /// its log.
    pub async fn start(binaries: &Binaries, options: NatsOptions) -> Result<Self, Error> {
        let folder = options.storage.folder("nats");
        private_dir(&folder, binaries.account.as_ref())?;
        let lock = Lock::of_data(&folder)?;
        end_left_over(NAME, &pid_file(&folder), &folder, &["TERM", "KILL"]).await?;
        let (guard, port) = launch(binaries, &options, &folder, options.port).await?;
        Ok(Self { guard, binaries: binaries.clone(), options, folder, port, _lock: lock })
    }

    /// `nats://127.0.0.1:<port>`, without a user.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of JetStream, the configuration and the log.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.folder
    }

    /// The process id of the server.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.guard.pid()
    }

    /// How the server ended, when it has ended by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.guard.ended()
    }

    /// Stops the server in order and waits until it is gone.
    ///
    /// # Errors
    ///
    /// When it does not go.
    pub async fn stop(mut self) -> Result<(), Error> {
        self.guard.stop().await
    }

    /// Kills the server with SIGKILL, as a crash would, and waits until it is gone. See [`Self::start_again`].
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
        let (guard, _) = launch(&self.binaries, &self.options, &self.folder, Some(self.port)).await?;
        self.guard = guard;
        Ok(())
    }

    /// Removes all that the killed server has stored: the loss of NATS' disk, for tests.
    ///
    /// # Errors
    ///
    /// When the server can't be killed or the folder can't be removed.
    pub async fn wipe(&mut self) -> Result<(), Error> {
        self.guard.kill().await?;
        let store = self.folder.join(STORE);
        match std::fs::remove_dir_all(&store) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(Error::Io { what: "remove", path: store, source })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// The server adds a folder `jetstream` to the one it is given.
const STORE: &str = "jetstream";

/// The server's process id, written by itself.
pub(crate) fn pid_file(folder: &Path) -> PathBuf {
    folder.join("server.pid")
}

/// The process id and the port of the server that was last ready, for other processes.
pub(crate) fn port_file(folder: &Path) -> PathBuf {
    folder.join("server.port")
}

/// Starts the server; when its port is still taken, again and again for a while.
async fn launch(
    binaries: &Binaries,
    options: &NatsOptions,
    folder: &Path,
    wanted: Option<u16>,
) -> Result<(Guard, u16), Error> {
    let account = binaries.account.as_ref();
    let (config, log) = (folder.join("server.conf"), folder.join("server.log"));
    private_file(&config, &options.config_text, account)?;
    let env: Vec<_> = options.env.iter().map(|(name, value)| (name.clone(), quoted(value))).collect();
    let deadline = Instant::now() + TAKEN;
    loop {
        let port = wanted.map_or_else(free_port, Ok)?;
        let name = format!("convolog-{}", random_hex(6)?);
        rotate(&log)?;
        // Flags override the configuration, and leave alone what else it says about JetStream.
        let mut arguments: Vec<OsString> = vec!["-c".into(), config.clone().into(), "-js".into(), "-sd".into()];
        arguments.push(folder.into());
        arguments.extend(["-P".into(), pid_file(folder).into()]);
        arguments.extend(["-n", &name, "-a", "127.0.0.1", "-p", &port.to_string()].map(Into::into));
        let mut guard = Guard::spawn(Program {
            name: NAME,
            path: binaries.nats_server.clone(),
            arguments,
            env: &env,
            account,
            log: &log,
            signals: "TERM KILL",
            scratch: options.storage.throw_away(),
        })?;
        let Err(why) = ready(&mut guard, port, &name).await else {
            private_file(&port_file(folder), &format!("{} {port}", guard.pid()), account)?;
            return Ok((guard, port));
        };
        if Instant::now() > deadline || !port_was_taken(&log) {
            return Err(did_not_start(NAME, why, &log));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A string in the language of the configuration. The server parses the value of a variable: a password of digits
/// would be a number, and some do not parse at all.
fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', r"\\").replace('"', r#"\""#))
}

/// Waits until the server greets under the name that it was just given.
async fn ready(guard: &mut Guard, port: u16, name: &str) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(status) = guard.ended() {
            return Err(status.to_string());
        }
        if greeting(port).await.is_ok_and(|line| line.starts_with("INFO ") && line.contains(name)) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Err(format!("not ready after {} s", PATIENCE.as_secs()))
}

async fn greeting(port: u16) -> io::Result<String> {
    let mut line = String::new();
    let read = async {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        BufReader::new(stream).read_line(&mut line).await
    };
    timeout(Duration::from_secs(1), read).await.map_err(io::Error::other)??;
    Ok(line)
}
