//! The one registration: a route and its description in one call, so that there is no endpoint without documentation.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use axum::extract::MatchedPath;
use axum::handler::Handler;
use axum::routing::{MethodFilter, on};
use axum::{Extension, Router};
use serde_json::{Map, Value, json};

use super::describe::Described;
use super::{About, Operation, Tag, headers, problems, schemas::Schemas};
use crate::{
    body::{MAX_BODY, MAX_DEPTH},
    conditions::IfMatch,
    cookies,
    error::{Code, Error},
    idempotency::IdempotencyKey,
    policy::{self, Access},
    problem::Problem,
    reads::MIN_SEQ_WAIT,
    state::Api,
};

fn introduction() -> String {
    format!(
        include_str!("introduction.md"),
        wait = MIN_SEQ_WAIT.as_secs(),
        body = MAX_BODY / 1024 / 1024,
        depth = MAX_DEPTH
    )
}

/// Routes on their way to a router and a document.
pub(crate) struct Routes {
    router: Router<Api>,
    schemas: Schemas,
    paths: Map<String, Value>,
    responses: Map<String, Value>,
    ids: BTreeSet<&'static str>,
}

impl Routes {
    pub(crate) fn new() -> Self {
        Self {
            router: Router::new(),
            schemas: Schemas::new(),
            paths: Map::new(),
            responses: Map::new(),
            ids: BTreeSet::new(),
        }
    }

    /// A read.
    pub(crate) fn get<H, T, S>(self, path: &'static str, handler: H, about: About) -> Self
    where
        H: Handler<T, Api> + Described<S>,
        T: 'static,
    {
        self.on(MethodFilter::GET, "get", path, handler, about)
    }

    /// A command.
    pub(crate) fn post<H, T, S>(self, path: &'static str, handler: H, about: About) -> Self
    where
        H: Handler<T, Api> + Described<S>,
        T: 'static,
    {
        self.on(MethodFilter::POST, "post", path, handler, about)
    }

    /// A command that changes what the path names.
    pub(crate) fn patch<H, T, S>(self, path: &'static str, handler: H, about: About) -> Self
    where
        H: Handler<T, Api> + Described<S>,
        T: 'static,
    {
        self.on(MethodFilter::PATCH, "patch", path, handler, about)
    }

    /// A command that ends or removes what the path names.
    pub(crate) fn delete<H, T, S>(self, path: &'static str, handler: H, about: About) -> Self
    where
        H: Handler<T, Api> + Described<S>,
        T: 'static,
    {
        self.on(MethodFilter::DELETE, "delete", path, handler, about)
    }

    #[expect(clippy::disallowed_methods, reason = "the one place where a route is added")]
    fn on<H, T, S>(mut self, filter: MethodFilter, method: &str, path: &'static str, handler: H, about: About) -> Self
    where
        H: Handler<T, Api> + Described<S>,
        T: 'static,
    {
        self.ids.insert(about.id);
        let access = policy::access(about.id).unwrap_or_else(|| panic!("{} is not in the policy", about.id));
        let mut operation = Operation::new(path, &about, access, &mut self.schemas);
        H::describe(&mut operation);
        if method != "get" && matches!(access, Access::Tenant { .. }) {
            operation.fails(&[Code::OriginNotAllowed]);
        }
        let operation = operation.finish(&mut self.responses);
        let item = self.paths.entry(path).or_insert_with(|| json!({}));
        item[method] = operation;
        self.router = self.router.route(path, on(filter, handler).route_layer(Extension(access)));
        self
    }

    /// The router, and the document about it.
    pub(crate) fn finish(mut self) -> (Router<Api>, Value) {
        self.schemas.answer::<Problem<'static>>();
        let tags: Vec<Value> =
            Tag::ALL.iter().map(|tag| json!({"name": tag.name(), "description": tag.text()})).collect();
        let document = json!({
            "openapi": "3.1.0",
            "info": {
                "title": "Convolog",
                "version": env!("CARGO_PKG_VERSION"),
                "summary": "The event-sourced backend of multi-tenant AI assistants",
                "description": introduction(),
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "servers": [{"url": "/", "description": "This server"}],
            "tags": tags,
            "paths": &self.paths,
            "components": {
                "schemas": self.schemas.components(),
                "parameters": {
                    IdempotencyKey::NAME: IdempotencyKey::parameter(),
                    IfMatch::NAME: IfMatch::parameter(),
                },
                "headers": headers::components(),
                "responses": self.responses,
                "examples": problems::examples(),
                "securitySchemes": {"bearer": {
                    "type": "http", "scheme": "bearer",
                    "description": "The `access_token` of a log-in, or an API key (`cvl_…`). It says whose tenant, and with \
                        a role or scopes what may be done.",
                }, "cookie": {
                    "type": "apiKey", "in": "cookie", "name": cookies::NAME,
                    "description": "A browser's sign-in: set when one signs in with `cookie`. Ignored beside `Authorization`. All but reads need \
                                    an `Origin` that is this server's or one that its operator allows.",
                }, "operator": {
                    "type": "http", "scheme": "bearer",
                    "description": "The operator's token, a setting of the server. Not needed from the same machine.",
                }},
            },
        });
        let methods = Arc::new(methods(&self.paths));
        let refuse = async move |path: MatchedPath| {
            let methods = methods.get(path.as_str()).map_or("", String::as_str);
            Error::new(Code::MethodNotAllowed, format!("It takes {methods}."))
        };
        (self.router.method_not_allowed_fallback(refuse), document)
    }
}

/// What each path takes, for people.
fn methods(paths: &Map<String, Value>) -> HashMap<String, String> {
    let name = |name: &String| if name == "get" { "GET, HEAD".to_owned() } else { name.to_uppercase() };
    let names =
        |item: &Value| item.as_object().into_iter().flat_map(Map::keys).map(name).collect::<Vec<_>>().join(", ");
    paths.iter().map(|(path, item)| (path.clone(), names(item))).collect()
}
