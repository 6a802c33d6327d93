//! `migrate`, `api` and `projector` as processes of their own: started, killed, stopped and continued.

use std::io::Write as _;
use std::process::Child;
use std::time::Instant;

use crate::process::request;
use crate::process::servers::{Client, Process};
use crate::process::system::{API, PROJECTOR, Servers, text, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_migrated_by_several_at_once_and_again_and_a_newer_or_older_one_is_refused() {
    let servers = Servers::start().await;
    let refused = servers.api().output().unwrap();
    assert_eq!(refused.status.code(), Some(3), "{}", text(&refused));

    let together: Vec<Child> = (0..3).map(|_| servers.migrate().spawn().unwrap()).collect();
    for migrate in together {
        let output = migrate.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    }
    let again = text(&servers.migrate().output().unwrap());
    assert!(again.starts_with("schema version ") && again.contains(" 0 migrations run"), "{again}");
    assert!(!again.contains("passwords"), "no password had to be made: {again}");
    // Whoever runs a process now has what it needs.
    drop((Process::start(servers.api()), Process::start(servers.projector())));

    let mut admin = servers.admin().await;
    let version = "update _sqlx_migrations set version = version + $1 where version = (select max(version) from _sqlx_migrations)";
    sqlx::query(version).bind(1000_i64).execute(&mut admin).await.unwrap();
    for mut command in [servers.migrate(), servers.api(), servers.projector()] {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(3));
        assert!(text(&output).contains("run the newer version"), "{}", text(&output));
    }
    sqlx::query(version).bind(-1000_i64).execute(&mut admin).await.unwrap();
    sqlx::query(
        "update _sqlx_migrations set success = false where version = (select max(version) from _sqlx_migrations)",
    )
    .execute(&mut admin)
    .await
    .unwrap();
    let output = servers.projector().output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output).contains("run `convolog migrate`"), "{}", text(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_or_wrong_is_said() {
    let servers = Servers::start().await;
    let none: &[&str] = &[];
    for (arguments, needs, code, says) in [
        (&["migrate"][..], none, 2, "DATABASE_URL is not set"),
        (&["migrate", "--api-database-url", "postgres://somebody@db/x"], &["DATABASE_URL"], 2, "as convolog_api"),
        (&["migrate", "--database-url", "file:/nowhere"], none, 2, "cannot read the file"),
        (&["api"], none, 3, "set CONVOLOG_API_DATABASE_URL"),
        (&["api"], &[API.0], 3, "set NATS_URL"),
        (&["api"], &[API.0, "NATS_URL"], 2, "set CONVOLOG_SIGNING_KEY"),
        (&["api", "--signing-key", "12"], &[API.0, "NATS_URL"], 2, "64 hexadecimal digits"),
        (&["api", "--allowed-origins", "https://app.example.com/"], none, 2, "CONVOLOG_ALLOWED_ORIGINS"),
        (&["projector"], &["CONVOLOG_RELAY_DATABASE_URL"], 3, "set CONVOLOG_PROJECTOR_DATABASE_URL"),
    ] {
        let output = servers.command(arguments, needs).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output));
        assert!(text(&output).contains(says), "{arguments:?}: {}", text(&output));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_share_the_work_and_take_over_from_one_that_is_killed_stopped_or_told_to_end() {
    let servers = Servers::start().await;
    assert_eq!(servers.migrate().status().unwrap().code(), Some(0));
    let apis = [Process::start(servers.api()), Process::start(servers.api())];
    let first = Process::start(servers.projector());
    let second = Process::start(servers.projector());
    until("the two share the shards", async || servers.shares().await == [32, 32]).await;
    // One of each half.
    let clients: Vec<Client> = (0..8).map(|n| Client::register(&apis[n % 2], &format!("tenant{n}"))).collect();
    // A command at one API is read at the other, whichever projector has the tenant.
    let all_are_read = |what: &str| {
        let posted: Vec<_> = clients.iter().map(|client| client.start_session(&apis[0])).collect();
        let begun = Instant::now();
        for (client, posted) in clients.iter().zip(&posted) {
            client.read(&apis[1], posted);
        }
        writeln!(std::io::stdout(), "{what}: read after {:?}", begun.elapsed()).unwrap();
    };
    all_are_read("both work");
    for path in ["/health/live", "/health/ready", "/metrics"] {
        let answer = request(&first.address, "GET", path, None, "");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    assert!(request(&first.address, "GET", "/v1/sessions", None, "").starts_with("HTTP/1.1 404"));

    drop(first);
    all_are_read("one was killed");
    assert_eq!(servers.shares().await, [64]);

    let third = Process::start(servers.projector());
    until("the two share the shards", async || servers.shares().await == [32, 32]).await;
    second.signal("-STOP");
    all_are_read("one was stopped");
    assert_eq!(servers.shares().await, [64]);
    second.signal("-CONT");
    all_are_read("it goes on");
    until("it has its share again", async || servers.shares().await == [32, 32]).await;

    third.signal("-TERM");
    until("what the one gives back the other takes", async || servers.shares().await == [64]).await;
    all_are_read("one was told to end");
    let needs = [PROJECTOR.0];
    let verified = servers.command(&["verify"], &needs).output().unwrap();
    assert_eq!(verified.status.code(), Some(0), "{}", text(&verified));
    assert!(text(&verified).contains("0 rows differ; 8 tenants"), "{}", text(&verified));
}
