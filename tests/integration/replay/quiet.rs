//! A rebuild is nobody's business: it tells nobody, and writes nothing into any log.

use futures_util::StreamExt as _;
use projector::replay::Sizes;
use tests::World;

use super::{rebuild_all, replay, tenants_with_a_past};
use crate::faults::outside::client;

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_publishes_rings_and_appends_nothing() {
    let world = World::start().await;
    tenants_with_a_past(&world, &[30, 60]).await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    world.drain().await;
    world.drain_relay().await;
    let (viewer, relay) = (client(&world, bus::User::Viewer).await, client(&world, bus::User::Relay).await);
    let mut events = viewer.subscribe("events.>").await.unwrap();
    let mut bells = relay.subscribe("doorbell.>").await.unwrap();
    viewer.flush().await.unwrap();
    relay.flush().await.unwrap();
    let logs = async || -> Vec<(i64, i64)> {
        let sql = "select h.seq, (select count(*) from events e where e.tenant_id = h.tenant_id) from tenant_heads h order by 1, 2";
        sqlx::query_as(sql).fetch_all(&world.database.admin).await.unwrap()
    };
    let before = logs().await;
    rebuild_all(&replay(&world, Sizes::default()).await).await;
    assert_eq!(logs().await, before);
    // What is heard first is what is said next.
    assert_eq!(user.say(session, "the first word after it").await.status, 201);
    let event = tokio::time::timeout(std::time::Duration::from_secs(30), events.next()).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&event.payload).contains("the first word after it"), "{event:?}");
    let bell = tokio::time::timeout(std::time::Duration::from_secs(30), bells.next()).await.unwrap().unwrap();
    assert!(bell.payload.windows(16).any(|bytes| bytes == user.tenant.as_bytes()), "{bell:?}");
}
