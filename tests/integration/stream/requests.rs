//! What a request for a stream may say, who may make one, and what the answer looks like.

use domain::tenant::Role;
use reqwest::Method;
use serde_json::json;
use tests::{World, WorldSettings};

use super::listener::{Block, ask, listen, log_of};
use crate::http::{assert_problem, member, post_text, raw};

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_begins_where_it_is_asked_to_and_names_its_place_at_once() {
    let world = World::start().await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    assert_eq!(user.say(session, "hello").await.seq(), 5);
    let log = log_of(&user, "").await;
    for (query, last, after) in [
        ("", None, 0),
        ("?after=0", None, 0),
        ("?after=3", None, 3),
        ("?after=5", None, 5),
        // Who comes back to the address it knows has read on since.
        ("?after=1", Some("3"), 3),
        ("?after=3", Some("1"), 1),
        ("?after=2", Some(""), 2),
        ("", Some("0"), 0),
    ] {
        let mut listener = ask(&user, query, last).await.unwrap_or_else(|reply| panic!("{}", reply.body));
        let header = |name: &str| listener.response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), "text/event-stream");
        assert_eq!(header("cache-control"), "no-store");
        assert_eq!(header("x-accel-buffering"), "no");
        assert_eq!(header("convolog-seq"), "5");
        let first = listener.block().await.unwrap();
        assert_eq!(first, Block { id: Some(after), retry: Some(2000), ..Block::default() });
        assert_eq!(listener.events(5 - after as usize).await, log[after as usize..]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_malformed_or_beyond_the_log_is_refused_before_the_stream_begins() {
    let world = World::with(WorldSettings { relay: false, projector: false, ..Default::default() }).await;
    let user = world.tenant().await;
    for query in ["?after=4", "?after=9223372036854775807"] {
        let reply = ask(&user, query, None).await.err().unwrap();
        assert_problem(&reply, 422, "seq_not_in_log");
        assert_eq!(reply.body["current_seq"], 3);
    }
    for last in ["4", "9223372036854775807", "9223372036854775808", "18446744073709551615"] {
        assert_problem(&ask(&user, "?after=1", Some(last)).await.err().unwrap(), 422, "seq_not_in_log");
    }
    for last in ["x", "-1", "+1", "1.5", "0x10", "99999999999999999999999"] {
        assert_problem(&ask(&user, "", Some(last)).await.err().unwrap(), 400, "invalid_header");
    }
    for query in
        ["?after=-1", "?after=x", "?after=9223372036854775808", "?category=sessions", "?limit=3", "?after=1&after=1"]
    {
        assert_problem(&ask(&user, query, None).await.err().unwrap(), 422, "validation_failed");
    }
    let twice =
        user.request(Method::GET, "/v1/events/stream").header("last-event-id", "1").header("last-event-id", "1");
    assert_problem(&raw(twice).await.reply(), 400, "invalid_header");
    assert_eq!(world.nodes[0].app().unwrap().streams().open, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_is_for_owners_and_admins_and_never_for_another_tenant() {
    let world = World::start().await;
    let (ada, eve) = (world.tenant().await, world.tenant().await);
    let admin = member(&ada, Role::Admin).await;
    let plain = member(&ada, Role::Member).await;
    assert_problem(&ask(&plain, "", None).await.err().unwrap(), 403, "forbidden");
    let mut listeners = [listen(&ada, "", 7).await, listen(&admin, "", 7).await, listen(&eve, "", 3).await];
    let of_category = &mut listen(&eve, "?category=session", 0).await;
    // In turns, so that both logs grow at about the same time, now one sooner, now the other.
    let sessions = [ada.start_session().await, eve.start_session().await];
    for n in 0..10 {
        let mut both = [(&ada, sessions[0], "ada", 9), (&eve, sessions[1], "eve", 5)];
        both.rotate_left(n % 2);
        for (user, session, name, first) in both {
            assert_eq!(user.say(session, &format!("of {name} {n}")).await.seq(), first + n as u64);
        }
    }
    let logs = [log_of(&ada, "").await, log_of(&eve, "").await];
    assert_eq!(listeners[0].events(11).await, logs[0][7..]);
    assert_eq!(listeners[1].events(11).await, logs[0][7..]);
    assert_eq!(listeners[2].events(11).await, logs[1][3..]);
    assert_eq!(of_category.events(11).await, logs[1][3..]);
    assert!(logs[1].iter().all(|(_, event)| event.contains(&eve.tenant.to_string()) && !event.contains("of ada")));
}

#[tokio::test(flavor = "multi_thread")]
async fn line_breaks_in_a_clients_own_json_do_not_break_the_stream() {
    let world = World::start().await;
    let user = world.tenant().await;
    let mut listener = listen(&user, "", 3).await;
    let pretty = "{\"mode\": \"text\", \"metadata\": {\n  \"a\": 1,\n\n  \"data: x\":\t\"id: 7\\n\\nid: 9\"\n}}";
    assert_eq!(raw(post_text(&user, "/v1/sessions", pretty)).await.status, 201);
    // A carriage return is the one character that cannot pass; between values a space means the same.
    let windows = "{\"mode\": \"text\", \"metadata\": {\r\n\"b\": \"\\r\\n\"\r}}";
    assert_eq!(raw(post_text(&user, "/v1/sessions", windows)).await.status, 201);
    let log = log_of(&user, "").await;
    let told = listener.events(2).await;
    assert_eq!(told[0], log[3]);
    assert!(log[3].1.contains("{\n  \"a\"") && log[4].1.contains("{\r\n"));
    assert_eq!(told[1].1, log[4].1.replace('\r', " "));
    let value = |event: &str| serde_json::from_str::<serde_json::Value>(event).unwrap();
    assert_eq!((told[1].0, value(&told[1].1)), (5, value(&log[4].1)));
    assert_eq!(value(&told[1].1)["data"]["metadata"], json!({"b": "\r\n"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_request_opens_no_stream() {
    let world = World::with(WorldSettings { relay: false, projector: false, ..Default::default() }).await;
    let user = world.tenant().await;
    let answer = raw(user.request(Method::HEAD, "/v1/events/stream")).await;
    assert_eq!((answer.status, answer.header("content-type"), &*answer.text), (200, "text/event-stream", ""));
    tests::eventually("its place is free", async || world.nodes[0].app().unwrap().streams().open == 0).await;
}
