//! A server held by a shell that stops it when this process goes, however it goes; nothing here knows which server.

use std::{
    ffi::OsString,
    io::{self, BufRead, BufReader, PipeWriter, Write},
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use crate::{Account, Error, ThrowAwayDir, account::command, error::cannot};

const SCRIPT: &str = include_str!("guard.sh");
const SH: &str = "/bin/sh";

/// What is run, and how it is stopped.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    /// `postgres`, `nats-server` or `initdb`.
    pub(crate) name: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) env: &'a [(String, String)],
    pub(crate) account: Option<&'a Account>,
    /// Where its output goes; appended to.
    pub(crate) log: &'a Path,
    /// Signals that stop it, each given 8 s before the next.
    pub(crate) signals: &'static str,
    /// The directory that must not be removed before the program and its children are gone.
    pub(crate) scratch: Option<&'a ThrowAwayDir>,
}

/// A running program; dropping it stops the program without waiting.
#[derive(Debug)]
pub(crate) struct Guard {
    name: &'static str,
    /// `None` after it was dropped to stop the program.
    pipe: Option<PipeWriter>,
    /// `None` when a thread of its own has taken over waiting for it.
    shell: Option<Child>,
    pid: u32,
}

impl Guard {
    pub(crate) fn spawn(program: Program<'_>) -> Result<Self, Error> {
        let failed = || cannot("run", &program.path);
        let (reader, pipe) = io::pipe().map_err(failed())?;
        let (answer, stdout) = io::pipe().map_err(failed())?;
        let stderr = program.scratch.map(ThrowAwayDir::hold).transpose()?.map_or_else(Stdio::null, Stdio::from);
        let mut command = command(Path::new(SH), program.account);
        command.args(["-c", SCRIPT, "guard"]).arg(program.log).arg(program.signals);
        command.arg(&program.path).args(&program.arguments);
        command.envs(program.env.iter().map(|(name, value)| (name, value)));
        let mut shell = command.stdin(reader).stdout(stdout).stderr(stderr).spawn().map_err(failed())?;
        // It holds copies of the guard's ends of the pipes.
        drop(command);
        let mut line = String::new();
        BufReader::new(answer).read_line(&mut line).map_err(failed())?;
        let Ok(pid) = line.trim().parse() else {
            drop(pipe);
            let status = shell.wait().map_err(failed())?;
            return Err(failed()(io::Error::other(format!("its guard ended at once, {status}"))));
        };
        Ok(Self { name: program.name, pipe: Some(pipe), shell: Some(shell), pid })
    }

    /// The program's own process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// How the program ended, when it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let ended = self.shell.as_mut()?.try_wait();
        ended.inspect_err(|error| tracing::warn!(%error, "a guard can't be waited for")).ok().flatten()
    }

    /// Kills the program at once, as a crash would, and waits until it is gone.
    pub(crate) async fn kill(&mut self) -> Result<(), Error> {
        if let Some(pipe) = &mut self.pipe {
            // The pipe is broken when the program has ended by itself.
            let _ = pipe.write_all(b"KILL\n");
        }
        self.gone(Duration::from_secs(10)).await.map(drop)
    }

    /// Stops the program in order and waits until it is gone.
    pub(crate) async fn stop(&mut self) -> Result<(), Error> {
        self.pipe = None;
        self.gone(Duration::from_secs(30)).await.map(drop)
    }

    /// Waits until the program has ended, by itself or because it was told to.
    pub(crate) async fn gone(&mut self, patience: Duration) -> Result<ExitStatus, Error> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.ended() {
                return Ok(status);
            }
            if Instant::now() > deadline {
                return Err(Error::Stop { server: self.name, pid: self.pid });
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.pipe = None;
        reap(self.shell.take());
    }
}

/// Waits for an ending shell in a thread, so that it does not stay behind as a zombie.
pub(crate) fn reap(shell: Option<Child>) {
    let Some(mut shell) = shell else { return };
    if matches!(shell.try_wait(), Ok(Some(_))) {
        return;
    }
    let waiting = std::thread::Builder::new().name("local-guard".into()).spawn(move || shell.wait());
    if let Err(error) = waiting {
        tracing::debug!(%error, "nobody waits for a guard");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell<'a>(script: &str, log: &'a Path) -> Program<'a> {
        let arguments = vec!["-c".into(), script.into()];
        let path = SH.into();
        Program { name: "sh", path, arguments, env: &[], account: None, log, signals: "TERM KILL", scratch: None }
    }

    #[tokio::test]
    async fn a_program_that_ends_at_once_is_noticed_every_time() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        for _ in 0..100 {
            let mut guard = Guard::spawn(shell("exit 3", &log)).unwrap();
            let status = guard.gone(Duration::from_secs(5)).await.unwrap();
            assert_eq!(status.code(), Some(3));
        }
    }

    #[tokio::test]
    async fn a_program_stops_from_the_first_moment_on_and_its_log_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        for _ in 0..50 {
            let mut guard = Guard::spawn(shell("echo here; exec sleep 60", &log)).unwrap();
            guard.pipe = None;
            guard.gone(Duration::from_secs(5)).await.unwrap();
        }
        let mut guard =
            Guard::spawn(shell("echo here; trap 'echo asked; exit' TERM; while :; do sleep 0.05; done", &log));
        let guard = guard.as_mut().unwrap();
        while !std::fs::read_to_string(&log).unwrap().contains("here") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        guard.stop().await.unwrap();
    }
}
