//! A stream ends cleanly, where the client can go on, when its token expires and when the process shuts down.

use api::tokens::{LEEWAY, LIFETIME};
use chrono::TimeDelta;
use tests::World;
use uuid::Uuid;

use super::listener::{ask, listen, log_of};
use crate::http::{assert_problem, grant, issuer, now};

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_when_its_token_does() {
    let world = World::start().await;
    let user = world.tenant().await;
    let mut short = user.clone();
    // `exp` counts whole seconds.
    let issued = now() - LIFETIME - LEEWAY + TimeDelta::seconds(3);
    short.token = Some(issuer(&world, None, None).await.issue(grant(&user), Uuid::now_v7(), issued).unwrap());
    let (mut all, mut of_tenant) = (listen(&short, "", 0).await, listen(&short, "?category=tenant", 0).await);
    let session = user.start_session().await;
    let told = all.events(4).await;
    assert_eq!(told, log_of(&user, "").await);
    assert_eq!(of_tenant.events(2).await, told[..2]);
    // It ends without a word, or with the place from which the client goes on.
    assert!(all.rest().await.is_empty());
    let rest = of_tenant.rest().await;
    assert!(rest.iter().all(|block| block.data.is_none()), "{rest:?}");
    assert_eq!(rest.last().unwrap().id, Some(4));
    assert!(now() >= issued + LIFETIME + LEEWAY - TimeDelta::seconds(1));
    assert_problem(&ask(&short, "", Some("4")).await.err().unwrap(), 401, "unauthorized");
    // With a new token it goes on.
    let seq = user.say(session, "hello").await.seq();
    assert_eq!(listen(&user, "", all.last).await.event().await.unwrap().0, seq);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_at_once_when_the_process_shuts_down() {
    let mut world = World::with(tests::WorldSettings { apis: 2, ..Default::default() }).await;
    let user = world.tenant().await;
    let elsewhere = user.at(world.url(1));
    let (mut all, mut of_tenant) = (listen(&elsewhere, "", 0).await, listen(&elsewhere, "?category=tenant", 0).await);
    let session = user.start_session().await;
    assert_eq!((all.events(4).await.len(), of_tenant.events(2).await.len()), (4, 2));
    let node = world.nodes.pop().unwrap();
    // Nothing else would end them for minutes.
    let stopped = tokio::time::timeout(std::time::Duration::from_secs(20), node.stop());
    let (stopped, rest, rest_of_tenant) = tokio::join!(stopped, all.rest(), of_tenant.rest());
    stopped.expect("streams hold up the shutdown").unwrap();
    assert!(rest.iter().chain(&rest_of_tenant).all(|block| block.data.is_none()));
    let seq = user.say(session, "meanwhile").await.seq();
    for last in [all.last, of_tenant.last] {
        assert!(last >= 2);
        let mut again = listen(&user, "", last).await;
        while again.event().await.unwrap().0 < seq {}
    }
}
