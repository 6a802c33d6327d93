//! `/openapi.json` and `/docs`: what the service offers, for programs and for people.

use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use serde_json::json;

use crate::openapi::{self, About, Answers, Operation, Tag};

/// What the document says of [`openapi`].
pub(crate) const OPENAPI: About = About {
    id: "readOpenApi",
    tag: Tag::Service,
    summary: "This document",
    text: "OpenAPI 3.1.",
    codes: &[],
    links: &[],
};

/// The document.
pub(crate) struct Document;

pub(crate) async fn openapi() -> Document {
    Document
}

impl IntoResponse for Document {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "application/json")], openapi::document()).into_response()
    }
}

impl Answers for Document {
    fn describe(operation: &mut Operation<'_>) {
        let schema = json!({"type": "object", "required": ["openapi", "info", "paths"]});
        operation.answers_as(200, "The document.", "application/json", schema, &[]);
    }
}

/// What the document says of [`page`].
pub(crate) const PAGE: About = About {
    id: "readDocs",
    tag: Tag::Service,
    summary: "This document, to read",
    text: "A page without scripts that loads nothing.",
    codes: &[],
    links: &[],
};

/// The page.
pub(crate) struct Page;

pub(crate) async fn page() -> Page {
    Page
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        ([(header::CONTENT_SECURITY_POLICY, openapi::policy())], Html(openapi::page())).into_response()
    }
}

impl Answers for Page {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers_as(200, "The page.", "text/html; charset=utf-8", json!({"type": "string"}), &[]);
    }
}
