//! A process of the product, `convolog api` or the like, as this program runs itself; and its signals.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser as _;
use convolog::commands::UserFolders;
use convolog::logging::subscriber;
use convolog::settings::Cli;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::node::this_program;

/// How long a process may take until it says that it is ready, PostgreSQL's recovery included.
const START: Duration = Duration::from_secs(120);
const READY: &str = "ready";

/// One process.
pub(crate) struct Product {
    child: Child,
    /// Its end ends the process, should this one be killed.
    _alive: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    pub(crate) pid: u32,
}

impl Product {
    /// Starts it; what it logs is appended to `log`.
    pub(crate) fn spawn(arguments: &[&str], env: &[(String, String)], log: &Path) -> anyhow::Result<Self> {
        let log = OpenOptions::new().create(true).append(true).open(log).context("the log of a process")?;
        let mut child = this_program("product")?
            .args(arguments)
            .env_remove("DATABASE_URL")
            .envs(env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        let (alive, out) = (child.stdin.take().context("no stdin")?, child.stdout.take().context("no stdout")?);
        let pid = child.id().context("it has ended")?;
        Ok(Self { child, _alive: alive, answers: BufReader::new(out).lines(), pid })
    }

    /// Starts a server, again and again as a supervisor would, and gives the address that it tells.
    pub(crate) async fn up(arguments: &[&str], env: &[(String, String)], log: &Path) -> anyhow::Result<(Self, String)> {
        let deadline = Instant::now() + START;
        while Instant::now() < deadline {
            let mut product = Self::spawn(arguments, env, log)?;
            let left = deadline.saturating_duration_since(Instant::now());
            if let Ok(Some(line)) = tokio::time::timeout(left, product.answers.next_line()).await.unwrap_or(Ok(None))
                && let Some((_, told)) = line.split_once(READY)
            {
                return Ok((product, told.trim_start_matches(" on http://").trim().to_owned()));
            }
            product.kill().await?;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        anyhow::bail!("{arguments:?} was not ready within {} s; see {}", START.as_secs(), log.display())
    }

    /// Sends a signal by its name.
    pub(crate) async fn signal(&self, signal: &str) -> anyhow::Result<()> {
        send(self.pid, signal).await
    }

    pub(crate) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    pub(crate) async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Its exit status, and what it has written.
    pub(crate) async fn finish(mut self) -> anyhow::Result<(ExitStatus, Vec<String>)> {
        let mut lines = Vec::new();
        while let Some(line) = self.answers.next_line().await? {
            lines.push(line);
        }
        Ok((self.child.wait().await?, lines))
    }

    /// Ends it in order; how it ended, `None` when it did not within so long and was killed.
    pub(crate) async fn terminate(mut self, within: Duration) -> anyhow::Result<Option<ExitStatus>> {
        self.signal("TERM").await?;
        match tokio::time::timeout(within, self.child.wait()).await {
            Ok(status) => Ok(Some(status?)),
            Err(_late) => {
                self.child.kill().await?;
                Ok(None)
            }
        }
    }
}

/// Sends a signal to a process of ours.
pub(crate) async fn send(pid: u32, signal: &str) -> anyhow::Result<()> {
    let status = Command::new("kill").args(["-s", signal, &pid.to_string()]).status().await?;
    anyhow::ensure!(status.success(), "no {signal} for {pid}: {status}");
    Ok(())
}

/// The process itself: what `convolog` does with these arguments. It ends when whoever started it is gone.
pub(crate) async fn main(arguments: Vec<OsString>) -> anyhow::Result<u8> {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(1);
    });
    let cli = Cli::try_parse_from([OsString::from("convolog")].into_iter().chain(arguments))?;
    let logging = cli.logging.clone();
    let command = cli.command();
    let directives = logging.log.as_deref().unwrap_or(command.default_log());
    let subscriber = subscriber(directives, logging.log_format, false, std::io::stderr);
    tracing::subscriber::set_global_default(subscriber.map_err(anyhow::Error::msg)?)?;
    match command.run(&UserFolders::default()).await {
        Ok(exit) => Ok(exit as u8),
        Err(failure) => {
            tracing::error!(%failure, "it has ended");
            Ok(failure.code())
        }
    }
}
