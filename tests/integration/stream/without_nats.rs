//! No message is needed: what nobody told of is found in PostgreSQL.

use tests::{World, WorldSettings};

use super::listener::listen;

async fn hears_everything(world: &World) {
    let user = world.tenant().await;
    let mut listener = listen(&user, "", 0).await;
    let session = user.start_session().await;
    assert_eq!(listener.events(4).await.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1, 2, 3, 4]);
    for n in 5..8 {
        let seq = user.say(session, "hello").await.seq();
        let (id, _) = listener.event().await.unwrap();
        assert_eq!((id, seq), (n, n));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_published_is_told_all_the_same() {
    let world = World::with(WorldSettings { relay: false, projector: false, ..Default::default() }).await;
    hears_everything(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_nats_events_are_told_as_usual() {
    let mut world = World::with(WorldSettings { apis: 0, ..Default::default() }).await;
    let mut settings = world.node_settings(&WorldSettings::default(), true);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    settings.nats.url = format!("nats://127.0.0.1:{port}");
    world.nodes.push(convolog::node::Node::start(settings).await.unwrap());
    hears_everything(&world).await;
}
