//! What both servers have in common: ports, logs, and what an earlier run has left; it starts nothing.

use std::{
    fs, io,
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use crate::{
    Error,
    account::{command, random_hex},
    error::{cannot, last_lines},
};

/// A free port of the loopback. It may be taken by another until it is used: callers try again.
///
/// It lies below the range that systems give to outgoing connections. A client that retries while its server is down
/// could otherwise be given the very port it connects to, and keep the server from coming back.
pub(crate) fn free_port() -> Result<u16, Error> {
    let loopback = Path::new("127.0.0.1");
    for _ in 0..50 {
        let random = u16::from_str_radix(&random_hex(2)?, 16).map_err(io::Error::other);
        let port = 15_000 + random.map_err(cannot("find a port on", loopback))? % 17_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    let any = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    any.map(|address| address.port()).map_err(cannot("find a port on", loopback))
}

/// Keeps the log of the run before as `<log>.old` and begins a new one.
pub(crate) fn rotate(log: &Path) -> Result<(), Error> {
    let mut old = log.as_os_str().to_owned();
    old.push(".old");
    match fs::rename(log, old) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(cannot("rename", log)(source)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The error of a server that did not start.
pub(crate) fn did_not_start(server: &'static str, why: String, log: &Path) -> Error {
    let text = fs::read(log).unwrap_or_default();
    Error::Start { server, why, log: log.to_owned(), lines: last_lines(&text, 12) }
}

/// Whether a server could not have its port, by its log.
pub(crate) fn port_was_taken(log: &Path) -> bool {
    let text = fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(&text).to_lowercase().contains("address already in use")
}

/// Ends a server that an earlier run has left behind on the same data, because its guard was killed too or is still
/// at work. `pid_file` begins with the process id; the process is ours when its command line names `dir`.
pub(crate) async fn end_left_over(
    server: &'static str,
    pid_file: &Path,
    dir: &Path,
    signals: &[&str],
) -> Result<(), Error> {
    let Ok(text) = fs::read_to_string(pid_file) else { return Ok(()) };
    let pid = text.lines().next().and_then(|line| line.trim().parse::<u32>().ok()).filter(|pid| *pid > 1);
    let Some(pid) = pid.filter(|pid| is_ours(*pid, dir)) else {
        // The process id may belong to somebody else by now, and PostgreSQL would believe it were running.
        return fs::remove_file(pid_file).map_err(cannot("remove", pid_file));
    };
    tracing::info!(server, pid, "stopping a server of an earlier run");
    for signal in signals {
        let kill = r#"kill -s "$1" "$2"; kill -s CONT "$2""#;
        let mut shell = command(Path::new("/bin/sh"), None);
        shell.args(["-c", kill, "kill", signal, &pid.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        shell.status().map_err(cannot("run", Path::new("/bin/sh")))?;
        let deadline = Instant::now() + Duration::from_secs(8);
        while Instant::now() < deadline {
            if !is_ours(pid, dir) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Err(Error::LeftOver { server, pid, dir: dir.to_owned() })
}

/// Whether the process lives and its command line names the folder.
pub(crate) fn is_ours(pid: u32, dir: &Path) -> bool {
    let dir = dir.as_os_str().as_encoded_bytes();
    let names = |text: &[u8]| text.windows(dir.len()).any(|part| part == dir);
    if Path::new("/proc/self").exists() {
        return fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|text| names(&text));
    }
    let mut ps = command(Path::new("ps"), None);
    ps.args(["-ww", "-o", "command=", "-p", &pid.to_string()]).output().is_ok_and(|output| names(&output.stdout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pid_file_that_names_a_stranger_is_removed_and_the_stranger_lives() {
        let dir = tempfile::tempdir().unwrap();
        let pid_file = dir.path().join("postmaster.pid");
        fs::write(&pid_file, format!("{}\n", std::process::id())).unwrap();
        end_left_over("postgres", &pid_file, dir.path(), &["KILL"]).await.unwrap();
        assert!(!pid_file.exists());
        end_left_over("postgres", &pid_file, dir.path(), &["KILL"]).await.unwrap();
    }

    #[test]
    fn ports_are_not_those_of_outgoing_connections() {
        for _ in 0..100 {
            assert!((15_000..32_768).contains(&free_port().unwrap()));
        }
    }
}
