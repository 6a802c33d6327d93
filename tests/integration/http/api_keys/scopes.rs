//! A key opens what its scopes say and nothing else; what it does is done in its own name.

use std::collections::BTreeMap;

use api::policy::{Access, POLICY};
use reqwest::Method;
use serde_json::{Value, json};
use tests::World;
use uuid::Uuid;

use super::{PATH, Raw, assert_problem, create, keyed, raw, routes};

const READ_COSTS: [&str; 5] = ["listCosts", "summariseCosts", "listCostPeriods", "readCostPeriod", "readCost"];
const WRITE_COSTS: [&str; 3] = ["recordCost", "recordCosts", "voidCost"];

/// What each scope opens, as it was promised; the policy is held against it.
fn opened_by(scope: &str) -> Vec<&'static str> {
    match scope {
        "read" => [&["listSessions", "readSession", "listMessages"][..], &READ_COSTS].concat(),
        "write" => [&["startSession", "endSession", "postMessage"][..], &WRITE_COSTS].concat(),
        "costs:read" => READ_COSTS.to_vec(),
        "costs:write" => WRITE_COSTS.to_vec(),
        "events:read" => vec!["listEvents", "followEvents"],
        other => panic!("{other} is no scope"),
    }
}

/// Method and path of every operation.
fn operations() -> BTreeMap<String, (Method, String)> {
    let document: Value = serde_json::from_str(api::openapi::document()).unwrap();
    let mut operations = BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let method: Method = method.to_uppercase().parse().unwrap();
            operations.insert(operation["operationId"].as_str().unwrap().to_owned(), (method, path.clone()));
        }
    }
    operations
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_opens_what_its_scopes_say_and_nothing_else() {
    let world = World::start().await;
    let ada = world.tenant().await;
    let (operations, routes) = (operations(), routes::all());
    for scope in ["read", "write", "costs:read", "costs:write", "events:read"] {
        let key = create(&ada, &[scope]).await;
        let mut opened = Vec::new();
        for (name, access) in POLICY {
            let Access::Tenant { .. } = access else { continue };
            let (method, path) = &operations[*name];
            let route = routes.iter().find(|route| route.path == *path).unwrap();
            let path = route.with(&Uuid::now_v7().to_string());
            let mut request = key.program.request(method.clone(), &path);
            if *method == Method::POST {
                request = request.json(&route.body());
            }
            // Of a stream the head is enough.
            let response = request.send().await.unwrap();
            match response.status().as_u16() {
                403 => {
                    let problem: Value = response.json().await.unwrap();
                    let detail = problem["detail"].as_str().unwrap();
                    assert!(detail.contains("API key"), "{name}: {detail}");
                }
                401 => panic!("{name} does not know the key"),
                _ => opened.push(*name),
            }
        }
        let mut expected = opened_by(scope);
        opened.sort_unstable();
        expected.sort_unstable();
        assert_eq!(opened, expected, "{scope}");
        assert_eq!(super::revoke(&ada, key.id).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lacks_a_scope_is_told_which_and_two_scopes_open_what_each_does() {
    let world = World::start().await;
    let ada = world.tenant().await;
    let key = create(&ada, &["costs:write", "events:read"]).await;
    let refused = key.program.get("/v1/costs").await;
    assert_problem(&refused, 403, "forbidden");
    assert_eq!(
        refused.body["detail"],
        "This needs an API key with `read` or `costs:read`; this one has `costs:write`, `events:read`."
    );
    let cost = json!({"service": "llm", "provider": "openai", "amount": "0.000123"});
    assert_eq!(key.program.post("/v1/costs", &cost).await.status, 201);
    assert_eq!(key.program.get("/v1/events").await.status, 200);
    let create_more = key.program.post(PATH, &json!({"name": "More", "scopes": ["write"]})).await;
    assert_problem(&create_more, 403, "forbidden");
    assert_eq!(create_more.body["detail"], "No API key may do this: log in.");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_key_does_is_done_in_its_name_with_idempotency_keys_of_its_own() {
    let world = World::start().await;
    let ada = world.tenant().await;
    let keys = [create(&ada, &["write"]).await, create(&ada, &["write"]).await];
    let start = r#"{"mode":"text"}"#;
    let mut sessions = Vec::new();
    for caller in [&ada, &keys[0].program, &keys[1].program] {
        let first = keyed(caller, "/v1/sessions", "the same", start).await;
        let again: Raw = keyed(caller, "/v1/sessions", "the same", start).await;
        assert_eq!((first.status, again.status, &first.text), (201, 201, &again.text));
        assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), ("", "true"));
        sessions.push(first.reply().id());
    }
    let events = ada.events().await;
    let by = |session: &Uuid| {
        let subject = format!("session/{session}");
        let event = events.iter().find(|event| event["subject"] == subject.as_str()).unwrap();
        (event["actorkind"].clone(), event["actorid"].clone())
    };
    assert_eq!(by(&sessions[0]), (json!("user"), json!(ada.id)));
    assert_eq!(by(&sessions[1]), (json!("api_key"), json!(keys[0].id)));
    assert_eq!(by(&sessions[2]), (json!("api_key"), json!(keys[1].id)));
    // The read tables take such events as any other, and the stream carries them.
    world.drain().await;
    world.drain_relay().await;
    assert_eq!(raw(ada.request(Method::GET, "/v1/sessions")).await.reply().body["data"].as_array().unwrap().len(), 3);
}
