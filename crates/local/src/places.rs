//! Where binaries and data lie on this machine; it is told what `main` has read and reads no environment itself.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::{
    Account, Error,
    account::{private_dir, random_hex},
    error::cannot,
};

/// Where the local services keep things, and whose they are.
#[derive(Clone, Debug)]
pub struct Places {
    /// Fetched binaries, shared by all checkouts of a user: `$XDG_CACHE_HOME/convolog`, `~/.cache/convolog`; as root
    /// `/var/cache/convolog`.
    pub cache: PathBuf,
    /// The data directory of this checkout, absolute.
    pub data: PathBuf,
    /// As root: where the services' data really lies, because their account can't be expected to reach [`Self::data`].
    /// It is bound to a random id in `data`: who removes `data` starts afresh, the old data stays behind.
    pub system_data: Option<PathBuf>,
    /// Where throw-away directories are made.
    pub scratch: PathBuf,
    /// As root: the account that the services run under.
    pub account: Option<Account>,
}

/// As root: where the services' data lies, a folder per data directory.
const SYSTEM_DATA: &str = "/var/lib/convolog";

impl Places {
    /// The places for a process of this user; creates `data_dir`. `home` and `xdg_cache_home` are the variables `HOME`
    /// and `XDG_CACHE_HOME`.
    ///
    /// # Errors
    ///
    /// When `data_dir` can't be made, or we are root and have no account for the services.
    pub fn from_process(
        uid: u32,
        home: Option<&Path>,
        xdg_cache_home: Option<&Path>,
        data_dir: &Path,
    ) -> Result<Self, Error> {
        // Made first: the same folder has the same absolute name on the first run and on later ones.
        private_dir(data_dir, None)?;
        let data = data_dir.canonicalize().map_err(cannot("find", data_dir))?;
        let scratch = PathBuf::from("/tmp");
        if uid == 0 {
            let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
            let id = installation(&data)?;
            return Ok(Self {
                cache: "/var/cache/convolog".into(),
                system_data: Some(system_data(Path::new(SYSTEM_DATA), &data, &id)),
                data,
                scratch,
                account: Some(Account::unprivileged(&passwd).ok_or(Error::NoAccount)?),
            });
        }
        // An empty or relative XDG_CACHE_HOME counts as unset, says its specification.
        let xdg = xdg_cache_home.filter(|path| path.is_absolute()).map(Path::to_owned);
        let home = home.filter(|path| path.is_absolute()).map(|home| home.join(".cache"));
        let cache = xdg.or(home).map_or_else(|| data.join("cache"), |folder| folder.join("convolog"));
        Ok(Self { cache, data, system_data: None, scratch, account: None })
    }

    /// Where the services of `data_dir` keep their data; `None`, and nothing made, when no process has used it.
    pub(crate) fn existing_data(uid: u32, data_dir: &Path) -> Option<PathBuf> {
        let data = data_dir.canonicalize().ok()?;
        if uid != 0 {
            return Some(data);
        }
        let id = fs::read_to_string(data.join(INSTALLATION)).ok()?;
        Some(system_data(Path::new(SYSTEM_DATA), &data, &id))
    }

    /// The folder for the data of PostgreSQL.
    #[must_use]
    pub fn postgres(&self) -> PathBuf {
        self.system_data.as_ref().unwrap_or(&self.data).join("postgres")
    }

    /// The folder for the data of NATS.
    #[must_use]
    pub fn nats(&self) -> PathBuf {
        self.system_data.as_ref().unwrap_or(&self.data).join("nats")
    }
}

/// The folder below `root` that belongs to this data directory and to its id.
fn system_data(root: &Path, data: &Path, id: &str) -> PathBuf {
    let hash = Sha256::digest([data.as_os_str().as_encoded_bytes(), b"\n", id.as_bytes()].concat());
    root.join(hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// The file in the data directory that holds its id.
const INSTALLATION: &str = "installation";

/// The id in the data directory, made at the first call; processes that come at the same time agree on one.
fn installation(data: &Path) -> Result<String, Error> {
    let path = data.join(INSTALLATION);
    let proposal = data.join(format!("installation.{}", random_hex(8)?));
    if !path.exists() {
        fs::write(&proposal, random_hex(16)?).map_err(cannot("write", &proposal))?;
        let linked = fs::hard_link(&proposal, &path);
        fs::remove_file(&proposal).map_err(cannot("remove", &proposal))?;
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(cannot("create", &path)(error)),
            Ok(()) | Err(_) => {}
        }
    }
    fs::read_to_string(&path).map_err(cannot("read", &path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_keeps_binaries_in_the_own_cache_and_data_in_the_checkout() {
        let checkout = tempfile::tempdir().unwrap();
        let data = checkout.path().join("a/.convolog");
        let home = Some(Path::new("/home/ada"));
        let places = Places::from_process(1000, home, None, &data).unwrap();
        assert_eq!(places.cache, Path::new("/home/ada/.cache/convolog"));
        assert_eq!(places.postgres(), data.canonicalize().unwrap().join("postgres"));
        assert_eq!(places.account, None);
        for (xdg, cache) in [("/x", "/x/convolog"), ("", "/home/ada/.cache/convolog")] {
            let places = Places::from_process(1000, home, Some(Path::new(xdg)), &data).unwrap();
            assert_eq!(places.cache, Path::new(cache));
        }
        let places = Places::from_process(1000, None, None, &data).unwrap();
        assert_eq!(places.cache, places.data.join("cache"));
    }

    #[test]
    fn system_data_belongs_to_one_checkout_until_its_folder_is_removed() {
        let checkouts = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            let data = checkouts.path().join(name);
            fs::create_dir_all(&data).unwrap();
            system_data(Path::new(SYSTEM_DATA), &data, &installation(&data).unwrap())
        };
        let first = folder("first");
        assert_eq!(folder("first"), first);
        assert_ne!(folder("second"), first);
        fs::remove_dir_all(checkouts.path().join("first")).unwrap();
        assert_ne!(folder("first"), first);
    }
}
