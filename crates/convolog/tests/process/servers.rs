//! PostgreSQL and NATS as somebody else runs them, and processes of ours that say when they are ready.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use local::{Binaries, Nats, NatsOptions, Places, Postgres, PostgresOptions, Storage, ThrowAwayDir};

/// The programs of the servers, as the binary finds them.
pub(crate) async fn binaries(folder: &Path) -> (Binaries, Places) {
    #[expect(clippy::disallowed_methods, reason = "the cache is where the binary's is")]
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let (home, cache) = (variable("HOME"), variable("XDG_CACHE_HOME"));
    let uid = local::current_uid().unwrap();
    let places = Places::from_process(uid, home.as_deref(), cache.as_deref(), folder).unwrap();
    (Binaries::provide(&places, &|_| {}).await.unwrap(), places)
}

/// Servers that are gone with what they have stored when they are dropped. The variables are the passwords of NATS' users.
pub(crate) async fn postgres_and_nats(folder: &Path, variables: Vec<(String, String)>) -> (Postgres, Nats) {
    let (binaries, places) = binaries(folder).await;
    let storage = || Storage::ThrowAway(ThrowAwayDir::new(&places).unwrap());
    let postgres = Postgres::start(&binaries, PostgresOptions::new(storage())).await.unwrap();
    let config_text = bus::SERVER_CONFIG.to_owned();
    let options = NatsOptions { config_text, env: variables, storage: storage(), port: None };
    (postgres, Nats::start(&binaries, options).await.unwrap())
}

/// A process that has said that it is ready; killed when dropped.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) address: String,
    /// Kept open: a process that can't print would end.
    _out: BufReader<ChildStdout>,
}

impl Process {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let address = line.trim_end().split("http://").nth(1).unwrap_or_else(|| panic!("{line:?}")).to_owned();
        Self { child, address, _out: out }
    }

    pub(crate) fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}
