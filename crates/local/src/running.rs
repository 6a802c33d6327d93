//! The servers that another process runs on a data directory: where they are. It makes, starts and changes nothing.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{Places, nats, postgres, server::is_ours};

/// Where the servers of a data directory listen on 127.0.0.1, as far as they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// The port of PostgreSQL.
    pub postgres: Option<u16>,
    /// The port of NATS.
    pub nats: Option<u16>,
}

impl Running {
    /// Looks for the servers of a data directory; `None` when no process of ours has ever used it.
    #[must_use]
    pub fn find(uid: u32, data_dir: &Path) -> Option<Self> {
        let folder = Places::existing_data(uid, data_dir)?;
        Some(Self { postgres: postgres_port(&folder.join("postgres/data")), nats: nats_port(&folder.join("nats")) })
    }

    /// The superuser's URL of a database of the running PostgreSQL; `None` when none runs, or its password is for
    /// another account than ours.
    #[must_use]
    pub fn admin_url(uid: u32, data_dir: &Path, database: &str) -> Option<String> {
        let folder = Places::existing_data(uid, data_dir)?.join("postgres");
        let port = postgres_port(&folder.join("data"))?;
        let password = fs::read_to_string(folder.join(postgres::PASSWORD_FILE)).ok()?;
        Some(postgres::superuser_url(&password, port, database))
    }
}

/// The fourth line of PostgreSQL's pid file, when the server that wrote it lives and is ready.
fn postgres_port(data: &Path) -> Option<u16> {
    let text = fs::read_to_string(data.join(postgres::PID_FILE)).ok()?;
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let pid = lines.first()?.parse().ok()?;
    (is_ours(pid, data) && lines.get(7) == Some(&"ready")).then(|| lines.get(3)?.parse().ok()).flatten()
}

/// What was written beside NATS' pid file when the server was ready.
fn nats_port(folder: &Path) -> Option<u16> {
    let read = |file: PathBuf| Some(fs::read_to_string(file).ok()?.trim().to_owned());
    let pid = read(nats::pid_file(folder))?.parse().ok()?;
    let (of, port) = read(nats::port_file(folder))?.split_once(' ').map(|(of, port)| (of.parse(), port.parse()))?;
    (of == Ok(pid) && is_ours(pid, folder)).then_some(port.ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_nobody_uses_is_not_made() {
        let parent = tempfile::tempdir().unwrap();
        let data = parent.path().join("nothing");
        for uid in [0, 1000] {
            assert_eq!(Running::find(uid, &data), None);
        }
        assert!(!data.exists());
    }

    #[test]
    fn a_pid_file_that_a_crash_has_left_is_not_believed() {
        let data = tempfile::tempdir().unwrap();
        let cluster = data.path().join("postgres/data");
        fs::create_dir_all(&cluster).unwrap();
        // A process that lives and has nothing to do with the folder.
        let text = format!("{}\n{}\n0\n5432\n\n127.0.0.1\n0\nready\n", std::process::id(), cluster.display());
        fs::write(cluster.join(postgres::PID_FILE), text).unwrap();
        assert_eq!(Running::find(1000, data.path()), Some(Running { postgres: None, nats: None }));
    }
}
