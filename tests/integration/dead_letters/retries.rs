//! What waits behind a dead letter is projected in order, page by page, until an event fails again.

use domain::TenantId;
use projector::dead_letters::{PAGE, Unparked};
use reqwest::Method;
use serde_json::json;
use tests::{User, eventually};

use super::{POISON, drift, execute, letters, mend, parked, refuse_poison, retried, say_and_see};
use crate::faults::group_version::quick_world;
use crate::faults::oracle::assert_rows_are_those_of_the_log;

/// As many costs of this provider as a batch takes; all of one month, so of one stream. Answers the number of the last.
async fn costs(user: &User, provider: &str, count: usize) -> u64 {
    let cost = json!({"service": "llm", "provider": provider, "amount": "0.25"});
    let body = json!({"items": vec![cost; count]});
    let reply = user.insist(|| user.request(Method::POST, "/v1/costs/batch").json(&body)).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.body["results"].as_array().unwrap().iter().map(|result| result["seq"].as_u64().unwrap()).max().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_fails_again_leaves_the_stream_parked_at_that_event_and_counts() {
    let world = quick_world().await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    refuse_poison(&world).await;
    let first = user.say(session, POISON).await.seq();
    parked(&world, &user, 1).await;
    user.say(session, "between").await;
    let second = user.say(session, "poison of another kind").await.seq();
    let last = user.say(session, "last").await.seq();
    let reply = user.get(&format!("/v1/sessions/{session}?min_seq={last}")).await;
    assert_eq!(reply.body["message_count"], 0);

    let failed = retried(&world, &user, session).await;
    assert!(matches!(&failed, Unparked::Failed { seq, .. } if *seq == first), "{failed:?}");
    assert_eq!(letters(&world, &user).await[0].attempts, 2);
    execute(&world, "alter table messages drop constraint no_poison, add check (content not like '%another kind')")
        .await;
    let failed = retried(&world, &user, session).await;
    assert!(matches!(&failed, Unparked::Failed { seq, .. } if *seq == second), "{failed:?}");
    let letter = letters(&world, &user).await.remove(0);
    assert_eq!((letter.seq, letter.version, letter.attempts, letter.waiting), (second, 4, 3, 2));
    assert_eq!(user.messages(session, last).await.len(), 2, "the first and what is between them");
    assert_eq!(drift(&world).await, []);
    execute(&world, "alter table messages drop constraint messages_content_check").await;
    assert_eq!(retried(&world, &user, session).await, Unparked::Done(2));
    assert_rows_are_those_of_the_log(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_queue_is_projected_in_pages_and_stays_in_order_when_one_of_them_fails() {
    let world = quick_world().await;
    let user = world.tenant().await;
    execute(&world, "alter table cost_events add constraint no_poison check (provider not like 'poison%')").await;
    costs(&user, POISON, 1).await;
    parked(&world, &user, 1).await;
    costs(&user, "behind", 500).await;
    costs(&user, "behind", 499).await;
    let bad = costs(&user, "poison again", 1).await;
    let last = costs(&user, "behind", 100).await;
    say_and_see(&user, user.start_session().await, "not held up").await;
    let period = async || {
        let month = chrono::Utc::now().format("%Y-%m");
        user.insist(|| user.request(Method::GET, &format!("/v1/costs/periods/{month}?min_seq={last}"))).await
    };
    assert_eq!(period().await.body["last_version"], 0);
    let letter = letters(&world, &user).await.remove(0);
    assert!(letter.waiting == 1101 && letter.waiting > 2 * PAGE, "{letter:?}");

    execute(
        &world,
        "alter table cost_events drop constraint no_poison, add constraint no_poison check (provider <> 'poison again')",
    )
    .await;
    let failed = retried(&world, &user, letter.stream).await;
    assert!(matches!(&failed, Unparked::Failed { seq, .. } if *seq == bad), "{failed:?}");
    assert_eq!(period().await.body["last_version"], 1000);
    assert_eq!(drift(&world).await, []);
    execute(&world, "alter table cost_events drop constraint no_poison").await;
    assert_eq!(retried(&world, &user, letter.stream).await, Unparked::Done(101));
    assert_eq!(period().await.body["last_version"], 1101);
    assert_rows_are_those_of_the_log(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_parked_and_tried_again_by_several_while_all_goes_on_and_nothing_is_lost() {
    let world = quick_world().await;
    let user = world.tenant().await;
    let mut sessions = Vec::new();
    for _ in 0..6 {
        sessions.push(user.start_session().await);
    }
    refuse_poison(&world).await;
    for session in &sessions {
        user.say(*session, POISON).await;
    }
    parked(&world, &user, sessions.len()).await;
    mend(&world).await;
    let talk = store::spawn("talk", {
        let (user, sessions) = (user.clone(), sessions.clone());
        async move {
            for n in 0..25 {
                for session in &sessions {
                    let body = json!({"role": "user", "content": format!("behind {n}")});
                    let path = format!("/v1/sessions/{session}/messages");
                    assert_eq!(user.insist(|| user.request(Method::POST, &path).json(&body)).await.status, 201);
                }
            }
        }
    });
    let projector = super::projector(&world).await;
    let tries = sessions.iter().flat_map(|session| [*session, *session]).map(|session| {
        let (projector, tenant) = (projector.clone(), TenantId(user.tenant));
        store::spawn("retry", async move {
            projector::dead_letters::retry(&projector, tenant, session).await.unwrap();
        })
    });
    for task in tries.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    talk.await.unwrap();
    eventually("nothing is parked", async || letters(&world, &user).await.is_empty()).await;
    assert_rows_are_those_of_the_log(&world).await;
    let parked: i32 = sqlx::query_scalar("select parked from projection_checkpoints where tenant_id = $1")
        .bind(user.tenant)
        .fetch_one(&world.database.admin)
        .await
        .unwrap();
    assert_eq!(parked, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_rows_are_another_versions_is_left_to_it() {
    let mut world = quick_world().await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    refuse_poison(&world).await;
    user.say(session, POISON).await;
    parked(&world, &user, 1).await;
    world.stop_nodes().await;
    mend(&world).await;
    execute(&world, "update projection_checkpoints set version = version + 1").await;
    assert_eq!(retried(&world, &user, session).await, Unparked::OtherVersion);
    execute(&world, "update projection_checkpoints set version = version - 1").await;
    assert_eq!(retried(&world, &user, session).await, Unparked::Done(1));
}
