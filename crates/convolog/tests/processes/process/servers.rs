//! PostgreSQL and NATS as somebody else runs them, processes of ours that say when they are ready, and their clients.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use local::{Binaries, Nats, NatsOptions, Places, Postgres, PostgresOptions, Storage, ThrowAwayDir};

use super::request;

/// The programs of the servers, as the binary finds them.
pub(crate) async fn binaries(folder: &Path) -> (Binaries, Places) {
    #[expect(clippy::disallowed_methods, reason = "the cache is where the binary's is")]
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let (home, cache) = (variable("HOME"), variable("XDG_CACHE_HOME"));
    let uid = local::current_uid().unwrap();
    let places = Places::from_process(uid, home.as_deref(), cache.as_deref(), folder).unwrap();
    (Binaries::provide(&places, &|_| {}).await.unwrap(), places)
}

/// What is unusual about the servers.
#[derive(Default)]
pub(crate) struct Unusual {
    /// Where PostgreSQL has its data, and makes it durable.
    pub(crate) postgres_folder: Option<PathBuf>,
    /// Most bytes that NATS stores, as its configuration says it.
    pub(crate) nats_bytes: Option<&'static str>,
}

/// Servers that are gone with what they have stored when they are dropped. The variables are the passwords of NATS' users.
pub(crate) async fn postgres_and_nats(
    folder: &Path,
    variables: Vec<(String, String)>,
    unusual: Unusual,
) -> (Postgres, Nats) {
    let (binaries, places) = binaries(folder).await;
    let storage = || Storage::ThrowAway(ThrowAwayDir::new(&places).unwrap());
    let options = PostgresOptions::new(unusual.postgres_folder.map_or_else(storage, Storage::Kept));
    let postgres = Postgres::start(&binaries, options).await.unwrap();
    (postgres, nats(&binaries, &places, variables, unusual.nats_bytes, None).await)
}

/// An empty server of NATS that stores at most so many bytes.
pub(crate) async fn nats(
    binaries: &Binaries,
    places: &Places,
    variables: Vec<(String, String)>,
    bytes: Option<&str>,
    port: Option<u16>,
) -> Nats {
    let mut config_text = bus::SERVER_CONFIG.to_owned();
    if let Some(bytes) = bytes {
        assert!(config_text.contains("jetstream: enabled"));
        config_text = config_text.replace("jetstream: enabled", &format!("jetstream: {{ max_file: {bytes} }}"));
    }
    let storage = Storage::ThrowAway(ThrowAwayDir::new(places).unwrap());
    Nats::start(binaries, NatsOptions { config_text, env: variables, storage, port }).await.unwrap()
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

    /// Waits until it has died as a crash point has it die.
    pub(crate) fn crashed(&mut self) {
        use std::os::unix::process::ExitStatusExt as _;
        const SIGABRT: i32 = 6;
        let begun = Instant::now();
        loop {
            match self.child.try_wait().unwrap() {
                Some(status) => return assert_eq!(status.signal(), Some(SIGABRT), "{status}"),
                None => assert!(begun.elapsed() < Duration::from_secs(60), "it did not reach the point"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
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

const PASSWORD: &str = "correct horse battery";

/// A tenant's user at some API.
pub(crate) struct Client {
    pub(crate) token: String,
}

pub(crate) fn field<'a>(answer: &'a str, name: &str) -> &'a str {
    let after = answer.split_once(&format!("\"{name}\":")).unwrap_or_else(|| panic!("no {name} in {answer}")).1;
    after.split([',', '}']).next().unwrap().trim_matches('"')
}

impl Client {
    pub(crate) fn register(api: &Process, name: &str) -> Self {
        let body = format!(
            r#"{{"tenant_name":"{name}","email":"{name}@example.com","password":"{PASSWORD}","name":"Somebody"}}"#
        );
        let answer = request(&api.address, "POST", "/v1/auth/register", None, &body);
        Self { token: field(&answer, "access_token").to_owned() }
    }

    /// Starts a session; answers its id and number.
    pub(crate) fn start_session(&self, api: &Process) -> (String, String) {
        let answer = request(&api.address, "POST", "/v1/sessions", Some(&self.token), r#"{"mode":"text"}"#);
        (field(&answer, "id").to_owned(), field(&answer, "seq").to_owned())
    }

    /// Reads the session, again and again until the read tables have it; how long that took.
    pub(crate) fn read(&self, api: &Process, (id, seq): &(String, String)) -> Duration {
        let begun = Instant::now();
        loop {
            let answer =
                request(&api.address, "GET", &format!("/v1/sessions/{id}?min_seq={seq}"), Some(&self.token), "");
            if answer.starts_with("HTTP/1.1 200") {
                return begun.elapsed();
            }
            assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
            assert!(begun.elapsed() < Duration::from_secs(60), "{answer}");
        }
    }
}
