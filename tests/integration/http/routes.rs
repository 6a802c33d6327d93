//! All routes, read from the document that is made with the router, so that a new one is held to every rule that holds
//! for all.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

/// A path and the methods that it takes.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) path: String,
    pub(super) methods: Vec<Method>,
    /// Whether anybody may ask.
    open: bool,
}

pub(super) const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// Who may come in without credentials: this list is the rule, whatever the document says.
const OPEN: [&str; 11] = [
    "/v1/auth/register",
    "/v1/auth/login",
    "/v1/auth/refresh",
    "/.well-known/jwks.json",
    "/v1/auth/password/set",
    "/health/live",
    "/health/ready",
    "/openapi.json",
    "/docs",
    "/health",
    "/metrics",
];

pub(super) fn all() -> Vec<Route> {
    let document: Value = serde_json::from_str(api::openapi::document()).unwrap();
    let routes = document["paths"].as_object().unwrap().iter().map(|(path, item)| {
        let operation = |method: &Method| item.get(method.as_str().to_lowercase());
        let methods: Vec<Method> = METHODS.into_iter().filter(|method| operation(method).is_some()).collect();
        assert_eq!(methods.len(), item.as_object().unwrap().len(), "{path} takes a method that the tests do not know");
        let open = methods
            .iter()
            .filter_map(operation)
            .all(|operation| operation["security"] != json!([{"bearer": []}, {"cookie": []}]));
        Route { path: path.clone(), methods, open }
    });
    let routes: Vec<Route> = routes.collect();
    assert!(routes.len() >= 12, "the document reads differently");
    for route in &routes {
        assert_eq!(route.open, OPEN.contains(&route.path.as_str()), "{}", route.path);
    }
    routes
}

/// How many of the reads are lists with cursors.
pub(super) fn lists() -> usize {
    let document: Value = serde_json::from_str(api::openapi::document()).unwrap();
    let reads = document["paths"].as_object().unwrap().values().filter_map(|item| item["get"]["parameters"].as_array());
    reads.filter(|parameters| parameters.iter().any(|parameter| parameter["name"] == "cursor")).count()
}

impl Route {
    /// Whether anybody may ask.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Whether its commands are recorded under an idempotency key.
    pub(super) fn takes_keys(&self) -> bool {
        !self.open && !self.path.starts_with("/v1/auth/")
    }

    /// Whether its path names a thing; a month is none: every month answers.
    pub(super) fn has_id(&self) -> bool {
        self.path.contains("{id}")
    }

    /// The path with this text in place of every parameter.
    pub(super) fn with(&self, id: &str) -> String {
        let mut path = String::new();
        let mut rest = self.path.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            path.push_str(before);
            path.push_str(id);
            rest = after.split_once('}').unwrap().1;
        }
        path + rest
    }

    /// A body that the route's command takes, with every member that it knows.
    pub(super) fn body(&self) -> Value {
        let [id, other] = [(); 2].map(|()| Uuid::now_v7());
        match self.path.as_str() {
            _ if self.methods == [Method::GET] => json!({}),
            "/v1/auth/register" => json!({
                "tenant_name": "Engines", "email": "ada@example.com", "password": "nobody guesses this one", "name": "Ada",
                "cookie": false,
            }),
            "/v1/auth/login" => {
                json!({"email": "ada@example.com", "password": "nobody guesses", "tenant_id": other, "cookie": false})
            }
            "/v1/auth/password/change" => {
                json!({"current_password": "nobody guesses this one", "new_password": "nobody guesses that one either"})
            }
            "/v1/auth/password/set" => json!({"token": "cvi_", "password": "nobody guesses this one", "cookie": false}),
            "/v1/auth/refresh" => json!({"refresh_token": "cvr_"}),
            "/v1/tenant" => json!({
                "name": "Engines", "plan": "growth", "stripe_customer_id": "cus_1", "stripe_subscription_id": "sub_1",
                "settings": {"version": 1, "language": "de-AT", "timezone": "Europe/Vienna", "currency": "EUR"},
            }),
            "/v1/users" => json!({
                "id": id, "email": format!("{id}@example.com"), "name": "Grace", "role": "member",
                "password": "nobody guesses this one",
            }),
            "/v1/users/{id}" => json!({"role": "owner", "name": "Grace", "avatar_url": "https://example.com/1.png"}),
            "/v1/auth/logout" | "/v1/auth/logout-all" | "/v1/auth/sessions/{id}" => json!({}),
            "/v1/api-keys" => json!({
                "id": id, "name": "Billing", "scopes": ["costs:read"], "expires_at": super::now() + chrono::TimeDelta::days(1),
            }),
            "/v1/api-keys/{id}" => json!({}),
            "/v1/sessions" => json!({
                "id": id, "mode": "text", "widget_id": other, "meeting_id": other, "personality_id": other,
                "metadata": {"a": 1},
            }),
            "/v1/sessions/{id}/end" => json!({}),
            "/v1/sessions/{id}/messages" => json!({
                "id": id, "role": "user", "content": "Hello", "metadata": {"a": 1},
                "attachments": [{"kind": "file", "url": "u", "name": "n", "media_type": "text/plain", "size": 1}],
                "cost": cost([None; 3]),
            }),
            "/v1/costs" => cost([(); 3].map(|()| Some(Uuid::now_v7()))),
            "/v1/costs/batch" => json!({"items": [cost([(); 3].map(|()| Some(Uuid::now_v7())))], "atomic": true}),
            "/v1/costs/{id}/void" => json!({"reason": "billed twice"}),
            path => panic!("say what {path} takes"),
        }
    }
}

/// A cost with every member, of this id, session and message.
fn cost([id, session, message]: [Option<Uuid>; 3]) -> Value {
    json!({
        "id": id, "service": "llm", "provider": "openai", "model": "gpt-4o", "amount": "0.000123", "currency": "USD",
        "usage": [{"type": "output_text", "quantity": 96, "unit": "tokens"}], "usage_convention": "disjoint",
        "occurred_at": super::now(), "session_id": session, "message_id": message, "meeting_id": Uuid::now_v7(),
        "metadata": {"a": 1},
    })
}
