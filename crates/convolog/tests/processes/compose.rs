//! `compose.yaml` against the code: its names, settings and secrets, and the processes that it describes, run without an
//! engine for containers.
#![allow(dead_code, reason = "members are named so that no other is taken")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::process::request;
use crate::process::servers::{Process, Unusual, binaries, postgres_and_nats};
use clap::CommandFactory;
use convolog::settings::Cli;
use serde::Deserialize;

/// What we use of the format; anything else is a mistake.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Compose {
    name: String,
    services: BTreeMap<String, Service>,
    secrets: BTreeMap<String, Secret>,
    volumes: BTreeMap<String, Option<()>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Service {
    image: String,
    build: Option<String>,
    entrypoint: Option<Vec<String>>,
    command: Option<Vec<String>>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    secrets: BTreeSet<String>,
    #[serde(default)]
    volumes: Vec<String>,
    #[serde(default)]
    ports: Vec<String>,
    #[serde(default)]
    depends_on: BTreeMap<String, Dependency>,
    healthcheck: Option<Healthcheck>,
    restart: String,
    shm_size: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Dependency {
    condition: Condition,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Condition {
    ServiceHealthy,
    ServiceCompletedSuccessfully,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Healthcheck {
    test: Vec<String>,
    interval: String,
    timeout: String,
    retries: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Secret {
    file: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

fn compose() -> Compose {
    serde_saphyr::from_str(&std::fs::read_to_string(root().join("compose.yaml")).unwrap()).unwrap()
}

/// Those of our image.
fn ours(compose: &Compose) -> impl Iterator<Item = (&str, &Service)> {
    compose.services.iter().filter(|(_, it)| it.image == "convolog").map(|(name, it)| (name.as_str(), it))
}

const FILE: &str = "file:/run/secrets/";

#[test]
fn everything_that_is_named_is_there_and_everything_that_is_there_is_used() {
    let compose = compose();
    assert_eq!(ours(&compose).map(|(name, _)| name).collect::<Vec<_>>(), ["api", "migrate", "projector"]);
    // One that had none would be looked for in a registry.
    assert!(ours(&compose).all(|(_, it)| it.build.as_deref() == Some(".")));
    let used: BTreeSet<&String> = compose.services.values().flat_map(|it| &it.secrets).collect();
    assert_eq!(used, compose.secrets.keys().collect());
    for (name, secret) in &compose.secrets {
        assert_eq!(secret.file, format!("./secrets/{name}"));
    }
    let mut kept = BTreeSet::new();
    for (name, service) in &compose.services {
        assert!(["unless-stopped", "on-failure"].contains(&service.restart.as_str()), "{name}");
        for (other, dependency) in &service.depends_on {
            let other = &compose.services[other];
            assert_eq!(dependency.condition == Condition::ServiceHealthy, other.healthcheck.is_some(), "{name}");
        }
        for volume in &service.volumes {
            match volume.split(':').next().unwrap() {
                path if path.starts_with('.') => assert!(root().join(path).is_file(), "{name}: {path}"),
                kept_one => assert!(kept.insert(kept_one.to_owned()), "{name}: {kept_one}"),
            }
        }
        let read = |value: &String| value.strip_prefix(FILE).or(value.strip_prefix("/run/secrets/")).map(str::to_owned);
        let read: BTreeSet<String> = service.environment.values().filter_map(read).collect();
        if service.entrypoint.is_none() {
            assert_eq!(read, service.secrets, "{name}");
        }
    }
    assert_eq!(kept, compose.volumes.keys().cloned().collect());
}

#[test]
fn each_process_is_given_settings_that_it_has() {
    let compose = compose();
    for (name, service) in ours(&compose) {
        let command = <Cli as CommandFactory>::command();
        let [subcommand] = &service.command.as_ref().unwrap()[..] else { panic!("{name}: one word") };
        let subcommand = command.find_subcommand(subcommand).unwrap_or_else(|| panic!("{name}: {subcommand}"));
        let known: BTreeSet<String> = subcommand
            .get_arguments()
            .chain(command.get_arguments().filter(|argument| argument.is_global_set()))
            .filter_map(|argument| Some(argument.get_env()?.to_str()?.to_owned()))
            .collect();
        for variable in service.environment.keys() {
            assert!(known.contains(variable), "{name}: {variable}");
        }
    }
}

#[test]
fn the_image_is_built_with_the_version_of_rust_that_the_workspace_names() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let version = manifest.split("rust-version = \"").nth(1).unwrap().split('"').next().unwrap();
    let dockerfile = std::fs::read_to_string(root().join("Dockerfile")).unwrap();
    assert!(dockerfile.contains(&format!("FROM rust:{version}-")), "{version}");
}

#[test]
fn tests_in_containers_have_the_same_postgresql() {
    let harness = std::fs::read_to_string(root().join("tests/harness/postgres/container.rs")).unwrap();
    let compose = compose();
    let (name, tag) = compose.services["postgres"].image.split_once(':').unwrap();
    assert!(harness.contains(&format!(r#"const IMAGE: (&str, &str) = ("{name}", "{tag}");"#)), "{name}:{tag}");
}

/// A copy of the script's folder, in which it has made the secrets.
fn secrets(folder: &Path) -> PathBuf {
    let copy = folder.join("docker");
    std::fs::create_dir(&copy).unwrap();
    std::fs::copy(root().join("docker/secrets"), copy.join("secrets")).unwrap();
    let run = || Command::new("sh").arg(copy.join("secrets")).output().unwrap();
    assert!(run().status.success(), "{}", text(&run()));
    let made = folder.join("secrets");
    let password = std::fs::read(made.join("postgres_password")).unwrap();
    assert!(run().status.success());
    assert_eq!(std::fs::read(made.join("postgres_password")).unwrap(), password, "what is there stays");
    made
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_of_nats_takes_its_configuration_and_the_passwords() {
    let folder = tempfile::tempdir().unwrap();
    let secrets = secrets(folder.path());
    for (from, to) in [("docker/nats.conf", "nats.conf"), ("nats/users.conf", "users.conf")] {
        std::fs::copy(root().join(from), folder.path().join(to)).unwrap();
    }
    let (binaries, _) = binaries(folder.path()).await;
    let path = format!("{}:/usr/bin:/bin", binaries.nats_server.parent().unwrap().display());
    let start = |secrets: &Path| {
        let mut command = Command::new("sh");
        command.arg(root().join("docker/nats")).arg("-t").env("PATH", &path).env("SECRETS", secrets);
        command.env("CONFIG", folder.path().join("nats.conf")).output().unwrap()
    };
    let checked = start(&secrets);
    assert!(checked.status.success(), "{}", text(&checked));
    assert!(!start(folder.path()).status.success(), "without passwords it must not start");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_processes_work_with_the_secrets_that_the_script_makes() {
    let folder = tempfile::tempdir().unwrap();
    let secrets = secrets(folder.path());
    let compose = compose();
    let made: BTreeSet<String> =
        std::fs::read_dir(&secrets).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(made, compose.secrets.keys().cloned().collect());
    let secret = |name: &str| std::fs::read_to_string(secrets.join(name)).unwrap().trim_end().to_owned();
    let password = |user: &str| {
        let variable = format!("CONVOLOG_NATS_{}_PASSWORD", user.to_uppercase());
        (variable, secret(&format!("nats_{user}_password")))
    };
    let passwords = ["api", "relay", "projector", "viewer"].map(password).to_vec();
    let (postgres, nats) = postgres_and_nats(folder.path(), passwords, Unusual::default()).await;
    // The servers are elsewhere than in containers; all else is as it stands there.
    let here = |value: &str| match value.strip_prefix(FILE) {
        Some("database_url") => postgres.admin_url("convolog"),
        Some(name) => {
            let text = secret(name).replace("@postgres:5432/", &format!("@127.0.0.1:{}/", postgres.port()));
            std::fs::write(folder.path().join(name), text).unwrap();
            format!("file:{}", folder.path().join(name).display())
        }
        None => value.replace("nats://nats:4222", &nats.url()).replace("0.0.0.0:8080", "127.0.0.1:0"),
    };
    let command = |name: &str| {
        let service = &compose.services[name];
        let mut command = Command::new(env!("CARGO_BIN_EXE_convolog"));
        command.args(service.command.as_ref().unwrap()).current_dir(folder.path());
        for (variable, value) in &service.environment {
            command.env(variable, here(value).replace("0.0.0.0:8081", "127.0.0.1:0"));
        }
        command
    };
    let migrated = command("migrate").output().unwrap();
    assert!(migrated.status.success(), "{}", text(&migrated));
    for process in [Process::start(command("api")), Process::start(command("projector"))] {
        let answer = request(&process.address, "GET", "/health/ready", None, "");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let figures = |token: &str| request(&process.address, "GET", "/metrics", Some(token), "");
        assert!(figures(&secret("operator_token")).starts_with("HTTP/1.1 200"));
        assert!(figures("something else").starts_with("HTTP/1.1 401"));
    }
}
