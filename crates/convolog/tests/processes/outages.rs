//! What the processes stand on breaks under load: PostgreSQL ends at once and is away, its disk is full, NATS is full. What was
//! acknowledged is there once, and all goes on without a hand.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::process::servers::{Client, Process, Unusual, field};
use crate::process::system::{PROJECTOR, Servers, text, until};
use crate::process::try_request;

/// Clients that repeat each command until it is acknowledged.
struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    clients: Vec<std::thread::JoinHandle<Vec<(String, String)>>>,
}

impl Load {
    fn start(api: &Process, clients: Vec<Client>) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let refused = Arc::new(AtomicU64::new(0));
        let clients = clients.into_iter().map(|client| {
            let (stop, acknowledged, refused) = (stop.clone(), acknowledged.clone(), refused.clone());
            let address = api.address.clone();
            std::thread::spawn(move || {
                let mut acks = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let key = format!("key {}", acks.len());
                    let headers = format!("authorization: Bearer {}\r\nidempotency-key: {key}\r\n", client.token);
                    let body = r#"{"service":"llm","provider":"a","amount":"0.000000000001"}"#;
                    match try_request(&address, "POST", "/v1/costs", &headers, body) {
                        Ok(answer) if answer.starts_with("HTTP/1.1 201") => {
                            acks.push((key, field(&answer, "seq").to_owned()));
                            acknowledged.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(answer) => {
                            let known = ["HTTP/1.1 503", "HTTP/1.1 409", ""].iter().any(|it| answer.starts_with(it));
                            assert!(known, "{answer}");
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(_broken) => {
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
                acks
            })
        });
        let clients = clients.collect();
        Self { stop, acknowledged, refused, clients }
    }

    /// So many more commands are acknowledged.
    fn goes_on(&self, more: u64) {
        let (from, begun) = (self.acknowledged.load(Ordering::Relaxed), Instant::now());
        while self.acknowledged.load(Ordering::Relaxed) < from + more {
            assert!(begun.elapsed() < Duration::from_secs(90), "commands do not go on");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Nothing is acknowledged any more, and that is said.
    fn stands_still(&self) {
        let (refused, begun) = (self.refused.load(Ordering::Relaxed), Instant::now());
        while self.refused.load(Ordering::Relaxed) < refused + 5 {
            assert!(begun.elapsed() < Duration::from_secs(90), "nothing is refused");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// All acknowledgements, by client.
    fn end(self) -> Vec<Vec<(String, String)>> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().map(|client| client.join().unwrap()).collect()
    }
}

/// Two tenants under load, with an API and a projector of their own.
struct Town {
    servers: Servers,
    api: Process,
    projector: Process,
    load: Load,
}

impl Town {
    async fn found(unusual: Unusual) -> Self {
        let servers = Servers::start_unusual(unusual).await;
        assert_eq!(servers.migrate().status().unwrap().code(), Some(0));
        let (api, projector) = (Process::start(servers.api()), Process::start(servers.projector()));
        let clients = ["one", "two"].map(|name| Client::register(&api, name));
        let load = Load::start(&api, clients.into());
        load.goes_on(20);
        Self { servers, api, projector, load }
    }

    /// Everything acknowledged is there once, read and published; both processes are those of the beginning.
    async fn recovered(mut self) {
        self.load.goes_on(20);
        let acknowledged: Vec<(String, String)> = self.load.end().concat();
        for process in [&mut self.api, &mut self.projector] {
            assert!(process.child.try_wait().unwrap().is_none(), "a process has ended");
        }
        let mut admin = self.servers.admin().await;
        let behind = "select count(*) from tenant_heads h left join relay_cursors r using (tenant_id)
                      left join projection_checkpoints c using (tenant_id)
                      where coalesce(r.seq, 0) < h.seq or coalesce(c.seq, 0) < h.seq";
        until("all is read and published", async || {
            sqlx::query_scalar::<_, i64>(behind).fetch_one(&mut admin).await.unwrap() == 0
        })
        .await;
        let stored: Vec<(String, String)> =
            sqlx::query_as("select key, seq::text from idempotency_keys order by key, seq")
                .fetch_all(&mut admin)
                .await
                .unwrap();
        let mut expected = acknowledged;
        expected.sort();
        let lost: Vec<_> = expected.iter().filter(|ack| !stored.contains(ack)).collect();
        assert!(lost.is_empty(), "acknowledged and not there: {lost:?}");
        // At most the last command of each client was stored and not acknowledged.
        assert!(stored.len() <= expected.len() + 2, "{} keys for {}", stored.len(), expected.len());
        let sums = "select count(*), sum(amount) = count(*) * 0.000000000001
                      and sum(amount) = (select sum(amount) from cost_summaries) from cost_events";
        let (costs, exact): (i64, bool) = sqlx::query_as(sums).fetch_one(&mut admin).await.unwrap();
        assert_eq!((costs, exact), (i64::try_from(stored.len()).unwrap(), true), "each cost once, and exact");
        let verified = self.servers.command(&["verify"], &[PROJECTOR.0]).output().unwrap();
        assert!(text(&verified).contains("0 rows differ; "), "{}", text(&verified));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_may_end_at_once_and_be_away() {
    let mut town = Town::found(Unusual::default()).await;
    for away in [Duration::ZERO, Duration::from_secs(8)] {
        // What `pg_ctl stop -m immediate` sends.
        let pid = town.servers.postgres.pid().to_string();
        assert!(Command::new("kill").args(["-QUIT", &pid]).status().unwrap().success());
        until("it has ended", async || town.servers.postgres.ended().is_some()).await;
        town.load.stands_still();
        tokio::time::sleep(away).await;
        town.servers.postgres.start_again().await.unwrap();
        town.load.goes_on(20);
    }
    town.recovered().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_may_be_full() {
    // A few hundred events.
    let mut town = Town::found(Unusual { nats_bytes: Some("256KB"), ..Unusual::default() }).await;
    town.load.goes_on(600);
    let mut admin = town.servers.admin().await;
    let behind = "select count(*) from tenant_heads h left join relay_cursors r using (tenant_id) where coalesce(r.seq, 0) < h.seq";
    let behind: i64 = sqlx::query_scalar(behind).fetch_one(&mut admin).await.unwrap();
    assert!(behind > 0, "it was not full");
    // What is read follows from PostgreSQL alone, soon enough for whoever waits for it.
    let reader = Client::register(&town.api, "three");
    for _ in 0..10 {
        reader.read(&town.api, &reader.start_session(&town.api));
    }
    // Whoever looks after it puts a larger one in its place.
    town.servers.replace_nats().await;
    town.recovered().await;
}

/// A small disk of its own; `None` where this account may not mount one.
fn small_disk(folder: &Path) -> Option<PathBuf> {
    let disk = folder.join("disk");
    std::fs::create_dir(&disk).unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=140m,mode=755", "tmpfs"]).arg(&disk).status();
    mount.is_ok_and(|status| status.success()).then_some(disk)
}

struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_disk_of_postgresql_may_be_full() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = small_disk(folder.path()) else {
        use std::io::Write as _;
        writeln!(std::io::stderr(), "not run: only root may mount a small disk").unwrap();
        return;
    };
    let _unmount = Unmount(disk.clone());
    Command::new("chmod").args(["-R", "a+rx"]).arg(folder.path()).status().unwrap();
    let mut town = Town::found(Unusual { postgres_folder: Some(disk.join("postgres")), ..Unusual::default() }).await;
    let filler = disk.join("filler");
    // Until not a byte is left.
    let _full = Command::new("dd").args(["if=/dev/zero", "bs=64k"]).arg(format!("of={}", filler.display())).output();
    let begun = Instant::now();
    // PostgreSQL still has room in the segments of WAL that it has made.
    while town.load.refused.load(Ordering::Relaxed) == 0 && begun.elapsed() < Duration::from_secs(60) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    town.load.stands_still();
    std::fs::remove_file(filler).unwrap();
    // It may have ended itself, and is started by whoever looks after it.
    if town.servers.postgres.ended().is_some() {
        town.servers.postgres.start_again().await.unwrap();
    }
    town.recovered().await;
}
