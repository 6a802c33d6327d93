//! Every refusal has one form, and another tenant's thing is refused in the very words of one that does not exist.

use convolog::node::Node;
use domain::tenant::Role;
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::json;
use tests::{User, World, WorldSettings};
use uuid::Uuid;

use super::routes::{self, METHODS};
use super::{Raw, anonymous, assert_problem, grant, head, member, raw};

/// All but what differs between any two answers.
fn comparable(answer: &Raw) -> (u16, HeaderMap, String) {
    let mut headers = answer.headers.clone();
    headers.remove("x-request-id");
    headers.remove("date");
    let text = answer.text.replace(answer.header("x-request-id"), "");
    (answer.status, headers, text)
}

async fn ask(user: &User, method: &Method, path: &str, body: &serde_json::Value) -> Raw {
    let request = user.request(method.clone(), path);
    raw(if [Method::GET, Method::DELETE].contains(method) { request } else { request.json(body) }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_thing_is_answered_like_one_that_does_not_exist() {
    let world = World::start().await;
    let (ada, eve) = (world.tenant().await, world.tenant().await);
    let (open, ended) = (ada.start_session().await, ada.start_session().await);
    assert_eq!(ada.say(open, "Hello").await.status, 201);
    assert_eq!(ada.post(&format!("/v1/sessions/{ended}/end"), &json!({})).await.status, 200);
    let cost = ada.post("/v1/costs", &json!({"service": "llm", "provider": "openai"})).await.id();
    let grace = member(&ada, Role::Member).await;
    let sign_in = grant(&grace).sign_in;
    let key = ada.post("/v1/api-keys", &json!({"name": "Import", "scopes": ["write"]})).await.id();
    eve.start_session().await;
    world.drain().await;
    let heads = (head(&world, ada.tenant).await, head(&world, eve.tenant).await);

    let mut compared = 0;
    for route in routes::all().into_iter().filter(routes::Route::has_id) {
        // Whose it is, and what they have there.
        let (owner, own) = match route.path.as_str() {
            path if path.starts_with("/v1/costs/") => (&ada, cost),
            path if path.starts_with("/v1/users/") => (&ada, grace.id),
            path if path.starts_with("/v1/api-keys/") => (&ada, key),
            path if path.starts_with("/v1/auth/sessions/") => (&grace, sign_in),
            _ => (&ada, open),
        };
        for method in &route.methods {
            let unknown = ask(&eve, method, &route.with(&Uuid::now_v7().to_string()), &route.body()).await;
            assert_problem(&unknown.reply(), 404, "not_found");
            let (braced, urn, simple) = (format!("%7B{own}%7D"), format!("urn:uuid:{own}"), own.simple().to_string());
            let (padded, encoded) = (format!("{own}%20"), own.to_string().replace('-', "%2D%00"));
            let spelled = [&braced, &urn, &simple, &padded, &encoded].map(String::as_str);
            let malformed =
                ["1", "null", "%00", "%ff", "..%2f", "%2e%2e%2f%2e%2e", &"x".repeat(5000), "'%20or%201=1--"];
            let ids = [own, ended, ada.tenant, ada.id, eve.tenant, Uuid::nil()].map(|id| id.to_string());
            for id in ids.iter().map(String::as_str).chain(malformed) {
                let answer = ask(&eve, method, &route.with(id), &route.body()).await;
                assert_eq!(comparable(&answer), comparable(&unknown), "{method} {}", route.with(id));
                compared += 1;
            }
            // Spelled in another way it is nobody's, not even its owner's.
            for id in spelled {
                let answer = ask(owner, method, &route.with(id), &route.body()).await;
                assert_eq!(comparable(&answer), comparable(&unknown), "{method} {}", route.with(id));
            }
            let upper = own.to_string().to_uppercase();
            assert_eq!(comparable(&ask(&eve, method, &route.with(&upper), &route.body()).await), comparable(&unknown));
            // What it would have been for its owner is no 404.
            assert_ne!(ask(owner, method, &route.with(&own.to_string()), &route.body()).await.status, 404);
        }
    }
    assert!(compared >= 4 * 13, "{compared} answers compared");
    assert_eq!(head(&world, eve.tenant).await, heads.1);
    // In the last line of the loop a key was revoked, a sign-in ended, a cost voided, a session ended (then nothing could
    // be said in it), and Grace got another role and another profile, and was removed.
    assert_eq!(head(&world, ada.tenant).await, heads.0 + 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_credentials_nothing_but_the_way_in_is_open() {
    let world = World::start().await;
    let nobody = anonymous(&world);
    let ada = world.tenant().await;
    let session = ada.start_session().await.to_string();
    let before = head(&world, ada.tenant).await;
    let mut closed = 0;
    for route in routes::all() {
        for method in &route.methods {
            for id in [&session, "not-an-id"] {
                let answer = ask(&nobody, method, &route.with(id), &json!({})).await.reply();
                if route.is_open() {
                    assert_ne!(answer.status, 401, "{method} {}", route.path);
                } else {
                    assert_problem(&answer, 401, "unauthorized");
                    assert_eq!(answer.header("www-authenticate"), "Bearer");
                    closed += 1;
                }
            }
        }
    }
    assert!(closed >= 2 * 8, "{closed} routes are closed");
    assert_eq!(head(&world, ada.tenant).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_a_route_does_not_take_is_405_and_names_those_that_it_takes() {
    let world = World::start().await;
    let user = world.tenant().await;
    for route in routes::all() {
        for method in METHODS.iter().filter(|method| !route.methods.contains(method)) {
            let reply = ask(&user, method, &route.with(&Uuid::now_v7().to_string()), &json!({})).await.reply();
            assert_problem(&reply, 405, "method_not_allowed");
            for allowed in &route.methods {
                assert!(reply.header("allow").contains(allowed.as_str()), "{:?}", reply.headers);
                assert!(reply.body["detail"].as_str().unwrap().contains(allowed.as_str()), "{}", reply.body);
            }
        }
    }
    for path in
        ["/", "/v1", "/v1/", "/v1/sessions/", "/v2/sessions", "/v1/Sessions", "/v1/sessions/x/y", "/health/", "//"]
    {
        for method in METHODS {
            assert_problem(&ask(&user, &method, path, &json!({})).await.reply(), 404, "not_found");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_private_and_keeps_its_type() {
    let world = World::start().await;
    let user = world.tenant().await;
    for path in
        ["/v1/sessions", "/v1/auth/me", "/health/live", "/health/ready", "/v1/sessions/x", "/nowhere", "/v1/events?x=1"]
    {
        let reply = user.get(path).await;
        assert!(reply.header("x-request-id").parse::<Uuid>().is_ok_and(|id| id.get_version_num() == 7));
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            // The public URL is not https.
            ("strict-transport-security", ""),
        ] {
            assert_eq!(reply.header(name), value, "{path}");
        }
        assert!(!reply.headers.contains_key("access-control-allow-origin"));
    }
    // Nobody else chooses what becomes the correlation id of events.
    let chosen = Uuid::now_v7().to_string();
    let reply = user.post_with("/v1/sessions", &[("x-request-id", &chosen)], &json!({"mode": "text"})).await;
    assert_ne!(reply.header("x-request-id"), chosen);
    let events = user.events().await;
    assert_eq!(events.last().unwrap()["correlationid"], reply.header("x-request-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_clients_come_by_tls_every_answer_asks_them_to_do_so_again() {
    let mut world = World::with(WorldSettings { apis: 0, ..WorldSettings::default() }).await;
    let mut settings = world.node_settings(&WorldSettings::default(), true);
    settings.api.as_mut().unwrap().public_url = Some("https://convolog.test".into());
    world.nodes.push(Node::start(settings).await.unwrap());
    for (path, status) in [("/health/live", 200), ("/v1/sessions", 401), ("/nowhere", 404)] {
        let reply = anonymous(&world).get(path).await;
        let asked = reply.header("strict-transport-security");
        assert_eq!((reply.status, asked), (status, "max-age=31536000; includeSubDomains"), "{path}");
    }
}
