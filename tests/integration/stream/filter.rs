//! One category of a log: its events and no others, and a client that comes back does not look through the rest again.

use tests::{World, WorldSettings};

use super::listener::{Block, listen, log_of};
use crate::http::feed::long_log;

#[tokio::test(flavor = "multi_thread")]
async fn a_rare_category_is_told_and_so_is_how_far_the_log_was_looked_through() {
    let world = World::with(WorldSettings { relay: false, projector: false, ..Default::default() }).await;
    let user = world.tenant().await;
    long_log(&world, &user, &[7000, 12003]).await;
    let mut listener = listen(&user, "?category=tenant", 0).await;
    let (mut events, mut ids) = (Vec::new(), Vec::new());
    while listener.last < 12_100 {
        let block = listener.block().await.unwrap();
        assert!(!block.comment, "it does not say where it is: {}", listener.last);
        ids.extend(block.id);
        events.extend(block.data.and(block.id));
    }
    assert_eq!(events, [1, 2, 7000, 12_003]);
    assert!(ids.is_sorted() && ids.len() > events.len() + 2, "{ids:?}");
    // From any of these on, nothing is missing and nothing is told again.
    for id in ids {
        let mut again = listen(&user, "?category=tenant", id).await;
        let mut told = Vec::new();
        while again.last < 12_100 {
            let block = again.block().await.unwrap();
            assert!(!block.comment, "it does not say where it is: {}", again.last);
            told.extend(block.data.and(block.id));
        }
        assert!(told.iter().eq(events.iter().filter(|event| **event > id)), "{told:?} after {id}");
    }
    // The whole of the other category, in many pages.
    let mut others = listen(&user, "?category=session", 0).await;
    let told = others.events(12_100 - 5).await;
    assert!(told == log_of(&user, "&category=session").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_stream_says_that_it_lives_and_where_it_is() {
    let world = World::start().await;
    let user = world.tenant().await;
    let (mut all, mut of_tenant) = (listen(&user, "", 3).await, listen(&user, "?category=tenant", 3).await);
    let session = user.start_session().await;
    let seq = user.say(session, "not of the tenant").await.seq();
    assert_eq!(all.events(2).await.last().unwrap().0, seq);
    let placed = async {
        while of_tenant.last < seq {
            let block = of_tenant.block().await.unwrap();
            assert!(block.data.is_none() && !block.comment, "{block:?} at {}", of_tenant.last);
        }
    };
    let (silent, ()) = tokio::join!(all.block(), placed);
    assert_eq!(silent, Some(Block { comment: true, ..Block::default() }));
}
