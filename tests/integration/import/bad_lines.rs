//! A line that can't be imported is skipped and counted, and is nobody else's problem.

use convolog::import::line::MAX_LINE;
use convolog::import::report::Report;
use convolog::import::{Progress, lines, run};
use serde_json::json;
use tests::World;
use tokio_util::sync::CancellationToken;

use super::{conversation, file, import, now, said};

#[tokio::test(flavor = "multi_thread")]
async fn bad_lines_are_skipped_and_the_others_are_imported() {
    let world = World::start().await;
    let user = world.tenant().await;
    let mut late = conversation("late", 1);
    late["created"] = "2026-11-24T20:00:00Z".into();
    let mut lines = vec![b"{".to_vec(), vec![0xff], vec![], vec![b'x'; MAX_LINE + 1], late.to_string().into_bytes()];
    let good = conversation("good", 1).to_string().into_bytes();
    lines.push(good.clone());
    let report = import(&world, &user, lines.join(&b'\n')).await;
    assert_eq!((report.new, report.findings.bad), (1, 5));
    assert_eq!(said(&user).await, [["good 0"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_refuses_is_a_bad_line() {
    let world = World::start().await;
    let user = world.tenant().await;
    let long = conversation("long", 150);
    let ended = json!({"id": "ended", "ended": "2026-10-02T12:00:00Z", "messages": [{"role": "user", "content": "x"}]});
    let report = import(&world, &user, file(&[long.clone(), ended.clone()])).await;
    assert_eq!((report.new, report.findings.bad), (2, 0));

    // The same id with another content, and a part that would come after the end.
    let mut changed = long;
    changed["messages"][120]["content"] = "changed".into();
    let mut longer = ended;
    let message = json!({"role": "user", "content": "y", "created": "2026-10-03T12:00:00Z"});
    longer["messages"].as_array_mut().unwrap().push(message);
    let report = import(&world, &user, file(&[changed, longer, conversation("good", 1)])).await;
    assert_eq!((report.new, report.findings.bad, report.events), (1, 2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_counts_what_there_is_and_writes_nothing() {
    let source = std::io::Cursor::new(format!("{}{{\n", file(&[conversation("a", 3), conversation("b", 4)])));
    let mut report = Report::new(Progress::hidden(), now());
    run(None, lines::read(source), &CancellationToken::new(), &mut report).await.unwrap();
    assert_eq!((report.new, report.messages, report.events, report.findings.bad), (2, 7, 0, 1));
}
