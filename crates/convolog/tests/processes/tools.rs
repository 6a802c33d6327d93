//! `convolog import` and `convolog seed` as processes beside a running `convolog dev`: what they say, and exit codes.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::process::{Data, Dev};

fn tool(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_convolog"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to its end: exit code, standard output, standard error.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = tool(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// The number of the last event in the demo's log.
fn head(dev: &Dev) -> u64 {
    let answer = dev.get("/v1/events?after=0&limit=1", &dev.token());
    answer.rsplit_once("\"head\":").unwrap().1.trim_end_matches('}').parse().unwrap()
}

/// Conversations of these numbers, three events each.
fn lines(numbers: std::ops::Range<u32>) -> String {
    let line = |n| {
        let messages = r#"{"role":"user","content":"a"},{"role":"assistant","content":"b"}"#;
        format!("{{\"id\":{n},\"created\":1767225600,\"messages\":[{messages}]}}\n")
    };
    numbers.map(line).collect()
}

fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Imports from standard input, kills it as soon as something is recorded while it waits for more, and imports what is
/// whole: what that said.
fn import_again_after_a_kill(dev: &Dev, arguments: &[&str], first: &str, whole: &str) -> String {
    let before = head(dev);
    let mut killed = tool(arguments).stdin(Stdio::piped()).spawn().unwrap();
    let mut pipe = killed.stdin.take().unwrap();
    pipe.write_all(first.as_bytes()).unwrap();
    pipe.flush().unwrap();
    let begun = Instant::now();
    while head(dev) == before {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing was imported");
        std::thread::sleep(Duration::from_millis(5));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    drop(pipe);

    let mut again = tool(arguments).stdin(Stdio::piped()).spawn().unwrap();
    again.stdin.take().unwrap().write_all(whole.as_bytes()).unwrap();
    let output = again.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn an_import_tells_by_its_exit_code_and_its_words_what_came_of_it() {
    let mut data = Data::new();
    let dev = data.start();
    let folder = tempfile::tempdir().unwrap();
    let into = ["--data-dir", data.directory.path().to_str().unwrap(), "--email", "demo@example.com"];
    let import = |more: &[&str]| run(&[&["import"], more, &into].concat());
    let before = head(&dev);

    let bad = write(folder.path(), "bad.jsonl", &format!("{}{{\"messages\":[{{\"role\":7}}]}}\n", lines(0..3)));
    let (code, out, err) = import(&[&bad, "--strict"]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(err.contains("line 4: /messages/0/role: "), "{err}");
    assert!(out.contains("nothing was imported"), "{out}");
    assert_eq!(import(&[&bad, "--dry-run"]).0, 1);
    assert_eq!(head(&dev), before);
    let (code, out, _) = import(&[&bad]);
    assert_eq!(code, 1);
    assert!(out.contains("3 sessions new, 0 already there, 1 bad lines"), "{out}");
    assert_eq!(head(&dev), before + 9);

    let good = write(folder.path(), "good.jsonl", &lines(0..4));
    let (code, out, _) = import(&[&good, "--strict"]);
    assert_eq!(code, 0);
    assert!(out.contains("1 sessions new, 3 already there, 0 bad lines"), "{out}");
    assert_eq!(head(&dev), before + 12);

    for (arguments, expected) in [
        (vec!["-", "--strict"], "must be a file"),
        (vec!["/does/not/exist"], "can't be read"),
        (vec!["/tmp"], "is a folder"),
    ] {
        let (code, _, err) = import(&arguments);
        assert_eq!(code, 2, "{err}");
        assert!(err.contains(expected), "{err}");
    }
}

#[test]
fn an_import_that_was_killed_goes_on_where_it_was() {
    let mut data = Data::new();
    let dev = data.start();
    let directory = data.directory.path().to_str().unwrap();
    let arguments = ["import", "-", "--data-dir", directory, "--email", "demo@example.com"];
    let before = head(&dev);
    let said = import_again_after_a_kill(&dev, &arguments, &lines(0..200), &lines(0..300));
    let count = |word: &str| -> u64 {
        let before = said.split_once(word).unwrap().0;
        before.rsplit([' ', ',']).next().unwrap().parse().unwrap()
    };
    let (new, there) = (count(" sessions new"), count(" already there"));
    assert_eq!(new + there, 300, "{said}");
    assert!(there > 0, "{said}");
    assert_eq!(head(&dev), before + 900, "{said}");
}

#[test]
fn costs_of_a_table_are_imported_once_with_sums_to_compare() {
    let mut data = Data::new();
    let dev = data.start();
    let folder = tempfile::tempdir().unwrap();
    let into = ["--data-dir", data.directory.path().to_str().unwrap(), "--email", "demo@example.com"];
    let import = |more: &[&str]| run(&[&["import", "--costs"], more, &into].concat());
    let before = head(&dev);
    let header = "request_id,startTime,model,spend,currency,prompt_tokens\n";
    let rows: String = (0..450).map(|n| format!("r{n},2026-11-02 09:30:00,gpt-4o,1.1e-05,,{n}\n")).collect();
    let good =
        write(folder.path(), "good.csv", &format!("{header}{rows}x,2026-11-02,m,-0.1,EUR,\n,2026-11-02,m,,,7\n"));

    let (code, out, err) = import(&[&good, "--dry-run"]);
    assert_eq!(code, 0, "{err}");
    let sums = "\n  EUR -0.1 in 1 costs\n  USD 0.00495 in 450 costs\n  1 costs without an amount; nothing was imported";
    assert_eq!(out.trim_end(), format!("452 costs, 0 bad lines{sums}"));
    assert_eq!(head(&dev), before);
    let (code, out, err) = import(&[&good, "--strict"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("452 costs new, 0 already there, 0 bad lines"), "{out}");
    assert!(out.contains("\n  USD 0.00495 in 450 costs, of it new 0.00495 in 450"), "{out}");
    let (code, out, _) = import(&[&good]);
    assert_eq!(code, 0);
    assert!(out.contains("0 costs new, 452 already there, 0 bad lines"), "{out}");
    assert!(out.contains("\n  USD 0.00495 in 450 costs, of it new 0 in 0"), "{out}");
    assert_eq!(head(&dev), before + 452);

    // Another amount under a known id, in the other format, by its first character.
    let line = r#"{"id":"r7","date":"2026-11-02T09:30:00Z","model":"gpt-4o","cost":2,"prompt_tokens":7}"#;
    let changed = write(folder.path(), "changed", line);
    let (code, out, err) = import(&[&changed]);
    assert_eq!(code, 1, "{out}");
    assert!(err.contains("line 1: a cost of this id is in the ledger with another content"), "{err}");
    assert_eq!(head(&dev), before + 452);
    let (code, _, err) = import(&[&changed, "--format", "csv"]);
    assert_eq!(code, 2);
    assert!(err.contains("the first line must name the columns"), "{err}");
}

#[test]
fn an_import_of_costs_that_was_killed_goes_on_where_it_was() {
    let mut data = Data::new();
    let dev = data.start();
    let directory = data.directory.path().to_str().unwrap();
    let arguments = ["import", "-", "--costs", "--data-dir", directory, "--email", "demo@example.com"];
    let before = head(&dev);
    let rows = |numbers: std::ops::Range<u32>| -> String {
        numbers.map(|n| format!("{{\"id\":{n},\"date\":\"2026-11-02\",\"cost\":0.1}}\n")).collect()
    };
    let said = import_again_after_a_kill(&dev, &arguments, &rows(0..1_000), &rows(0..1_200));
    assert!(said.contains("USD 120 in 1200 costs"), "{said}");
    assert!(!said.contains(" 0 already there"), "{said}");
    assert_eq!(head(&dev), before + 1_200, "{said}");
}

#[test]
fn a_tenant_that_is_not_there_or_not_clear_is_bad_usage_that_lists_the_choices() {
    let mut data = Data::new();
    let dev = data.start();
    let directory = data.directory.path().to_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "a.jsonl", &lines(0..1));
    let import = |more: &[&str]| run(&[&["import", &file, "--data-dir", directory], more].concat());
    let body = |tenant| {
        format!(
            r#"{{"tenant_name":"{tenant}","email":"ada@example.com","password":"correct horse battery","name":"A"}}"#
        )
    };
    for tenant in ["One", "Two"] {
        assert!(dev.post("/v1/auth/register", None, &body(tenant)).starts_with("HTTP/1.1 201"));
    }
    for (arguments, expected) in [
        (&[][..], "--tenant <UUID>, or with --email"),
        (&["--email", "nobody@example.com"], "nobody with the address nobody@example.com"),
        (&["--email", "no address"], "--email no address"),
        (&["--tenant", "01890a5d-ac96-774b-bcce-b302099a8057"], "there is no tenant 01890a5d"),
    ] {
        let (code, _, err) = import(arguments);
        assert_eq!(code, 2, "{err}");
        assert!(err.contains(expected), "{err}");
    }
    let (code, _, err) = import(&["--email", "ada@example.com"]);
    assert_eq!(code, 2);
    let choice = err.lines().find(|line| line.ends_with("  Two")).unwrap();
    let tenant = choice.split_whitespace().nth(1).unwrap();
    let (code, out, _) = import(&["--tenant", tenant]);
    assert_eq!(code, 0);
    assert!(out.starts_with(&format!("Two ({tenant}): 1 sessions new")), "{out}");
}

#[test]
fn the_demo_is_made_once_and_others_beside_it_when_asked() {
    let mut data = Data::new();
    let dev = data.start();
    let directory = data.directory.path().to_str().unwrap();
    let before = head(&dev);
    let (code, out, err) = run(&["seed", "--data-dir", directory]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("everything is there already"), "{out}");
    assert!(out.contains(dev.line("Demo log-in ")), "{out}");
    assert_eq!(head(&dev), before);

    let mine = ["seed", "--data-dir", directory, "--email", "ada@example.com", "--tenant-name", "Ada's"];
    let (code, out, _) = run(&mine);
    assert_eq!(code, 0);
    assert!(out.contains("21 sessions recorded"), "{out}");
    let password = out.split_once("ada@example.com / ").unwrap().1.trim();
    let body = format!(r#"{{"email":"ada@example.com","password":"{password}"}}"#);
    assert!(dev.post("/v1/auth/login", None, &body).starts_with("HTTP/1.1 200"));
    assert!(run(&mine).1.contains("the password that it was made with"));
}

#[test]
fn a_replay_that_was_killed_goes_on_where_it_was_and_verify_finds_nothing() {
    let mut data = Data::new();
    let dev = data.start();
    let folder = tempfile::tempdir().unwrap();
    let demo = ["--data-dir", data.directory.path().to_str().unwrap(), "--email", "demo@example.com"];
    let long = write(folder.path(), "long.jsonl", &lines(0..10_000));
    assert_eq!(run(&[&["import", &long], &demo[..]].concat()).0, 0);
    let head = head(&dev);
    assert!(dev.get(&format!("/v1/sessions?limit=1&min_seq={head}"), &dev.token()).starts_with("HTTP/1.1 "));
    let runs = || run(&["replay", "--runs", demo[0], demo[1]]).1;
    let begun = Instant::now();
    let reached = || -> u64 {
        let text = runs();
        let after = text.split_once(" after event ").map_or("0", |it| it.1.split(',').next().unwrap());
        after.parse().unwrap()
    };
    let mut killed = tool(&[&["replay"], &demo[..]].concat()).spawn().unwrap();
    while reached() == 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "no run has begun");
        assert!(killed.try_wait().unwrap().is_none(), "it has ended before it was killed");
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(reached() > 0);

    let (code, out, err) = run(&[&["replay"], &demo[..]].concat());
    assert_eq!(code, 0, "{out}{err}");
    let words = "0 rows were not as they should be; ";
    let before: u64 = out.split_once(words).unwrap().1.split(' ').next().unwrap().parse().unwrap();
    assert!(before > 0 && out.contains(&format!("{before} events were projected before the interruption")), "{out}");
    assert_eq!(runs(), "");
    let (code, out, err) = run(&[&["verify"], &demo[..]].concat());
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.starts_with("0 rows differ; 1 tenants with "), "{out}");

    // And what it looked like before.
    let (code, out, err) = run(&[&["replay", "--to-seq", "5", "--print"], &demo[..]].concat());
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.lines().all(|line| line.starts_with("{\"table\":\"")) && !out.is_empty(), "{out}");
    let (code, out, err) = run(&[&["replay", "--to-time", "2020-01-01T00:00:00Z"], &demo[..]].concat());
    assert_eq!(code, 0, "{out}{err}");
    let kept = runs();
    let kept = kept.split(' ').next().unwrap();
    assert!(out.contains(&format!("kept as run {kept}")), "{out}");
    assert_eq!(run(&["replay", "--drop", kept, demo[0], demo[1]]).0, 0);
    assert_eq!(run(&["replay", "--drop", kept, demo[0], demo[1]]).0, 2);
    assert_eq!(run(&[&["replay", "--to-seq", "1000000"], &demo[..]].concat()).0, 2);
    assert_eq!(run(&["replay", "--to-seq", "1", demo[0], demo[1]]).0, 2);
    assert_eq!(runs(), "");
}

#[test]
fn without_services_a_tool_says_what_to_do() {
    let parent = tempfile::tempdir().unwrap();
    let nowhere = parent.path().join("nothing");
    let tools = [
        &["import", "-", "--email", "a@example.com"][..],
        &["seed"],
        &["replay"],
        &["verify"],
        &["dead-letters", "list"],
        &["dead-letters", "retry", "--all"],
    ];
    for tool in tools {
        let (code, _, err) = run(&[tool, &["--data-dir", nowhere.to_str().unwrap()]].concat());
        assert_eq!(code, 3, "{err}");
        assert!(err.contains("start it, name its folder with --data-dir"), "{err}");
        assert!(!nowhere.exists());
    }
}
