//! `GET /v1/events` is the tenant's log: without a gap, in order, in the bytes of NATS, for those who may read it.

use std::collections::HashMap;

use domain::tenant::Role;
use futures_util::StreamExt as _;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tests::{User, World, WorldSettings};
use uuid::Uuid;

use super::{assert_problem, head, member, post_text, raw};

/// One page: the events' bytes, where to go on, the head.
async fn page(user: &User, query: &str) -> (Vec<String>, u64, u64) {
    let answer = raw(user.request(reqwest::Method::GET, &format!("/v1/events?{query}"))).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let page: HashMap<String, Box<RawValue>> = serde_json::from_str(&answer.text).unwrap();
    let data: Vec<Box<RawValue>> = serde_json::from_str(page["data"].get()).unwrap();
    let number = |member: &str| page[member].get().parse().unwrap();
    assert_eq!(answer.header("convolog-seq"), page["head"].get());
    (data.iter().map(|event| event.get().to_owned()).collect(), number("next_after"), number("head"))
}

/// A member of an event as text, whatever numbers its data holds.
fn member_of(event: &str, member: &str) -> String {
    let members: HashMap<String, Box<RawValue>> = serde_json::from_str(event).unwrap();
    members[member].get().trim_matches('"').to_owned()
}

fn sequence(event: &str) -> u64 {
    member_of(event, "sequence").parse().unwrap()
}

