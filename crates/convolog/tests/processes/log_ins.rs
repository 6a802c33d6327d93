//! A flood of log-ins: each needs much memory for a moment, so few are computed at a time, and everybody else is still answered.
#![cfg(target_os = "linux")]

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::process::servers::{Client, Process};
use crate::process::system::Servers;
use crate::process::{request, try_request};

const LOG_INS: usize = 200;
/// What a process may need at its peak, in MiB: for itself, and for a hash on each core.
const ITSELF: usize = 150;
const A_HASH: usize = 20;

/// The most memory that the process has ever had, in MiB.
fn peak(process: &Process) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() / 1024
}

/// Logs in, again as long as there is no room; how often it was refused.
fn log_in(address: &str, password: &str) -> usize {
    let (begun, mut refused) = (Instant::now(), 0);
    let body = format!(r#"{{"email":"ada@example.com","password":"{password}"}}"#);
    loop {
        match try_request(address, "POST", "/v1/auth/login", "", &body) {
            Ok(answer) if answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.1 401") => return refused,
            Ok(answer) => assert!(answer.starts_with("HTTP/1.1 503"), "{answer}"),
            // Refused while its body was still on the way.
            Err(_) => {}
        }
        refused += 1;
        assert!(begun.elapsed() < Duration::from_secs(120), "there never is room");
        // As `Retry-After` says.
        std::thread::sleep(Duration::from_secs(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_log_ins_at_once_need_the_memory_of_a_few_and_others_are_answered_meanwhile() {
    let servers = Servers::start().await;
    assert_eq!(servers.migrate().status().unwrap().code(), Some(0));
    let api = Process::start(servers.api());
    Client::register(&api, "ada");
    let eve = Client::register(&api, "eve");
    let (under_way, refused) = (AtomicUsize::new(LOG_INS), AtomicUsize::new(0));
    let (mut answered, mut too_late) = (0, 0);
    std::thread::scope(|scope| {
        for n in 0..LOG_INS {
            let (address, under_way, refused) = (&api.address, &under_way, &refused);
            // A wrong one costs as much.
            let password = if n % 2 == 0 { "correct horse battery" } else { "wrong" };
            scope.spawn(move || {
                refused.fetch_add(log_in(address, password), Ordering::Relaxed);
                under_way.fetch_sub(1, Ordering::Relaxed);
            });
        }
        while under_way.load(Ordering::Relaxed) > 0 {
            let answer = request(&api.address, "GET", "/v1/auth/me", Some(&eve.token), "");
            match answer.split(' ').nth(1) {
                Some("200") => answered += 1,
                // The machine may be busy with something else.
                Some("503") => too_late += 1,
                _ => panic!("{answer}"),
            }
        }
    });
    let (peak, cores) = (peak(&api), std::thread::available_parallelism().unwrap().get());
    writeln!(
        std::io::stdout(),
        "{peak} MiB; {answered} others answered, {too_late} not; {} refusals",
        refused.into_inner()
    )
    .unwrap();
    assert!(answered >= 10 && answered > 4 * too_late, "others: {answered} were answered, {too_late} were not");
    assert!(peak < ITSELF + A_HASH * cores, "{peak} MiB on {cores} cores");
}
