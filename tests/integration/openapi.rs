//! The OpenAPI document is the code's: checked in as it is, complete, with examples that fit, and kept by real answers.

use std::collections::BTreeSet;

use jsonschema::Validator;
use reqwest::Method;
use serde_json::{Value, json};
use tests::{Reply, User, World};
use uuid::Uuid;

fn document() -> Value {
    serde_json::from_str(api::openapi::document()).unwrap()
}

/// A validator for a schema that may refer to the document's components.
fn validator(document: &Value, schema: &Value) -> Validator {
    let mut whole = schema.clone();
    whole["components"] = document["components"].clone();
    jsonschema::options().should_validate_formats(true).build(&whole).unwrap()
}

#[track_caller]
fn assert_fits(document: &Value, schema: &Value, value: &Value, what: &str) {
    let errors: Vec<String> = validator(document, schema)
        .iter_errors(value)
        .map(|error| format!("{} at {}", error, error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{what}: {errors:#?}\n{value:#}");
}

fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
        None => value,
    }
}

/// Every value below this one that has this member.
fn having<'a>(value: &'a Value, member: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(members) => {
            if members.contains_key(member) {
                found.push(value);
            }
            members.values().for_each(|inner| having(inner, member, found));
        }
        Value::Array(items) => items.iter().for_each(|inner| having(inner, member, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Path, method, operation.
fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let items = document["paths"].as_object().unwrap().iter();
    items
        .flat_map(|(path, item)| {
            item.as_object().unwrap().iter().map(|(method, operation)| (path.as_str(), method.as_str(), operation))
        })
        .collect()
}

#[test]
fn the_document_that_is_checked_in_is_the_one_of_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    let checked_in = std::fs::read_to_string(path).unwrap();
    let same = checked_in == api::openapi::document();
    let first = checked_in.lines().zip(api::openapi::document().lines()).enumerate().find(|(_, (old, new))| old != new);
    assert!(same, "run `cargo run -- openapi > docs/openapi.json` and look at what changes for clients: {first:?}");
}

#[test]
fn a_route_without_documentation_cannot_be_added() {
    // The lint on `axum::Router::route` says it sooner; this says it without clippy.
    let mut sources = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/api/src"))];
    let mut adding = BTreeSet::new();
    while let Some(path) = sources.pop() {
        if path.is_dir() {
            sources.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        if [".route(", ".route_service(", ".nest(", ".nest_service(", ".merge("].iter().any(|call| code.contains(call))
        {
            adding.insert(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
    }
    // The unit tests of problems make a router of their own; a worker answers three of the API's routes.
    assert_eq!(adding, ["routes.rs", "tests.rs", "worker.rs"].map(String::from).into());
}

#[test]
fn every_operation_is_named_explained_and_says_how_it_can_fail() {
    let document = document();
    let mut ids = BTreeSet::new();
    // Their bodies say who somebody is.
    let credentials = ["/v1/auth/login", "/v1/auth/refresh", "/v1/auth/password/set"];
    for (path, method, operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap();
        assert!(ids.insert(id), "{id} is the name of two operations");
        assert!(id.chars().all(|letter| letter.is_ascii_alphanumeric()), "{id}");
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{method} {path}");
        let tags: Vec<&Value> = document["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
        assert!(tags.contains(&&operation["tags"][0]), "{method} {path}");
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.contains_key("500") && responses.keys().any(|status| status.starts_with('2')), "{path}");
        assert_eq!(operation["security"] != json!([]), responses.contains_key("401") && !credentials.contains(&path));
    }
    let mut links = Vec::new();
    having(&document, "operationId", &mut links);
    assert!(links.iter().all(|link| ids.contains(link["operationId"].as_str().unwrap())));
}

#[test]
fn every_reference_leads_somewhere_and_every_component_is_used() {
    let document = document();
    let mut references = Vec::new();
    having(&document, "$ref", &mut references);
    let used: BTreeSet<&str> = references.iter().map(|value| value["$ref"].as_str().unwrap()).collect();
    for reference in &used {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
    for (kind, components) in document["components"].as_object().unwrap() {
        for name in
            components.as_object().unwrap().keys().filter(|_| !["securitySchemes", "examples"].contains(&kind.as_str()))
        {
            let reference = format!("#/components/{kind}/{name}");
            assert!(used.contains(reference.as_str()), "{reference} is used by nobody");
        }
    }
}

#[test]
fn every_example_fits_its_schema_and_no_body_is_without_one() {
    let document = document();
    let mut exemplary = Vec::new();
    having(&document["components"]["schemas"], "examples", &mut exemplary);
    having(&document["components"]["headers"], "examples", &mut exemplary);
    having(&document["components"]["parameters"], "examples", &mut exemplary);
    assert!(exemplary.len() >= 12, "{}", exemplary.len());
    for schema in exemplary {
        for example in schema["examples"].as_array().unwrap() {
            assert_fits(&document, schema, example, "an example");
        }
    }
    let mut problems = 0;
    let mut media = Vec::new();
    having(&document, "schema", &mut media);
    for content in media {
        for example in content["examples"].as_object().into_iter().flat_map(serde_json::Map::values) {
            assert_fits(&document, &content["schema"], &resolved(&document, example)["value"], "a problem");
            problems += 1;
        }
    }
    assert!(problems >= 20, "{problems}");
    for (path, method, operation) in operations(&document) {
        let bodies = operation["responses"].as_object().unwrap().values().chain([&operation["requestBody"]]);
        for content in bodies.filter_map(|body| body["content"].get("application/json")) {
            let schema = resolved(&document, &content["schema"]);
            let empty = schema["properties"].is_null();
            assert!(empty || schema["examples"][0].is_object(), "{method} {path} has a body without an example");
        }
    }
}

/// Holds answers to what the document says of them, and counts which it has seen.
struct Witness {
    document: Value,
    seen: BTreeSet<(String, u16)>,
}

impl Witness {
    async fn ask(
        &mut self,
        user: &User,
        method: Method,
        path: &str,
        like: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Reply {
        let request = headers
            .iter()
            .fold(user.request(method.clone(), path), |request, (name, value)| request.header(*name, *value));
        let reply = user
            .send(match body {
                Some(body) => request.json(&body),
                None => request,
            })
            .await;
        let operation = &self.document["paths"][like][method.as_str().to_lowercase()];
        let what = format!("{method} {like} {}", reply.status);
        let answer = resolved(&self.document, &operation["responses"][reply.status.to_string()]);
        assert!(answer.is_object(), "{what} is not documented: {}", reply.body);
        let content = &answer["content"][reply.header("content-type")];
        assert!(content.is_object(), "{what} as {} is not documented", reply.header("content-type"));
        assert_fits(&self.document, &content["schema"], &reply.body, &what);
        for (name, header) in answer["headers"].as_object().unwrap() {
            let header = resolved(&self.document, header);
            match reply.header(name) {
                "" => assert_ne!(header["required"], true, "{what} has no {name}"),
                text => {
                    let number = header["schema"]["type"] == "integer";
                    let value = if number { json!(text.parse::<u64>().unwrap()) } else { json!(text) };
                    assert_fits(&self.document, &header["schema"], &value, &format!("{name} of {what}"));
                }
            }
        }
        self.seen.insert((operation["operationId"].as_str().unwrap().to_owned(), reply.status));
        reply
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn real_answers_are_as_the_document_says() {
    let world = World::start().await;
    let nobody = User::anonymous(world.http.clone(), world.url(0));
    let mut witness = Witness { document: document(), seen: BTreeSet::new() };
    let w = &mut witness;
    let (get, post) = (Method::GET, Method::POST);
    let founding =
        json!({"tenant_name": "Acme", "name": "Ada", "email": "ada@example.com", "password": "correct horse battery"});
    let registered =
        w.ask(&nobody, post.clone(), "/v1/auth/register", "/v1/auth/register", &[], Some(founding.clone())).await;
    let ada = nobody.signed_in(&registered.body);
    w.ask(&nobody, post.clone(), "/v1/auth/register", "/v1/auth/register", &[], Some(json!({}))).await;
    w.ask(&nobody, post.clone(), "/v1/auth/register", "/v1/auth/register", &[], Some(founding)).await;
    for password in ["correct horse battery", "wrong"] {
        let body = json!({"email": "ada@example.com", "password": password});
        w.ask(&nobody, post.clone(), "/v1/auth/login", "/v1/auth/login", &[], Some(body.clone())).await;
        let mut chosen = body;
        chosen["tenant_id"] = json!(ada.tenant);
        w.ask(&nobody, post.clone(), "/v1/auth/login", "/v1/auth/login", &[], Some(chosen)).await;
    }
    w.ask(&nobody, get.clone(), "/.well-known/jwks.json", "/.well-known/jwks.json", &[], None).await;
    for path in
        ["/v1/auth/me", "/v1/sessions", "/v1/events", "/health", "/health/live", "/health/ready", "/openapi.json"]
    {
        w.ask(&ada, get.clone(), path, path, &[], None).await;
        w.ask(&nobody, get.clone(), path, path, &[], None).await;
    }
    let (id, unknown) = (Uuid::now_v7(), Uuid::now_v7());
    let session = json!({"mode": "text", "id": id, "widget_id": unknown, "metadata": {"a": [1, null]}});
    for body in [session.clone(), session, json!({"mode": "voice"}), json!({"x": "y"})] {
        w.ask(&ada, post.clone(), "/v1/sessions", "/v1/sessions", &[("idempotency-key", "k")], Some(body)).await;
    }
    let taken = json!({"mode": "text", "id": id});
    w.ask(&ada, post.clone(), "/v1/sessions", "/v1/sessions", &[], Some(taken.clone())).await;
    w.ask(&ada, post.clone(), "/v1/sessions", "/v1/sessions", &[("if-match", "*")], Some(taken)).await;
    let (messages, like) = (format!("/v1/sessions/{id}/messages"), "/v1/sessions/{id}/messages");
    let attachments =
        json!([{"kind": "image", "url": "u"}, {"kind": "f", "url": "u", "name": "n", "media_type": "m", "size": 1}]);
    let cost = json!({"service": "llm", "provider": "openai", "amount": "0.10"});
    let said = json!({"role": "user", "content": "Hello", "attachments": attachments, "cost": cost});
    for headers in [&[][..], &[("idempotency-key", "m")], &[("idempotency-key", "m")]] {
        w.ask(&ada, post.clone(), &messages, like, headers, Some(said.clone())).await;
    }
    tell_of_costs(w, &ada).await;
    tell_of_api_keys(w, &ada).await;
    let events = w.ask(&ada, get.clone(), "/v1/events?limit=200", "/v1/events", &[], None).await;
    let head = events.body["head"].as_u64().unwrap();
    for query in ["min_seq=1&limit=1", "cursor=x", "limit=0", "min_seq=999999", "order=desc"] {
        w.ask(&ada, get.clone(), &format!("{messages}?{query}"), like, &[], None).await;
        w.ask(&ada, get.clone(), &format!("/v1/sessions?{query}"), "/v1/sessions", &[], None).await;
        w.ask(&ada, get.clone(), &format!("/v1/events?{query}"), "/v1/events", &[], None).await;
    }
    let (summary, periods, period) = ("/v1/costs/summary", "/v1/costs/periods", "/v1/costs/periods/{period}");
    for query in
        ["bucket=day&group_by=session,model,provider,service", "timezone=x", "min_seq=999999", "limit=1", "cursor=x"]
    {
        w.ask(&ada, get.clone(), &format!("{summary}?{query}"), summary, &[], None).await;
        w.ask(&ada, get.clone(), &format!("{periods}?{query}"), periods, &[], None).await;
        w.ask(&ada, get.clone(), &format!("{periods}/2026-11?{query}"), period, &[], None).await;
    }
    for path in ["2026-11", "2026-13"] {
        w.ask(&ada, get.clone(), &format!("{periods}/{path}"), period, &[], None).await;
    }
    let (one, like_one) = (format!("/v1/sessions/{id}?min_seq={head}"), "/v1/sessions/{id}");
    let read = w.ask(&ada, get.clone(), &one, like_one, &[], None).await;
    let etag = read.header("etag").to_owned();
    let (end, like_end) = (format!("/v1/sessions/{id}/end"), "/v1/sessions/{id}/end");
    for condition in ["\"9\"", "9", &etag, &etag] {
        w.ask(&ada, post.clone(), &end, like_end, &[("if-match", condition)], None).await;
    }
    w.ask(&ada, post.clone(), &end, like_end, &[], None).await;
    w.ask(&ada, post.clone(), &messages, like, &[], Some(said)).await;
    for (method, path, like) in
        [(&get, "", like_one), (&get, "/messages", like), (&post, "/messages", like), (&post, "/end", like_end)]
    {
        let body = (*method == post && path == "/messages").then(|| json!({"role": "user", "content": "x"}));
        w.ask(&ada, method.clone(), &format!("/v1/sessions/{unknown}{path}"), like, &[], body).await;
    }
    tell_of_members(w, &nobody, &ada).await;
    tell_of_sign_ins(w, &world, &ada).await;
    let successes: BTreeSet<&str> =
        witness.seen.iter().filter(|(_, status)| *status < 300).map(|(id, _)| id.as_str()).collect();
    let all: BTreeSet<&str> = operations(&witness.document)
        .iter()
        .map(|(_, _, operation)| operation["operationId"].as_str().unwrap())
        .collect();
    assert_eq!(all.difference(&successes).copied().collect::<Vec<_>>(), ["followEvents", "readDocs", "readMetrics"]);
    assert!(witness.seen.len() >= 35, "{:?}", witness.seen);
}

/// Reads and changes the tenant and its members, and signs somebody in and out.
async fn tell_of_members(w: &mut Witness, nobody: &User, ada: &User) {
    let [get, post, patch, delete] = [Method::GET, Method::POST, Method::PATCH, Method::DELETE];
    for change in [json!({"name": "Acme", "settings": {"version": 1, "currency": "EUR"}}), json!({})] {
        w.ask(ada, patch.clone(), "/v1/tenant", "/v1/tenant", &[], Some(change)).await;
    }
    let grace =
        json!({"email": "grace@example.com", "name": "Grace", "role": "member", "password": "correct horse battery"});
    let added = w.ask(ada, post.clone(), "/v1/users", "/v1/users", &[], Some(grace.clone())).await;
    w.ask(ada, post.clone(), "/v1/users", "/v1/users", &[], Some(grace)).await;
    let log_in = json!({"email": "grace@example.com", "password": "correct horse battery"});
    let log_in = async |w: &mut Witness| {
        let reply = w.ask(nobody, post.clone(), "/v1/auth/login", "/v1/auth/login", &[], Some(log_in.clone())).await;
        (nobody.signed_in(&reply.body), reply.body)
    };
    let (grace, body) = log_in(w).await;
    for token in [body["refresh_token"].clone(), json!("cvr_")] {
        let body = json!({"refresh_token": token});
        w.ask(nobody, post.clone(), "/v1/auth/refresh", "/v1/auth/refresh", &[], Some(body)).await;
    }
    let (user, like_user) = (format!("/v1/users/{}", added.id()), "/v1/users/{id}");
    for (path, like) in [("/v1/tenant", "/v1/tenant"), ("/v1/users", "/v1/users"), (user.as_str(), like_user)] {
        w.ask(&grace, get.clone(), path, like, &[], None).await;
    }
    for (by, change) in [(ada, json!({"role": "admin"})), (&grace, json!({"role": "owner"})), (ada, json!({}))] {
        w.ask(by, patch.clone(), &user, like_user, &[], Some(change)).await;
    }
    let sign_ins = w.ask(&grace, get.clone(), "/v1/auth/sessions", "/v1/auth/sessions", &[], None).await;
    let sign_in = format!("/v1/auth/sessions/{}", sign_ins.body["data"][0]["id"].as_str().unwrap());
    w.ask(&grace, delete.clone(), &sign_in, "/v1/auth/sessions/{id}", &[], None).await;
    w.ask(&grace, delete.clone(), &sign_in, "/v1/auth/sessions/{id}", &[], None).await;
    for path in ["/v1/auth/logout", "/v1/auth/logout-all"] {
        let (grace, _) = log_in(w).await;
        w.ask(&grace, post.clone(), path, path, &[], None).await;
    }
    w.ask(ada, delete.clone(), &format!("/v1/users/{}", ada.id), like_user, &[], None).await;
    w.ask(ada, delete, &user, like_user, &[], None).await;
}

/// Creates, uses, lists and revokes an API key.
async fn tell_of_api_keys(w: &mut Witness, ada: &User) {
    let (keys, one) = ("/v1/api-keys", "/v1/api-keys/{id}");
    let good = json!({"name": "Billing", "scopes": ["costs:read"], "expires_at": crate::http::now() + chrono::TimeDelta::days(1)});
    let mut created = Vec::new();
    for body in [good.clone(), good, json!({"name": "", "scopes": ["admin"]})] {
        created.push(w.ask(ada, Method::POST, keys, keys, &[("idempotency-key", "a key")], Some(body)).await);
    }
    let mut program = ada.clone();
    program.token = Some(created[0].body["key"].as_str().unwrap().to_owned());
    w.ask(&program, Method::GET, "/v1/costs", "/v1/costs", &[], None).await;
    for caller in [ada, &program] {
        w.ask(caller, Method::GET, keys, keys, &[], None).await;
    }
    let path = format!("{keys}/{}", created[0].id());
    for _ in 0..2 {
        w.ask(ada, Method::DELETE, &path, one, &[], None).await;
    }
}

/// Signs in and out, by tokens and by cookies, with one password and another.
async fn tell_of_sign_ins(w: &mut Witness, world: &World, ada: &User) {
    let (get, post) = (Method::GET, Method::POST);
    let (login, refresh, list) = ("/v1/auth/login", "/v1/auth/refresh", "/v1/auth/sessions");
    let mut credentials = json!({"email": "ada@example.com", "password": "correct horse battery", "cookie": true});
    credentials["tenant_id"] = json!(ada.tenant);
    let browser = w.ask(ada, post.clone(), login, login, &[], Some(credentials.clone())).await;
    w.ask(ada, post.clone(), login, login, &[("origin", "null")], Some(credentials.clone())).await;
    let mut by_tokens = credentials;
    by_tokens["cookie"] = json!(false);
    let phone = w.ask(ada, post.clone(), login, login, &[], Some(by_tokens)).await;
    for token in [phone.body["refresh_token"].clone(), json!("cvr_")] {
        w.ask(ada, post.clone(), refresh, refresh, &[], Some(json!({"refresh_token": token}))).await;
    }
    let listed = w.ask(ada, get, list, list, &[], None).await;
    for id in [&listed.body["data"][0]["id"], &json!(Uuid::now_v7())] {
        let one = format!("{list}/{}", id.as_str().unwrap());
        w.ask(ada, Method::DELETE, &one, "/v1/auth/sessions/{id}", &[], None).await;
    }
    let (change, set) = ("/v1/auth/password/change", "/v1/auth/password/set");
    let out = ["/v1/auth/logout", "/v1/auth/logout-all"];
    let mut nobody = ada.clone();
    nobody.token = None;
    let cookie = browser.header("set-cookie").split(';').next().unwrap().to_owned();
    for origin in ["https://evil.example", "http://convolog.test"] {
        let headers = [("cookie", cookie.as_str()), ("origin", origin)];
        w.ask(&nobody, post.clone(), out[0], out[0], &headers, Some(json!({}))).await;
    }
    for current in ["wrong", "correct horse battery"] {
        let body = json!({"current_password": current, "new_password": "incorrect zebra socket"});
        w.ask(ada, post.clone(), change, change, &[], Some(body)).await;
    }
    let email = domain::Email::parse("ada@example.com").unwrap();
    let (token, kept) = api::new_invitation(domain::TenantId(ada.tenant), domain::UserId(ada.id), &email).unwrap();
    crate::http::invitations::keep(world, ada.tenant, ada.id, &kept).await;
    let mut again = ada.clone();
    for _ in 0..2 {
        let body = json!({"token": token, "password": "incorrect zebra socket"});
        let reply = w.ask(&nobody, post.clone(), set, set, &[], Some(body)).await;
        if reply.status == 200 {
            again = nobody.signed_in(&reply.body);
        }
    }
    w.ask(&again, post.clone(), out[1], out[1], &[], Some(json!({}))).await;
}

/// Records, reads and voids costs.
async fn tell_of_costs(w: &mut Witness, ada: &User) {
    let (get, post) = (Method::GET, Method::POST);
    let unknown = Uuid::now_v7();
    let cost = json!({"service": "llm", "provider": "openai", "amount": "0.10", "id": unknown, "metadata": {"a": 1},
                      "usage": [{"type": "output_text", "quantity": 96}]});
    let recorded = w.ask(ada, post.clone(), "/v1/costs", "/v1/costs", &[], Some(cost.clone())).await;
    for body in [
        cost,
        json!({"service": "llm", "provider": "openai", "amount": 1}),
        json!({"service": "other", "provider": "p"}),
    ] {
        w.ask(ada, post.clone(), "/v1/costs", "/v1/costs", &[], Some(body)).await;
    }
    let mixed = json!([{"service": "llm", "provider": "p"}, {"id": unknown, "service": "llm"}, 7, {"id": unknown, "service": "llm", "provider": "p"}]);
    let batch = "/v1/costs/batch";
    for (items, atomic) in
        [(mixed.clone(), json!(false)), (mixed.clone(), json!(false)), (mixed, json!(true)), (json!([]), json!(null))]
    {
        let body = Some(json!({"items": items, "atomic": atomic}));
        w.ask(ada, post.clone(), batch, batch, &[("idempotency-key", "batch")], body).await;
    }
    let seq = recorded.seq() + 1;
    for id in [recorded.id(), Uuid::now_v7()] {
        let (one, void) = (format!("/v1/costs/{id}"), format!("/v1/costs/{id}/void"));
        w.ask(ada, get.clone(), &format!("{one}?min_seq={seq}"), "/v1/costs/{id}", &[], None).await;
        for (headers, reason) in
            [(&[("if-match", "\"9\"")][..], json!("r")), (&[], json!(0)), (&[], json!("r")), (&[], json!(null))]
        {
            let body = Some(json!({"reason": reason}));
            w.ask(ada, post.clone(), &void, "/v1/costs/{id}/void", headers, body).await;
        }
        w.ask(ada, get.clone(), &format!("{one}?min_seq={}", seq + 1), "/v1/costs/{id}", &[], None).await;
    }
    for query in ["", "?limit=1&from=2026-11-01T00:00:00Z&voided=true", "?currency=usd", "?cursor=x"] {
        w.ask(ada, get.clone(), &format!("/v1/costs{query}"), "/v1/costs", &[], None).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documents_are_served_and_the_page_loads_nothing_from_anywhere() {
    let world = World::start().await;
    let json = world.http.get(format!("{}/openapi.json", world.url(0))).send().await.unwrap();
    assert_eq!((json.status().as_u16(), &json.headers()["content-type"]), (200, &"application/json".parse().unwrap()));
    assert_eq!(json.text().await.unwrap(), api::openapi::document());

    let page = world.http.get(format!("{}/docs", world.url(0))).send().await.unwrap();
    assert_eq!(
        (page.status().as_u16(), &page.headers()["content-type"]),
        (200, &"text/html; charset=utf-8".parse().unwrap())
    );
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    for rule in
        ["default-src 'none'", "style-src 'sha256-", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"]
    {
        assert!(policy.contains(rule), "{policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    let page = page.text().await.unwrap();
    for loading in ["<script", "<link", "<img", "<iframe", "@import", "url(", "src=", "//cdn", " on"] {
        let found =
            page.find(loading).filter(|_| loading != " on" || page.contains(" onload=") || page.contains(" onclick="));
        assert!(found.is_none(), "{loading}");
    }
    for link in page.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        let anchor = link.strip_prefix('#');
        assert!(link == "/openapi.json" || anchor.is_some_and(|id| page.contains(&format!("id=\"{id}\""))), "{link}");
    }
    let document = document();
    for (path, method, operation) in operations(&document) {
        assert!(page.contains(&format!("{} {path}</code>", method.to_uppercase())), "{method} {path}");
        assert!(page.contains(operation["summary"].as_str().unwrap()), "{method} {path}");
    }
    for name in document["components"]["schemas"].as_object().unwrap().keys() {
        assert!(page.contains(&format!("id=\"schema-{name}\"")), "{name}");
    }
}