/// All pages of a query; each must move on.
async fn follow(user: &User, query: &str) -> Vec<String> {
    let (mut events, mut after) = (Vec::new(), 0);
    loop {
        let (data, next, head) = page(user, &format!("{query}&after={after}")).await;
        events.extend(data);
        if next >= head {
            return events;
        }
        assert!(next > after, "the feed does not move on from {after}");
        after = next;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_is_the_whole_log_in_the_bytes_of_nats() {
    let world = World::start().await;
    let password = world.nats_access.passwords[&bus::User::Viewer].clone();
    let viewer = async_nats::ConnectOptions::with_user_and_password("viewer".into(), password);
    let viewer = viewer.connect(&world.nats_access.url).await.unwrap();
    let mut seen = viewer.subscribe("events.>").await.unwrap();
    viewer.flush().await.unwrap();

    let user = world.tenant().await;
    let odd =
        r#"{"mode":"text","metadata": {"z" : 1.0,"a":1e400,"a":12345678901234567890123,"é\u00e9":"\u007f\/ 😀"}}"#;
    let session = raw(post_text(&user, "/v1/sessions", odd)).await.reply().id();
    for content in ["Hello", "\u{1}\n\"\\/", "\u{2028}😀ä"] {
        assert_eq!(user.say(session, content).await.status, 201);
    }
    user.post(&format!("/v1/sessions/{session}/end"), &json!({})).await;
    let head = head(&world, user.tenant).await;

    let all = follow(&user, "limit=200").await;
    assert_eq!(all.iter().map(|event| sequence(event)).collect::<Vec<_>>(), (1..=head).collect::<Vec<_>>());
    assert_eq!(follow(&user, "limit=1").await, all);
    assert_eq!(follow(&user, "limit=3").await, all);
    assert!(all[3].contains(r#"{"z" : 1.0,"a":1e400,"a":12345678901234567890123,"é\u00e9":"\u007f\/ 😀"}"#));
    for (event, seq) in all.iter().zip(1..) {
        let message = tokio::time::timeout(std::time::Duration::from_secs(20), seen.next()).await.unwrap().unwrap();
        assert_eq!(String::from_utf8(message.payload.to_vec()).unwrap(), *event);
        assert_eq!((sequence(event), &*member_of(event, "specversion")), (seq, "1.0"));
        assert_eq!(member_of(event, "tenantid"), user.tenant.to_string());
        assert_eq!(member_of(event, "actorid"), user.id.to_string());
    }
    assert_eq!(page(&user, &format!("after={head}")).await, (vec![], head, head));
    // Whoever is ahead of the log, say of a restored one, is not told to go further ahead or back.
    for after in [head + 1, i64::MAX.cast_unsigned()] {
        let beyond = user.get(&format!("/v1/events?after={after}")).await;
        assert_problem(&beyond, 422, "seq_not_in_log");
        assert_eq!(beyond.body["current_seq"], head);
    }
}

/// Makes the tenant's log 12,100 events long, those of these numbers of the tenant and all other new ones of sessions: it
/// cannot be written over HTTP in a moment.
pub(crate) async fn long_log(world: &World, user: &User, rare: &[i64]) {
    sqlx::query(
        "with new as (
           insert into events (tenant_id, seq, category, stream_id, version, event_id, name, schema, data, meta,
                               occurred_at, recorded_at)
           select e.tenant_id, n, case when rare then 'tenant' else 'session' end, gen_random_uuid(), 1,
                  gen_random_uuid(), case when rare then 'user_added' else 'session_ended' end, 1, '{}', e.meta,
                  now(), now()
           from events e, generate_series(4, 12100) n, lateral (select n = any($2) as rare) r
           where e.tenant_id = $1 and e.seq = 1)
         update tenant_heads set seq = 12100 where tenant_id = $1",
    )
    .bind(user.tenant)
    .bind(rare)
    .execute(&world.database.admin)
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rare_category_is_found_however_far_apart_its_events_are() {
    let world = World::with(WorldSettings { relay: false, projector: false, ..WorldSettings::default() }).await;
    let user = world.tenant().await;
    long_log(&world, &user, &[7000, 12003, 12100]).await;
    for limit in [1, 2, 200] {
        let rare = follow(&user, &format!("category=tenant&limit={limit}")).await;
        assert_eq!(rare.iter().map(|event| sequence(event)).collect::<Vec<_>>(), [1, 2, 7000, 12003, 12100]);
    }
    let mut others = follow(&user, "category=session&limit=200").await;
    assert_eq!(others.len(), 12_100 - 6);
    others.dedup();
    assert_eq!(others.len(), 12_100 - 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_ends_before_an_event_that_cannot_be_read_and_leaves_none_out() {
    let world = World::with(WorldSettings { relay: false, projector: false, ..WorldSettings::default() }).await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    for content in ["before", "damaged", "after"] {
        assert_eq!(user.say(session, content).await.status, 201);
    }
    let whole = follow(&user, "limit=200").await;
    let before = whole.iter().position(|event| event.contains("damaged")).unwrap();
    let (last, head) = (before as u64, whole.len() as u64);
    let damaged = last + 1;
    let set = "update events e set meta = $3::json from events former
               where (e.tenant_id, e.seq) = ($1, $2) and (former.tenant_id, former.seq) = ($1, $2)
               returning former.meta::text";
    let damage = async |meta: &str| -> String {
        let former = sqlx::query_scalar(set).bind(user.tenant).bind(damaged.cast_signed()).bind(meta);
        former.fetch_one(&world.database.admin).await.unwrap()
    };
    let meta = damage(r#"{"actor": "nobody"}"#).await;
    assert_eq!(page(&user, "limit=200").await, (whole[..before].to_vec(), last, head));
    assert_eq!(page(&user, &format!("category=session&after={}", last - 1)).await.1, last);
    assert_problem(&user.get(&format!("/v1/events?after={last}")).await, 500, "internal");
    assert_eq!(page(&user, &format!("after={damaged}")).await.0, whole[before + 1..]);
    damage(&meta).await;
    assert_eq!(follow(&user, "limit=200").await, whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_large_events_ends_early_and_goes_on_where_it_ended() {
    let world = World::with(WorldSettings { relay: false, projector: false, ..WorldSettings::default() }).await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    // Escaped in JSON each character has six bytes.
    let content = "\u{1}".repeat(80_000);
    for _ in 0..20 {
        assert_eq!(user.say(session, &content).await.status, 201);
    }
    let (first, next, head) = page(&user, "limit=200").await;
    assert!((10..24).contains(&first.len()) && next == first.len() as u64 && head == 24, "{} events", first.len());
    let all = follow(&user, "limit=200").await;
    assert_eq!(all.iter().map(|event| sequence(event)).collect::<Vec<_>>(), (1..=24).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_for_owners_and_admins_of_its_tenant() {
    let world = World::start().await;
    let (owner, stranger) = (world.tenant().await, world.tenant().await);
    let admin = member(&owner, Role::Admin).await;
    let member = member(&owner, Role::Member).await;
    assert_eq!(follow(&owner, "limit=50").await.len(), 7);
    assert_eq!(follow(&admin, "limit=50").await.len(), 7);
    assert_problem(&member.get("/v1/events").await, 403, "forbidden");
    assert_problem(&member.get("/v1/events?after=1&category=session").await, 403, "forbidden");
    // A member works with sessions all the same, and is who they are.
    let session: Uuid = member.start_session().await;
    assert_eq!(member.get("/v1/auth/me").await.body["user"]["role"], "member");
    let started: Value = serde_json::from_str(&follow(&owner, "limit=50").await[7]).unwrap();
    assert_eq!((&started["actorid"], &started["subject"]), (&json!(member.id), &json!(format!("session/{session}"))));
    let tenants = follow(&stranger, "limit=50").await;
    assert!(tenants.len() == 3 && tenants.iter().all(|event| event.contains(&stranger.tenant.to_string())));
}
