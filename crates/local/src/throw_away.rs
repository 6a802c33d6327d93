//! Directories for tests, removed when the last user is gone, even when it was killed.

use std::{
    io::{self, PipeWriter},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    Error, Places,
    account::{command, private_dir, random_hex},
    error::cannot,
    guard::reap,
};

/// Waits until all writing ends of its standard input are closed; then nobody uses the directory any more.
const SCRIPT: &str = r#"trap '' HUP INT TERM
while read -r _; do :; done
tries=50
while [ "$tries" -gt 0 ] && ! rm -rf -- "$1"; do
    sleep 0.1 || sleep 1
    tries=$((tries - 1))
done"#;

/// Where the data of a server lies, and with it how much it matters.
#[derive(Clone, Debug)]
pub enum Storage {
    /// In this folder, for ever, with all writes made durable.
    Kept(PathBuf),
    /// In a folder of this directory, with `fsync = off`.
    ThrowAway(ThrowAwayDir),
}

impl Storage {
    /// The folder of a server.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        match self {
            Self::Kept(folder) => folder.clone(),
            Self::ThrowAway(dir) => dir.path().join(name),
        }
    }

    pub(crate) fn throw_away(&self) -> Option<&ThrowAwayDir> {
        match self {
            Self::Kept(_) => None,
            Self::ThrowAway(dir) => Some(dir),
        }
    }
}

/// A directory that the servers' account can use. It is removed when all clones are dropped (or this process has died)
/// and the servers that use it are gone; cheap to clone.
#[derive(Clone, Debug)]
pub struct ThrowAwayDir {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// Held by everyone who uses the directory; dropped first.
    pipe: Option<PipeWriter>,
    remover: Option<Child>,
}

impl ThrowAwayDir {
    /// Makes a directory below [`Places::scratch`].
    ///
    /// # Errors
    ///
    /// When it can't be made.
    pub fn new(places: &Places) -> Result<Self, Error> {
        let path = places.scratch.join(format!("convolog-{}", random_hex(6)?));
        let failed = || cannot("create", &path);
        let (reader, pipe) = io::pipe().map_err(failed())?;
        let mut remover = command(Path::new("/bin/sh"), None);
        remover.args(["-c", SCRIPT, "remover"]).arg(&path);
        let remover = remover.stdin(reader).stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(failed())?;
        // From here on the directory has somebody who removes it.
        let inner = Inner { path, pipe: Some(pipe), remover: Some(remover) };
        private_dir(&inner.path, places.account.as_ref())?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Drops this handle and waits until the directory is gone; the other handles are to be dropped before.
    pub async fn removed(self) {
        let path = self.path().to_owned();
        drop(self);
        let deadline = Instant::now() + Duration::from_secs(10);
        while path.exists() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What keeps the directory from being removed, for a child process.
    pub(crate) fn hold(&self) -> Result<PipeWriter, Error> {
        let pipe = self.inner.pipe.as_ref().ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe));
        pipe.and_then(PipeWriter::try_clone).map_err(cannot("hold", &self.inner.path))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.pipe = None;
        reap(self.remover.take());
    }
}
