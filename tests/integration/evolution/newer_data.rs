//! Old readers, newer data: what is not understood is carried on byte for byte, and holds up the rows of its tenant alone.

use convolog::node::Node;
use domain::Category;
use tests::{User, World, WorldSettings, eventually};

use super::{Foreign, members, on_nats, watch, write};
use crate::stream::listener::{listen, log_of};

/// Members, spaces and numbers that no serialiser of ours would write.
const DATA: &str = r#"{ "until" : 1.50, "é" : "\u00e9", "deep":[{"x":1e400}] }"#;

async fn checkpoint(world: &World, user: &User) -> i64 {
    sqlx::query_scalar("select coalesce(max(seq), 0) from projection_checkpoints where tenant_id = $1")
        .bind(user.tenant)
        .fetch_one(&world.database.admin)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_newer_code_is_carried_as_it_is_while_the_rows_of_its_tenant_wait() {
    let mut world = World::with(WorldSettings { relay: false, projector: false, ..WorldSettings::default() }).await;
    let mut seen = watch(&world).await;
    let (user, other) = (world.tenant().await, world.tenant().await);
    let session = user.start_session().await;
    let newer = Foreign { category: Category::Session, stream: session, name: "session_paused", schema: 1, data: DATA };
    let paused = write(&world, 0, user.tenant, newer.clone()).await;
    let newer_version = Foreign { name: "message_posted", schema: 7, ..newer.clone() };
    write(&world, 0, user.tenant, newer_version).await;
    // This version can't even name the category.
    let unknown = write(&world, 0, user.tenant, Foreign { stream: uuid::Uuid::now_v7(), ..newer }).await;
    sqlx::query("update events set category = 'widget', name = 'widget_added' where tenant_id = $1 and seq = $2")
        .bind(user.tenant)
        .bind(unknown.cast_signed())
        .execute(&world.database.admin)
        .await
        .unwrap();
    user.start_session().await;
    let theirs = other.start_session().await;
    let seq = other.say(theirs, "as usual").await.seq();

    let mut workers = world.node_settings(&WorldSettings::default(), true);
    workers.api = None;
    world.nodes.push(Node::start(workers).await.unwrap());
    let log = log_of(&user, "").await;
    assert_eq!(log.len() as u64, unknown + 1);
    let types = log[usize::try_from(paused).unwrap() - 1..].iter().map(|(_, event)| members(event)["type"].to_string());
    assert_eq!(
        types.collect::<Vec<_>>(),
        [
            "session.session_paused.v1",
            "session.message_posted.v7",
            "widget.widget_added.v1",
            "session.session_started.v1"
        ]
        .map(|name| format!(r#""convolog.{name}""#))
    );
    assert!(log[usize::try_from(paused).unwrap() - 1].1.ends_with(&format!(r#""data":{DATA}}}"#)));
    assert_eq!(on_nats(&mut seen, user.tenant, unknown + 1).await, log);
    assert_eq!(listen(&user, "", 0).await.events(log.len()).await, log);

    assert_eq!(other.messages(theirs, seq).await.len(), 1);
    eventually("all before it is projected", async || {
        let at = checkpoint(&world, &user).await;
        assert!(at < paused.cast_signed());
        at == paused.cast_signed() - 1
    })
    .await;
}
