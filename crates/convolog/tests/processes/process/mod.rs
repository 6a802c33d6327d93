//! `convolog dev` as a process of a test's own, with a data directory that is gone afterwards.

pub(crate) mod servers;
pub(crate) mod system;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

/// A running `convolog dev`; killed when dropped.
pub(crate) struct Dev {
    pub(crate) process: Child,
    /// What it printed up to the ready line.
    pub(crate) lines: Vec<String>,
    /// Kept open: a process that can't print would end.
    out: BufReader<ChildStdout>,
    token: OnceLock<String>,
}

pub(crate) fn command(data: &Path, listen: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_convolog"));
    command.args(["dev", "--listen", listen, "--data-dir"]).arg(data);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A request of its own connection; answers the head and the body.
pub(crate) fn request(address: &str, method: &str, path: &str, token: Option<&str>, body: &str) -> String {
    let authorization = token.map_or(String::new(), |token| format!("authorization: Bearer {token}\r\n"));
    try_request(address, method, path, &authorization, body).unwrap()
}

/// The same with headers of one's own, each with its line's end, of a process that may die meanwhile.
pub(crate) fn try_request(
    address: &str,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

impl Dev {
    fn start(data: &Path, listen: &str) -> Self {
        let log = data.join("standard-error.log");
        let mut process = command(data, listen).stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
        let out = BufReader::new(process.stdout.take().unwrap());
        let mut dev = Self { process, lines: Vec::new(), out, token: OnceLock::new() };
        while !dev.lines.last().is_some_and(|line| line.starts_with("convolog ready on ")) {
            let mut line = String::new();
            let read = dev.out.read_line(&mut line).unwrap();
            assert!(
                read > 0,
                "it ended before it was ready: {:?}\n{}",
                dev.lines,
                std::fs::read_to_string(&log).unwrap()
            );
            dev.lines.push(line.trim_end().to_owned());
        }
        dev
    }

    pub(crate) fn line(&self, prefix: &str) -> &str {
        self.lines.iter().find_map(|line| line.strip_prefix(prefix)).unwrap().trim()
    }

    pub(crate) fn address(&self) -> &str {
        self.line("convolog ready on http://")
    }

    /// A POST; answers the head and the body.
    pub(crate) fn post(&self, path: &str, token: Option<&str>, body: &str) -> String {
        self.request("POST", path, token, body)
    }

    /// A GET; answers the head and the body.
    pub(crate) fn get(&self, path: &str, token: &str) -> String {
        self.request("GET", path, Some(token), "")
    }

    fn request(&self, method: &str, path: &str, token: Option<&str>, body: &str) -> String {
        request(self.address(), method, path, token, body)
    }

    /// A token of the demo's owner, who logs in once: each log-in is an event.
    pub(crate) fn token(&self) -> String {
        self.token.get_or_init(|| self.log_in()).clone()
    }

    fn log_in(&self) -> String {
        let (email, password) = self.line("Demo log-in ").split_once(" / ").unwrap();
        let answer = self.post("/v1/auth/login", None, &format!(r#"{{"email":"{email}","password":"{password}"}}"#));
        answer.split("\"access_token\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    }

    /// Where PostgreSQL keeps its data: as root not below the data directory.
    pub(crate) fn postgres_data(&self) -> PathBuf {
        self.line("PostgreSQL ").split("data in ").nth(1).unwrap().into()
    }

    pub(crate) fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.process.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The data directory of a test, removed with what root's services keep elsewhere.
pub(crate) struct Data {
    pub(crate) directory: tempfile::TempDir,
    elsewhere: Option<PathBuf>,
}

impl Data {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), elsewhere: None }
    }

    pub(crate) fn start(&mut self) -> Dev {
        self.start_at("127.0.0.1:0")
    }

    pub(crate) fn start_at(&mut self, listen: &str) -> Dev {
        let dev = Dev::start(self.directory.path(), listen);
        let data = dev.postgres_data();
        if !data.starts_with(self.directory.path()) {
            // <elsewhere>/postgres/data
            self.elsewhere = data.ancestors().nth(2).map(Path::to_owned);
        }
        dev
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        if let Some(elsewhere) = &self.elsewhere {
            let _ = std::fs::remove_dir_all(elsewhere);
        }
    }
}
