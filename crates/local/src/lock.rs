//! A lock file that tells who holds it; the system releases it when the holder dies, however it dies.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use crate::{Error, error::cannot};

/// Held until dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock, or says in `Err` of the inner result who holds it.
    pub(crate) fn take(path: &Path) -> Result<Result<Self, String>, Error> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(cannot("open", path))?;
        match file.try_lock() {
            Ok(()) => {
                sign(&mut file).map_err(cannot("write", path))?;
                Ok(Ok(Self { file }))
            }
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).map_err(cannot("read", path))?;
                let holder = holder.trim();
                Ok(Err(if holder.is_empty() { "unknown".to_owned() } else { holder.to_owned() }))
            }
            Err(TryLockError::Error(source)) => Err(cannot("lock", path)(source)),
        }
    }

    /// Takes the lock of a data directory.
    pub(crate) fn of_data(dir: &Path) -> Result<Self, Error> {
        Self::take(&dir.join("lock"))?.map_err(|pid| Error::AlreadyRunning { dir: dir.to_owned(), pid })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing alone is not enough while another thread is about to start a program: for a moment the new process
        // has a copy of the open file.
        if let Err(error) = self.file.unlock() {
            tracing::warn!(%error, "a lock could not be released");
        }
    }
}

fn sign(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_holds_the_lock_and_gets_it_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let first = Lock::of_data(dir.path()).unwrap();
        let error = Lock::of_data(dir.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("already running with pid {} ", std::process::id())), "{error}");
        drop(first);
        Lock::of_data(dir.path()).unwrap();
    }
}
