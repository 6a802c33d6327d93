//! The real servers, in throw-away directories: they start, answer, recover, and never outlive their parent.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use local::{Binaries, Error, Nats, NatsOptions, Places, Postgres, PostgresOptions, Storage, ThrowAwayDir};

#[expect(clippy::disallowed_methods, reason = "a test has no main that has read the environment")]
fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).map(Into::into)
}

fn places() -> Places {
    let (home, xdg) = (variable("HOME"), variable("XDG_CACHE_HOME"));
    // The data directory is not used by any test: all data is thrown away.
    let data = tempfile::tempdir().unwrap();
    Places::from_process(local::current_uid().unwrap(), home.as_deref(), xdg.as_deref(), data.path()).unwrap()
}

async fn binaries(places: &Places) -> Binaries {
    let tell = |step: local::Progress| {
        let _ = writeln!(std::io::stderr(), "{step}");
    };
    Binaries::provide(places, &tell).await.unwrap()
}

fn nats_options(storage: Storage) -> NatsOptions {
    let config_text = "jetstream { max_file_store: 64MB }\n\
                       authorization { users: [{ user: tester, password: $TESTER_PASSWORD }] }\n";
    let env = vec![("TESTER_PASSWORD".to_owned(), r#"12e4 \"x\" secret"#.to_owned())];
    NatsOptions { config_text: config_text.to_owned(), env, storage, port: None }
}

/// Runs SQL with the fetched psql; gives what it prints.
fn psql(binaries: &Binaries, postgres: &Postgres, sql: &str) -> String {
    let mut command = Command::new(binaries.postgres_bin.join("psql"));
    command.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", sql]).arg(postgres.admin_url("postgres"));
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Says something in NATS' protocol and gives the answer's first line after the greeting.
fn say(nats: &Nats, line: &str) -> String {
    let stream = std::net::TcpStream::connect(("127.0.0.1", nats.port())).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    (&stream).write_all(format!("{line}\r\nPING\r\n").as_bytes()).unwrap();
    let mut lines = BufReader::new(&stream).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().contains("\"jetstream\":true"));
    lines.next().unwrap()
}

fn alive(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status"));
    status.is_ok_and(|text| !text.contains("\nState:\tZ"))
}

fn signal(pid: u32, name: &str) {
    assert!(Command::new("/bin/sh").args(["-c", &format!("kill -s {name} {pid}")]).status().unwrap().success());
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn both_start_answer_and_leave_nothing() {
    let places = places();
    let binaries = binaries(&places).await;
    let dir = ThrowAwayDir::new(&places).unwrap();
    let storage = Storage::ThrowAway(dir.clone());
    let mut options = PostgresOptions::new(storage.clone());
    options.settings.push(("max_connections".into(), "33".into()));
    let (postgres, nats) =
        tokio::join!(Postgres::start(&binaries, options), Nats::start(&binaries, nats_options(storage)));
    let (mut postgres, nats) = (postgres.unwrap(), nats.unwrap());

    let extensions = ["vector", "pg_trgm", "btree_gin", "pgcrypto", "pg_stat_statements"];
    let create: String = extensions.iter().map(|name| format!("create extension {name}; ")).collect();
    psql(&binaries, &postgres, &format!("{create} load 'auto_explain'"));
    let uses = "select '[1,2]'::vector <-> '[1,3]', similarity('abc', 'abd') > 0, length(digest('x', 'sha256')), \
                upper('é'), current_setting('fsync'), current_setting('synchronous_commit'), \
                current_setting('max_connections'), count(*) > 0 from pg_stat_statements";
    assert_eq!(psql(&binaries, &postgres, uses), "1|t|32|É|off|on|33|t");
    assert!(psql(&binaries, &postgres, "show server_version").starts_with("18.4"));
    assert_eq!(psql(&binaries, &postgres, "select 'B' < 'a', datcollate, datctype from pg_database limit 1"), "t|C|C");
    let no_password = format!("postgres://postgres@127.0.0.1:{}/postgres", postgres.port());
    let output = Command::new(binaries.postgres_bin.join("psql")).args(["-w", "-c", "select 1", &no_password]).output();
    assert!(!output.unwrap().status.success(), "a password is asked for");

    assert_eq!(say(&nats, r#"CONNECT {"verbose":false,"user":"tester","pass":"12e4 \\\"x\\\" secret"}"#), "PONG");
    assert!(say(&nats, r#"CONNECT {"verbose":false}"#).contains("Authorization Violation"));

    assert!(postgres.ended().is_none());
    let pids = [postgres.pid(), nats.pid()];
    assert!(pids.into_iter().all(alive));
    postgres.stop().await.unwrap();
    nats.stop().await.unwrap();
    assert!(!pids.into_iter().any(alive));
    let path = dir.path().to_owned();
    dir.removed().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn dropping_everything_stops_and_removes_everything() {
    let places = places();
    let binaries = binaries(&places).await;
    let dir = ThrowAwayDir::new(&places).unwrap();
    let path = dir.path().to_owned();
    let storage = Storage::ThrowAway(dir);
    let nats = Nats::start(&binaries, nats_options(storage.clone())).await.unwrap();
    let postgres = Postgres::start(&binaries, PostgresOptions::new(storage)).await.unwrap();
    let pids = [postgres.pid(), nats.pid()];
    drop((postgres, nats));
    until("the directory goes", || !path.exists()).await;
    assert!(!pids.into_iter().any(alive), "the directory goes last");
}

#[tokio::test]
async fn killed_servers_come_back_on_the_same_port_with_their_data() {
    let places = places();
    let binaries = binaries(&places).await;
    let dir = ThrowAwayDir::new(&places).unwrap();
    let kept = |name: &str| Storage::Kept(dir.path().join(name));
    let mut postgres = Postgres::start(&binaries, PostgresOptions::new(kept("p"))).await.unwrap();
    let mut nats = Nats::start(&binaries, nats_options(kept("n"))).await.unwrap();
    assert_eq!(psql(&binaries, &postgres, "show fsync"), "on");
    psql(&binaries, &postgres, "create table survivors (name text); insert into survivors values ('ada')");
    let (port, url, pids) = (postgres.port(), nats.url(), [postgres.pid(), nats.pid()]);

    let busy = Postgres::start(&binaries, PostgresOptions::new(kept("p"))).await.unwrap_err();
    assert!(matches!(&busy, Error::AlreadyRunning { pid, .. } if *pid == std::process::id().to_string()), "{busy}");
    let busy = Nats::start(&binaries, nats_options(kept("n"))).await.unwrap_err();
    assert!(busy.to_string().starts_with("already running with pid"), "{busy}");

    for _ in 0..2 {
        postgres.kill().await.unwrap();
        nats.kill().await.unwrap();
        assert!(postgres.ended().is_some());
        postgres.start_again().await.unwrap();
        nats.start_again().await.unwrap();
    }
    assert_eq!((postgres.port(), nats.url()), (port, url));
    assert_ne!([postgres.pid(), nats.pid()], pids);
    assert_eq!(psql(&binaries, &postgres, "select name from survivors"), "ada");

    nats.wipe().await.unwrap();
    nats.start_again().await.unwrap();
    postgres.stop().await.unwrap();
    nats.stop().await.unwrap();
    dir.removed().await;
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let places = places();
    let binaries = binaries(&places).await;
    let dir = ThrowAwayDir::new(&places).unwrap();
    let mut options = PostgresOptions::new(Storage::ThrowAway(dir.clone()));
    options.settings.push(("shared_buffers".into(), "much".into()));
    let error = Postgres::start(&binaries, options).await.unwrap_err().to_string();
    assert!(error.contains("postgres did not start") && error.contains("invalid value for parameter"), "{error}");
    let options =
        NatsOptions { config_text: "authorization {".into(), ..nats_options(Storage::ThrowAway(dir.clone())) };
    let error = Nats::start(&binaries, options).await.unwrap_err().to_string();
    assert!(error.contains("nats-server did not start") && error.contains("Parse error"), "{error}");
    dir.removed().await;
}

/// Both servers in a process of their own, which is this test binary in another role.
struct Parent {
    child: Child,
    postgres: u32,
    nats: u32,
}

const ROLE: &str = "CONVOLOG_LOCAL_TEST_PARENT";

impl Parent {
    fn start(kind: &str, dir: &Path) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "parent", "--nocapture"])
            .env(ROLE, format!("{kind} {}", dir.display()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let pids =
            stdout.lines().map(Result::unwrap).find_map(|line| line.split_once("pids ").map(|it| it.1.to_owned()));
        let pids = pids.unwrap_or_else(|| panic!("the parent has started no servers"));
        let (postgres, nats) = pids.split_once(' ').unwrap();
        Self { child, postgres: postgres.parse().unwrap(), nats: nats.parse().unwrap() }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Does nothing in an ordinary run; in its role it starts both servers, tells their ids and waits to be killed.
#[tokio::test]
async fn parent() {
    let Some(role) = variable(ROLE) else { return };
    let role = role.to_str().unwrap();
    let (kind, dir) = role.split_once(' ').unwrap();
    let places = Places { scratch: dir.into(), ..places() };
    let binaries = binaries(&places).await;
    let kept = |name: &str| Storage::Kept(Path::new(dir).join(name));
    let thrown_away = || Storage::ThrowAway(ThrowAwayDir::new(&places).unwrap());
    let (p, n) = if kind == "kept" { (kept("p"), kept("n")) } else { (thrown_away(), thrown_away()) };
    let postgres = Postgres::start(&binaries, PostgresOptions::new(p)).await.unwrap();
    let nats = Nats::start(&binaries, nats_options(n)).await.unwrap();
    let _ = writeln!(std::io::stdout(), "\npids {} {}", postgres.pid(), nats.pid());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_killed_parent_leaves_no_process_and_no_directory() {
    let places = places();
    let dir = ThrowAwayDir::new(&places).unwrap();
    let entries = || fs::read_dir(dir.path()).unwrap().count();
    let mut parent = Parent::start("thrown-away", dir.path());
    assert!(alive(parent.postgres) && alive(parent.nats));
    assert_eq!(entries(), 2);
    parent.kill();
    until("both directories go", || entries() == 0).await;
    assert!(!alive(parent.postgres) && !alive(parent.nats));
    dir.removed().await;
}

#[tokio::test]
async fn after_a_killed_parent_the_next_start_just_works() {
    let places = places();
    let binaries = binaries(&places).await;
    let dir = ThrowAwayDir::new(&places).unwrap();
    let mut parent = Parent::start("kept", dir.path());
    let busy = Postgres::start(&binaries, PostgresOptions::new(Storage::Kept(dir.path().join("p")))).await.unwrap_err();
    assert!(busy.to_string().contains(&format!("already running with pid {} ", parent.child.id())), "{busy}");
    parent.kill();
    starts_on_what_was_left(&binaries, &parent, dir).await;
}

#[tokio::test]
async fn servers_whose_guards_were_killed_too_are_replaced() {
    let places = places();
    let binaries = binaries(&places).await;
    let dir = ThrowAwayDir::new(&places).unwrap();
    let mut parent = Parent::start("kept", dir.path());
    let shells = [shells(parent.postgres), shells(parent.nats)].concat();
    assert_eq!(shells.len(), 4, "a guard and its watcher for each");
    shells.iter().for_each(|shell| signal(*shell, "KILL"));
    parent.kill();
    assert!(alive(parent.postgres) && alive(parent.nats), "nobody has stopped them");
    starts_on_what_was_left(&binaries, &parent, dir).await;
}

async fn starts_on_what_was_left(binaries: &Binaries, parent: &Parent, dir: ThrowAwayDir) {
    let kept = |name: &str| Storage::Kept(dir.path().join(name));
    let postgres = Postgres::start(binaries, PostgresOptions::new(kept("p"))).await.unwrap();
    let nats = Nats::start(binaries, nats_options(kept("n"))).await.unwrap();
    assert!(!alive(parent.postgres) && !alive(parent.nats));
    assert_eq!(psql(binaries, &postgres, "select 1"), "1");
    postgres.stop().await.unwrap();
    nats.stop().await.unwrap();
    dir.removed().await;
}

/// The guard of a server and the guard's other children.
fn shells(server: u32) -> Vec<u32> {
    let parent_of = |pid: u32| -> Option<u32> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
    };
    let guard = parent_of(server).unwrap();
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid == guard || *pid != server && parent_of(*pid) == Some(guard)).collect()
}
