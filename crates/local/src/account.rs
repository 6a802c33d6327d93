//! Whose processes and files these are: as root, those of an unprivileged account. It must not change our own user.

use std::{
    fs,
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
};

use crate::{Error, error::cannot};

/// Where the guards and servers find `sh`'s helpers: they get an environment of their own, without our secrets.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin";

/// An unprivileged account of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Account {
    /// The account that PostgreSQL can run under: `postgres`, else `nobody`, as `/etc/passwd` knows them.
    pub(crate) fn unprivileged(passwd: &str) -> Option<Self> {
        let named = |wanted: &str| {
            passwd.lines().find_map(|line| {
                let mut fields = line.split(':');
                let name = fields.next().filter(|name| *name == wanted)?;
                let uid = fields.nth(1)?.parse().ok().filter(|uid| *uid != 0)?;
                let gid = fields.next()?.parse().ok()?;
                Some(Self { name: name.to_owned(), uid, gid })
            })
        };
        named("postgres").or_else(|| named("nobody"))
    }
}

/// The user id that this process runs under.
///
/// # Errors
///
/// When neither `/proc` nor `id -u` tells.
pub fn current_uid() -> Result<u32, Error> {
    if let Ok(own) = fs::metadata("/proc/self") {
        return Ok(own.uid());
    }
    let output = Command::new("id").arg("-u").stdin(Stdio::null()).output().map_err(cannot("run", Path::new("id")))?;
    String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .map_err(io::Error::other)
        .map_err(cannot("read the output of", Path::new("id")))
}

/// A command under the account (or our own, when there is none), with an environment of its own, in a process group of
/// its own: Ctrl-C in the terminal is for us, who then stop it in order.
pub(crate) fn command(program: &Path, account: Option<&Account>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", PATH).env("LC_ALL", "C").current_dir("/").process_group(0).stdin(Stdio::null());
    if let Some(account) = account {
        command.uid(account.uid).gid(account.gid);
    }
    command
}

/// Makes a folder that only the account (or our own user) can enter; parents that are missing can be passed by all.
pub(crate) fn private_dir(path: &Path, account: Option<&Account>) -> Result<(), Error> {
    let missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
    let parents: Vec<_> = path.ancestors().skip(1).take_while(missing).collect();
    for parent in parents.into_iter().rev() {
        make(parent, 0o755)?;
    }
    make(path, 0o700)?;
    give(path, account)
}

/// Makes a folder, or takes the one that is there, and sets its mode whatever the umask is.
fn make(path: &Path, mode: u32) -> Result<(), Error> {
    fs::DirBuilder::new().recursive(true).mode(mode).create(path).map_err(cannot("create", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(cannot("protect", path))
}

/// Writes a file that only the account (or our own user) can read.
pub(crate) fn private_file(path: &Path, content: &str, account: Option<&Account>) -> Result<(), Error> {
    use std::os::unix::fs::OpenOptionsExt;

    // A file made anew is never somebody's symbolic link.
    let write = || {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        io::Write::write_all(&mut file, content.as_bytes())
    };
    write().map_err(cannot("write", path))?;
    give(path, account)
}

fn give(path: &Path, account: Option<&Account>) -> Result<(), Error> {
    let Some(account) = account else { return Ok(()) };
    std::os::unix::fs::lchown(path, Some(account.uid), Some(account.gid)).map_err(cannot("hand over", path))
}

/// Random hexadecimal digits, two for each byte, from the system's generator.
pub(crate) fn random_hex(bytes: usize) -> Result<String, Error> {
    let source = Path::new("/dev/urandom");
    let mut random = vec![0; bytes];
    fs::File::open(source).and_then(|mut file| file.read_exact(&mut random)).map_err(cannot("read", source))?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postgres_is_preferred_to_nobody() {
        let passwd = "root:x:0:0::/:/bin/sh\nnobody:x:65534:65533::/:\npostgres:x:101:104:,,,:/var:/bin/sh\n";
        let account = Account::unprivileged(passwd).unwrap();
        assert_eq!((account.name.as_str(), account.uid, account.gid), ("postgres", 101, 104));
        let account = Account::unprivileged(&passwd.replace("postgres", "somebody")).unwrap();
        assert_eq!((account.name.as_str(), account.uid, account.gid), ("nobody", 65534, 65533));
        assert_eq!(Account::unprivileged("root:x:0:0::/:/bin/sh\npostgres:x:0:0::/:\n"), None);
    }
}
