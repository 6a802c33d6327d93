//! The pinned packages: what is fetched for this machine, with which client, and which of its files are wanted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Error;

const PINNED: &str = include_str!("../packages.json");

/// Everything that is pinned, for all platforms.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pinned {
    pub(crate) postgresql: String,
    #[expect(dead_code, reason = "says to readers of the file what the PostgreSQL package contains")]
    pub(crate) pgvector: String,
    pub(crate) nats: String,
    pub(crate) platforms: Vec<Platform>,
    pub(crate) unpack: BTreeMap<String, Vec<Rule>>,
}

/// The packages for one operating system and processor, named as Rust names them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Platform {
    pub(crate) os: String,
    pub(crate) arch: String,
    #[expect(dead_code, reason = "says to readers of the file where the packages have run")]
    pub(crate) tried: bool,
    pub(crate) packages: Vec<Package>,
}

/// One package of a registry, as its client downloads it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Package {
    pub(crate) client: Client,
    pub(crate) name: String,
    pub(crate) version: String,
    /// Options of pip that choose the wheel.
    pub(crate) tags: Vec<String>,
    pub(crate) file: String,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
    /// Which of the rules for unpacking apply.
    pub(crate) unpack: String,
}

/// The program that fetches a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Client {
    Pip,
    Npm,
}

/// Files of an archive whose names begin with `from` are placed under `to`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    pub(crate) from: String,
    pub(crate) to: String,
}

/// What this machine needs.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    pub(crate) packages: Vec<Package>,
    pub(crate) unpack: BTreeMap<String, Vec<Rule>>,
    /// Name of the folder in the cache: other pins, other folder.
    pub(crate) folder: String,
}

impl Pinned {
    pub(crate) fn read() -> Result<Self, Error> {
        serde_json::from_str(PINNED).map_err(Error::PackageList)
    }

    /// The packages for a platform.
    pub(crate) fn select(self, os: &'static str, arch: &'static str) -> Result<Selection, Error> {
        let fits = |platform: &Platform| platform.os == os && platform.arch == arch;
        let platform = self.platforms.into_iter().find(fits).ok_or(Error::UnsupportedPlatform { os, arch })?;
        let mut hash = Sha256::new();
        for package in &platform.packages {
            hash.update(&package.sha256);
            for rule in self.unpack.get(&package.unpack).into_iter().flatten() {
                hash.update(format!("{} {}\n", rule.from, rule.to));
            }
        }
        let hash: String = hash.finalize().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let folder = format!("postgresql-{}-nats-{}-{os}-{arch}-{hash}", self.postgresql, self.nats);
        Ok(Selection { packages: platform.packages, unpack: self.unpack, folder })
    }
}

impl Package {
    /// Name and version, for people.
    pub(crate) fn title(&self) -> String {
        format!("{} {}", self.name, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_well_formed_for_every_platform() {
        let pinned = Pinned::read().unwrap();
        assert!(pinned.platforms.len() >= 3);
        for platform in &pinned.platforms {
            let kinds: Vec<_> = platform.packages.iter().map(|package| package.unpack.as_str()).collect();
            assert_eq!(kinds, ["postgresql", "extensions", "nats"], "{} {}", platform.os, platform.arch);
            for package in &platform.packages {
                let title = package.title();
                assert_eq!(package.sha256.len(), 64, "{title}");
                assert!(package.sha256.bytes().all(|digit| b"0123456789abcdef".contains(&digit)), "{title}");
                assert!((1_000_000..100_000_000).contains(&package.bytes), "{title}");
                assert!(package.file.contains(&package.version), "{title}");
                let ending = if package.client == Client::Pip { ".whl" } else { ".tgz" };
                assert!(package.file.ends_with(ending), "{title}");
                assert_eq!(package.tags.is_empty(), package.client == Client::Npm, "{title}");
                assert!(!pinned.unpack[&package.unpack].is_empty(), "{title}");
            }
        }
        for os in ["linux", "macos"] {
            assert!(pinned.platforms.iter().any(|platform| platform.os == os));
        }
    }

    #[test]
    fn the_list_names_no_server() {
        for part in ["http", "://", ".org", ".com", ".io"] {
            assert!(!PINNED.contains(part), "{part}");
        }
    }

    #[test]
    fn platforms_have_folders_of_their_own_and_unknown_ones_are_told_what_to_do() {
        let select = |os, arch| Pinned::read().unwrap().select(os, arch);
        let linux = select("linux", "x86_64").unwrap().folder;
        assert!(linux.starts_with("postgresql-18.4-nats-2.15.1-linux-x86_64-"), "{linux}");
        assert_ne!(linux, select("linux", "aarch64").unwrap().folder);
        let error = select("plan9", "mips").unwrap_err().to_string();
        for word in ["plan9", "mips", "DATABASE_URL", "NATS_URL"] {
            assert!(error.contains(word), "{error}");
        }
    }
}
