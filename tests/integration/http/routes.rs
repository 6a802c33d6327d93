//! All routes, read from the router's own page, so that a new one is held to every rule that holds for all.

use reqwest::Method;
use serde_json::{Value, json};

const ROUTER: &str = include_str!("../../../crates/api/src/router.rs");

/// A path and the methods that it takes.
pub(super) struct Route {
    pub(super) path: &'static str,
    pub(super) methods: Vec<Method>,
}

pub(super) const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

pub(super) fn all() -> Vec<Route> {
    let parts = ROUTER.split(".route(").skip(1);
    let routes: Vec<Route> = parts
        .map(|part| {
            let (path, rest) = part.trim_start().strip_prefix('"').unwrap().split_once('"').unwrap();
            let rest = &rest[..rest.find(".route(").unwrap_or(rest.len())];
            let rest = &rest[..rest.find(".fallback").unwrap_or(rest.len())];
            let takes = |method: &Method| rest.contains(&format!("{}(", method.as_str().to_lowercase()));
            Route { path, methods: METHODS.into_iter().filter(takes).collect() }
        })
        .collect();
    assert!(routes.len() >= 10 && routes.iter().all(|route| !route.methods.is_empty()), "the router reads differently");
    routes
}

impl Route {
    /// What shows the whole service to who looks after it, and is asked for from this machine here.
    fn is_for_operators(&self) -> bool {
        ["/health", "/metrics"].contains(&self.path)
    }

    /// Whether anybody may ask.
    pub(super) fn is_open(&self) -> bool {
        self.path.starts_with("/health/")
            || self.is_for_operators()
            || ["/v1/auth/register", "/v1/auth/login"].contains(&self.path)
    }

    pub(super) fn has_id(&self) -> bool {
        self.path.contains('{')
    }

    /// The path with this text in place of every parameter.
    pub(super) fn with(&self, id: &str) -> String {
        let mut path = String::new();
        let mut rest = self.path;
        while let Some((before, after)) = rest.split_once('{') {
            path.push_str(before);
            path.push_str(id);
            rest = after.split_once('}').unwrap().1;
        }
        path + rest
    }

    /// A body that the route's command takes.
    pub(super) fn body(&self) -> Value {
        if self.path.ends_with("/messages") { json!({"role": "user", "content": "Hello"}) } else { json!({}) }
    }
}
