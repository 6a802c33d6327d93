//! Fetches one package with its registry's ordinary client and compares its checksum; it knows no registry itself.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::{Duration, Instant, SystemTime},
};

use sha2::{Digest, Sha256};
use tokio::{process::Command, time::MissedTickBehavior};

use crate::{
    Error, Progress,
    error::{Ways, cannot, last_lines},
    packages::{Client, Package},
};

/// Told about every step of a fetch.
pub(crate) type Tell<'a> = &'a (dyn Fn(Progress) + Send + Sync);

/// The programs that fetch and unpack.
#[derive(Clone, Debug)]
pub(crate) struct Clients {
    pub(crate) python: PathBuf,
    pub(crate) npm: PathBuf,
}

impl Default for Clients {
    fn default() -> Self {
        Self { python: "python3".into(), npm: "npm".into() }
    }
}

impl Clients {
    fn program(&self, client: Client) -> &Path {
        match client {
            Client::Pip => &self.python,
            Client::Npm => &self.npm,
        }
    }

    /// The client's call for a package, in a folder of the package's own.
    fn command(&self, package: &Package, folder: &Path) -> Command {
        let mut command = Command::new(self.program(package.client));
        match package.client {
            Client::Pip => command
                .args(["-m", "pip", "download", "--disable-pip-version-check", "--quiet", "--no-deps"])
                .arg("--only-binary=:all:")
                .args(&package.tags)
                .args(["-d", "."])
                .arg(format!("{}=={}", package.name, package.version)),
            Client::Npm => command
                .args(["pack", "--ignore-scripts", "--loglevel=error"])
                .arg(format!("{}@{}", package.name, package.version)),
        };
        // pip's temporary file grows below TMPDIR: there its progress can be seen.
        command.env("TMPDIR", folder).current_dir(folder).stdin(Stdio::null()).kill_on_drop(true);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// Where npm's half-fetched files grow, when npm tells.
    async fn npm_temporary(&self) -> Option<PathBuf> {
        let mut command = Command::new(&self.npm);
        command.args(["config", "get", "cache"]).stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await.ok()?;
        Some(Path::new(String::from_utf8_lossy(&output.stdout).trim()).join("_cacache/tmp"))
    }
}

/// Fetches a package into `folder`, which it makes. The file is the pinned one, or there is an error and no file.
pub(crate) async fn fetch(
    package: &Package,
    clients: &Clients,
    folder: &Path,
    ways: &Ways,
    tell: Tell<'_>,
) -> Result<PathBuf, Error> {
    fs::create_dir_all(folder).map_err(cannot("create", folder))?;
    let output = call(package, clients, folder, ways, tell).await?;
    let path = folder.join(&package.file);
    if !output.status.success() || !path.is_file() {
        return Err(refused(package, clients, &output, ways));
    }
    let found = {
        let path = path.clone();
        tokio::task::spawn_blocking(move || sha256(&path).map_err(cannot("read", &path))).await
    };
    let found = found.map_err(io::Error::other).map_err(cannot("read", &path))??;
    if found != package.sha256 {
        fs::remove_file(&path).map_err(cannot("remove", &path))?;
        return Err(Error::Checksum {
            package: package.title(),
            file: package.file.clone(),
            expected: package.sha256.clone(),
            found,
        });
    }
    tell(Progress::Fetched { package: package.title(), total: package.bytes });
    Ok(path)
}

/// Runs the client to its end, telling once a second how far it is.
async fn call(
    package: &Package,
    clients: &Clients,
    folder: &Path,
    ways: &Ways,
    tell: Tell<'_>,
) -> Result<Output, Error> {
    let (start, started) = (Instant::now(), SystemTime::now());
    let report = |received: u64| {
        tell(Progress::Fetching {
            package: package.title(),
            received: received.min(package.bytes),
            total: package.bytes,
            elapsed: start.elapsed(),
        });
    };
    report(0);
    let program = clients.program(package.client);
    let child = clients.command(package, folder).spawn().map_err(|source| {
        if source.kind() != io::ErrorKind::NotFound {
            return cannot("run", program)(source);
        }
        Error::ToolMissing { tool: program.display().to_string(), package: package.title(), ways: ways.clone() }
    })?;
    let mut places = vec![folder.to_owned()];
    if package.client == Client::Npm {
        places.extend(clients.npm_temporary().await);
    }
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let output = child.wait_with_output();
    tokio::pin!(output);
    loop {
        tokio::select! {
            output = &mut output => return output.map_err(cannot("run", program)),
            _ = tick.tick() => report(places.iter().map(|place| largest(place, started)).max().unwrap_or(0)),
        }
    }
}

fn refused(package: &Package, clients: &Clients, output: &Output, ways: &Ways) -> Error {
    let program = clients.program(package.client).display().to_string();
    let (title, ways) = (package.title(), ways.clone());
    if String::from_utf8_lossy(&output.stderr).contains("No module named pip") {
        return Error::ToolMissing { tool: format!("pip ({program} -m pip)"), package: title, ways };
    }
    // pip ends with the reason of its last try and the verdict, after long lines about each try before.
    let (client, count) = match package.client {
        Client::Pip => (format!("{program} -m pip"), 3),
        Client::Npm => (program, 8),
    };
    Error::Fetch { package: title, client, lines: last_lines(&output.stderr, count), ways }
}

/// Size of the largest file below a folder that was written since then; 0 when nothing can be seen.
fn largest(folder: &Path, since: SystemTime) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => largest(&entry.path(), since),
        Ok(found) if found.modified().is_ok_and(|modified| modified >= since) => found.len(),
        Ok(_) | Err(_) => 0,
    };
    entries.flatten().map(size).max().unwrap_or(0)
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        }
        hash.update(&buffer[..read]);
    }
}
