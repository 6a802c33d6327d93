//! Once, and in the end whole: the same line again, in one file, in another tenant, after a failure, after a stop.

use tests::World;
use tokio_util::sync::CancellationToken;

use super::{conversation, file, import, said, try_import};

fn contents(id: &str, messages: usize) -> Vec<String> {
    (0..messages).map(|n| format!("{id} {n}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_line_is_one_conversation_in_a_file_in_a_later_one_and_without_an_id() {
    let world = World::start().await;
    let (user, other) = (world.tenant().await, world.tenant().await);
    let mut nameless = conversation("a", 3);
    nameless.as_object_mut().unwrap().remove("id");
    let lines = [conversation("a", 3), nameless.clone(), conversation("a", 3), nameless];
    let report = import(&world, &user, file(&lines)).await;
    assert_eq!((report.new, report.there, report.events), (2, 2, 8));
    let report = import(&world, &user, file(&lines).replace("\"role\":", "\"role\" : ")).await;
    // The bytes of a line without an id are another conversation's now.
    assert_eq!((report.new, report.there), (1, 3));
    let report = import(&world, &other, file(&lines)).await;
    assert_eq!((report.new, report.there), (2, 2));
    assert_eq!(said(&other).await, [contents("a", 3), contents("a", 3)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failure_exactly_the_missing_rest_is_added_also_inside_a_conversation() {
    let world = World::start().await;
    let user = world.tenant().await;
    // Of the long one, the first of three commands fits below the limit.
    let lines = file(&[conversation("short", 5), conversation("long", 250)]);
    let admin = &world.database.admin;
    sqlx::query("alter table events add constraint too_long check (version < 150)").execute(admin).await.unwrap();
    let (report, result) = try_import(&world, &user, lines.as_str(), &CancellationToken::new()).await;
    assert!(result.is_err());
    assert_eq!((report.new, report.events), (1, 6));
    assert_eq!(said(&user).await, [contents("long", 99), contents("short", 5)]);
    sqlx::query("alter table events drop constraint too_long").execute(admin).await.unwrap();

    let report = import(&world, &user, lines.as_str()).await;
    assert_eq!((report.new, report.completed, report.there, report.messages), (0, 1, 1, 151));
    assert_eq!(said(&user).await, [contents("long", 250), contents("short", 5)]);
    let report = import(&world, &user, lines.as_str()).await;
    assert_eq!((report.there, report.events), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_finishes_what_is_under_way_and_the_next_run_does_the_rest() {
    let world = World::start().await;
    let user = world.tenant().await;
    let lines: Vec<_> = (0..300).map(|n| conversation(&format!("c{n:03}"), 2)).collect();
    let stop = CancellationToken::new();
    let (stopped, head) = (stop.clone(), world.database.admin.clone());
    let watch = tokio::spawn(async move {
        let first = "select 1 from events where name = 'session_started'";
        while sqlx::query(first).fetch_optional(&head).await.unwrap().is_none() {
            tokio::task::yield_now().await;
        }
        stopped.cancel();
    });
    let (report, result) = try_import(&world, &user, file(&lines), &stop).await;
    result.unwrap();
    watch.await.unwrap();
    // What has been begun is whole.
    let begun = said(&user).await;
    assert_eq!(begun.len() as u64, report.new);
    assert!(begun.iter().all(|session| session.len() == 2));

    let rest = import(&world, &user, file(&lines)).await;
    assert_eq!((rest.new, rest.there), (300 - report.new, report.new));
    let expected: Vec<_> = (0..300).map(|n| contents(&format!("c{n:03}"), 2)).collect();
    assert_eq!(said(&user).await, expected);
}
