//! Commands answer where the thing is and what number it got; an id that a client chooses is taken once per tenant.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tests::{User, World};
use uuid::Uuid;

use super::{anonymous, assert_problem, head, two_apis};

#[tokio::test(flavor = "multi_thread")]
async fn a_command_answers_where_the_thing_is_and_a_number_to_read_it_by() {
    let world = World::start().await;
    let user = world.tenant().await;
    let first = head(&world, user.tenant).await;

    let started = user.post("/v1/sessions", &json!({"mode": "meeting"})).await;
    let id = started.id();
    assert_eq!((started.status, &started.body), (201, &json!({"id": id, "seq": first + 1, "version": 1})));
    assert_eq!((started.header("location"), started.header("etag")), (&*format!("/v1/sessions/{id}"), "\"1\""));
    assert_eq!(id.get_version_num(), 7);

    let posted = user.say(id, "Hello").await;
    assert_eq!((posted.status, &posted.body), (201, &json!({"id": posted.id(), "seq": first + 2, "version": 2})));
    assert_eq!((posted.header("location"), posted.header("etag")), (&*format!("/v1/sessions/{id}/messages"), "\"2\""));

    let ended = user.post(&format!("/v1/sessions/{id}/end"), &json!({})).await;
    assert_eq!((ended.status, &ended.body), (200, &json!({"id": id, "seq": first + 3, "version": 3})));
    assert_eq!((ended.header("location"), ended.header("etag")), ("", "\"3\""));
    for reply in [&started, &posted, &ended] {
        assert!(!reply.headers.contains_key("idempotency-replayed"));
        assert_eq!(reply.header("content-type"), "application/json");
        assert_eq!(reply.header("cache-control"), "no-store");
    }

    let read = user.get(&format!("{}?min_seq={}", started.header("location"), ended.seq())).await;
    assert_eq!((read.status, read.header("etag"), &read.body["status"]), (200, "\"3\"", &json!("ended")));
    let messages = user.messages(id, posted.seq()).await;
    assert_eq!((messages[0]["id"].as_str(), &messages[0]["version"]), (Some(&*posted.id().to_string()), &json!(2)));
    // No body is as good as an empty one.
    let another = user.start_session().await;
    let ended = user.send(user.request(Method::POST, &format!("/v1/sessions/{another}/end"))).await;
    assert_eq!(ended.status, 200, "{}", ended.body);
}

async fn start(user: &User, id: Uuid) -> (u16, String) {
    let body = json!({"id": id, "mode": "text"});
    let reply = user.insist(|| user.request(Method::POST, "/v1/sessions").json(&body)).await;
    (reply.status, reply.code().to_owned())
}

async fn say(user: &User, session: Uuid, id: Uuid) -> (u16, String) {
    let body = json!({"id": id, "role": "user", "content": "Hello"});
    let path = format!("/v1/sessions/{session}/messages");
    let reply = user.insist(|| user.request(Method::POST, &path).json(&body)).await;
    (reply.status, reply.code().to_owned())
}

fn taken() -> (u16, String) {
    (409, "id_taken".into())
}

fn created() -> (u16, String) {
    (201, String::new())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chosen_id_is_taken_once_per_tenant_and_another_tenant_never_notices() {
    let world = World::with(two_apis()).await;
    let (ada, eve) = (world.tenant().await, world.tenant().await);
    // The second node has seen nothing of the first one's work.
    let elsewhere = ada.at(world.url(1));
    let [session, other, message, in_eves] = [(); 4].map(|()| Uuid::now_v7());

    assert_eq!(start(&ada, session).await, created());
    assert_eq!(start(&ada, other).await, created());
    assert_eq!(say(&ada, session, message).await, created());
    let before = head(&world, ada.tenant).await;
    for user in [&ada, &elsewhere, &ada] {
        assert_eq!(start(user, session).await, taken());
        assert_eq!(say(user, session, message).await, taken());
        assert_eq!(say(user, other, message).await, taken(), "in another session");
        // The tenant's own stream is no session, whatever is tried with its id.
        assert_eq!(start(user, ada.tenant).await, taken());
        assert_eq!(say(user, ada.tenant, Uuid::now_v7()).await.0, 404);
        assert_problem(&user.post(&format!("/v1/sessions/{}/end", ada.tenant), &json!({})).await, 404, "not_found");
        assert_problem(&user.get(&format!("/v1/sessions/{}", ada.tenant)).await, 404, "not_found");
    }
    assert_eq!(head(&world, ada.tenant).await, before);

    assert_eq!(start(&eve, session).await, created());
    assert_eq!(start(&eve, ada.tenant).await, created());
    assert_eq!(say(&eve, session, message).await, created());
    assert_eq!(start(&eve, in_eves).await, created());
    assert_eq!(head(&world, ada.tenant).await, before);
    assert_problem(&ada.get(&format!("/v1/sessions/{in_eves}")).await, 404, "not_found");
    assert_eq!(start(&ada, in_eves).await, created());
    world.drain().await;
    assert_eq!(ada.messages(session, 0).await.len(), 1);
    assert_eq!(eve.messages(session, 0).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_we_made_cannot_be_chosen_again() {
    let world = World::start().await;
    let user = world.tenant().await;
    let (one, other) = (user.start_session().await, user.start_session().await);
    let made = user.say(one, "Hello").await.id();
    assert_eq!(start(&user, one).await, taken());
    assert_eq!(say(&user, one, made).await, taken());
    assert_eq!(say(&user, other, made).await, taken());
    world.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_twenty_clients_that_choose_the_same_id_exactly_one_gets_it() {
    let world = World::with(two_apis()).await;
    let user = world.tenant().await;
    let clients: Vec<User> = (0..20).map(|n| user.at(world.url(n % 2))).collect();
    let session = Uuid::now_v7();
    let before = head(&world, user.tenant).await;
    let one_wins = |mut answers: Vec<(u16, String)>| {
        answers.sort_unstable();
        assert_eq!(answers.remove(0), created());
        assert!(answers.len() == 19 && answers.iter().all(|answer| *answer == taken()), "{answers:?}");
    };
    one_wins(join_all(clients.iter().map(|client| start(client, session))).await);
    assert_eq!(head(&world, user.tenant).await, before + 1);

    let (other, message) = (user.start_session().await, Uuid::now_v7());
    let sessions = [session, other];
    one_wins(join_all(clients.iter().zip(0..).map(|(client, n)| say(client, sessions[n / 2 % 2], message))).await);
    assert_eq!(head(&world, user.tenant).await, before + 3);
    world.drain().await;
    let said: Vec<Value> = [user.messages(session, 0).await, user.messages(other, 0).await].concat();
    assert_eq!(said.len(), 1);
    assert_eq!(anonymous(&world).get("/health/ready").await.status, 200);
}
