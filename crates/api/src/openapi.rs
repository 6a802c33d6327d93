//! The OpenAPI document, made from the routes as they are registered: neither can be without the other.
//!
//! What a handler takes and answers is described by the types of its arguments and of its answer, once per type. What
//! types can't say stands beside the handler in an `About`. Limits are those of the code's constants.

mod about;
mod describe;
pub(crate) mod domain_types;
mod headers;
mod operation;
mod page;
mod problems;
mod routes;
mod schemas;

use std::sync::LazyLock;

pub(crate) use about::{About, Tag};
pub(crate) use describe::{Answers, Part};
pub(crate) use headers::Header;
pub(crate) use operation::Operation;
pub(crate) use page::{page, policy};
pub(crate) use routes::Routes;
pub(crate) use schemas::AnyObject;

use crate::router::routes;

static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let (_, document) = routes().finish();
    format!("{document:#}\n")
});

/// The document as `GET /openapi.json` answers it.
pub fn document() -> &'static str {
    &DOCUMENT
}
