//! `convolog dev` as a process: started, stopped, killed, started again.

use std::path::Path;
use std::time::{Duration, Instant};

use convolog::attach::{Attached, Role};
use convolog::settings::ServiceSettings;
use store::{ApiDatabase, ProjectorDatabase, RelayDatabase};

use crate::process::{Data, command};

/// Processes whose command line names the directory of these services.
fn processes_of(data: &Path) -> Vec<String> {
    let folder = data.ancestors().nth(2).unwrap().to_str().unwrap().to_owned();
    let commands = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let text = std::fs::read(entry.ok()?.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&text).replace('\0', " "))
    });
    commands.filter(|command| command.contains(&folder) && !command.contains("convolog dev")).collect()
}

fn wait_until_gone(data: &Path) {
    let begun = Instant::now();
    while !processes_of(data).is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(30), "left behind: {:?}", processes_of(data));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The exit code of `convolog status` and what it wrote.
fn status(data: &Path, arguments: &[&str]) -> (i32, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_convolog"));
    let output = command.arg("status").args(arguments).arg("--data-dir").arg(data).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn it_starts_serves_and_stops_cleanly() {
    let mut data = Data::new();
    let mut dev = data.start();
    let started = dev.post("/v1/sessions", Some(&dev.token()), r#"{"mode":"text"}"#);
    assert!(started.starts_with("HTTP/1.1 201"), "{started}");
    let (code, report) = status(data.directory.path(), &["--json"]);
    assert!(code == 0 && report.starts_with("{\"status\":\"ok\",\"reasons\":[]"), "{code}: {report}");
    let postgres = dev.postgres_data();
    assert!(!processes_of(&postgres).is_empty(), "the test looks for the wrong processes");
    dev.signal("-TERM");
    assert_eq!(dev.process.wait().unwrap().code(), Some(0));
    assert_eq!(processes_of(&postgres), [] as [String; 0]);
    let (code, report) = status(data.directory.path(), &[]);
    assert_eq!(code, 3, "{report}");
    for line in ["Status          failing", "PostgreSQL      does not answer", "NATS            not connected"] {
        assert!(report.lines().any(|found| found == line), "{line:?} in {report}");
    }
}

#[test]
fn kill_nine_leaves_nothing_behind_and_the_next_start_has_the_data() {
    let mut data = Data::new();
    let mut dev = data.start();
    let body = r#"{"id":"01890a5d-ac96-774b-bcce-b302099a8057","mode":"text"}"#;
    assert!(dev.post("/v1/sessions", Some(&dev.token()), body).starts_with("HTTP/1.1 201"));
    let (postgres, password) = (dev.postgres_data(), dev.line("Demo log-in ").to_owned());
    let key = dev.line("Demo API key ").to_owned();
    assert!(dev.get("/v1/events", &key).starts_with("HTTP/1.1 200"));
    dev.signal("-KILL");
    dev.process.wait().unwrap();
    wait_until_gone(&postgres);

    let again = data.start();
    assert_eq!(again.line("Demo log-in "), password);
    assert_eq!(again.line("Demo API key "), key);
    assert!(again.get("/v1/sessions", &key).starts_with("HTTP/1.1 200"));
    // The acknowledged session is there: its id is taken.
    let taken = again.post("/v1/sessions", Some(&again.token()), body);
    assert!(taken.starts_with("HTTP/1.1 409") && taken.contains("id_taken"), "{taken}");
}

#[test]
fn a_second_process_on_the_same_data_gets_one_clear_message() {
    let mut data = Data::new();
    let dev = data.start();
    let second = command(data.directory.path(), "127.0.0.1:0").output().unwrap();
    let message = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(3), "{message}");
    assert!(message.contains(&format!("already running with pid {}", dev.process.id())), "{message}");
}

#[test]
fn bad_usage_is_exit_code_two_and_says_what_to_do() {
    for (variable, value, expected) in [
        ("CONVOLOG_LISTN", "127.0.0.1:0", "did you mean CONVOLOG_LISTEN?"),
        ("CONVOLOG_LOG", "a=b=c=", "CONVOLOG_LOG"),
        ("CONVOLOG_OPERATOR_TOKEN", "short-secret", "CONVOLOG_OPERATOR_TOKEN"),
        ("CONVOLOG_RATE_LIMITS", "maybe", "possible values: on, off"),
        ("CONVOLOG_TRUSTED_PROXIES", "all", "invalid digit"),
    ] {
        let data = tempfile::tempdir().unwrap();
        let output = command(data.path(), "127.0.0.1:0").env(variable, value).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains(expected) && !message.contains("short-secret"), "{message}");
    }
}

#[test]
fn rate_limits_are_off_for_this_machine_alone() {
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:192.0.2.1]:0"] {
        let data = tempfile::tempdir().unwrap();
        let output = command(data.path(), listen).env("CONVOLOG_RATE_LIMITS", "off").output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{listen}: {message}");
        assert!(message.contains("CONVOLOG_RATE_LIMITS") && message.contains(listen), "{listen}: {message}");
        assert!(!data.path().join("postgres").exists(), "nothing was started");
    }
}

#[test]
fn a_server_that_is_away_is_exit_code_three_and_names_its_setting() {
    let data = tempfile::tempdir().unwrap();
    let output = command(data.path(), "127.0.0.1:0")
        .env("DATABASE_URL", "postgres://nobody:secret@127.0.0.1:1/none")
        .env("NATS_URL", "nats://127.0.0.1:1")
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{message}");
    assert!(message.contains("DATABASE_URL") && !message.contains("secret"), "{message}");
}

fn attached(data: &Path) -> Attached {
    Attached::find(&ServiceSettings::of(data)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_reaches_the_services_of_a_running_one_as_their_roles() {
    let mut data = Data::new();
    let mut dev = data.start();
    let second = attached(data.directory.path());
    let api = ApiDatabase::connect(second.database(Role::Api, 1).unwrap()).await.unwrap();
    api.self_check().await.unwrap();
    api.close().await;
    ProjectorDatabase::connect(second.database(Role::Projector, 1).unwrap()).await.unwrap();
    RelayDatabase::connect(second.database(Role::Relay, 1).unwrap()).await.unwrap();
    let nats = second.nats().unwrap();
    let password = nats.passwords[&bus::User::Api].as_str();
    let bus = bus::Bus::connect(&nats.url, bus::User::Api, Some(password)).await.unwrap();
    assert!(bus.ready(Duration::from_secs(10)).await);

    dev.signal("-TERM");
    dev.process.wait().unwrap();
    let late = attached(data.directory.path());
    assert_eq!(late.database(Role::Api, 1).unwrap_err().code(), 3);
    assert!(late.nats().is_none());
}
