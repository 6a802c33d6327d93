//! The document as a page to read: plain HTML without scripts, so that nothing has to be loaded from anywhere.

use std::sync::LazyLock;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::router::routes;

static PAGE: LazyLock<String> = LazyLock::new(|| whole(&routes().finish().1).into_string());

/// How the page looks.
const STYLE: &str = include_str!("page.css");

/// The page as `GET /docs` answers it.
pub(crate) fn page() -> &'static str {
    &PAGE
}

/// The page's Content-Security-Policy: its own style and nothing else, from nowhere.
pub(crate) fn policy() -> String {
    let style = BASE64_STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

fn whole(document: &Value) -> Markup {
    let info = &document["info"];
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                title { (text(&info["title"])) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                nav { (contents(document)) }
                main {
                    h1 { (text(&info["title"])) " " small { (text(&info["version"])) } }
                    (prose(&info["description"]))
                    p { "For programs: " a href="/openapi.json" { "openapi.json" } }
                    @for tag in list(&document["tags"]) {
                        h2 id=(text(&tag["name"])) { (text(&tag["name"])) }
                        (prose(&tag["description"]))
                        @for (path, method, operation) in operations(document, &tag["name"]) {
                            (one(document, path, method, operation))
                        }
                    }
                    h2 id="schemas" { "Schemas" }
                    @for (name, schema) in members(&document["components"]["schemas"]) {
                        section id={ "schema-" (name) } { h3 { (name) } (prose(&schema["description"])) (fields(schema)) (examples(schema)) }
                    }
                }
            }
        }
    }
}

fn contents(document: &Value) -> Markup {
    html! {
        @for tag in list(&document["tags"]) {
            a href={ "#" (text(&tag["name"])) } { strong { (text(&tag["name"])) } }
            @for (_, _, operation) in operations(document, &tag["name"]) {
                a href={ "#" (text(&operation["operationId"])) } { (text(&operation["summary"])) }
            }
        }
        a href="#schemas" { strong { "Schemas" } }
    }
}

/// Path, method and operation of a tag.
fn operations<'a>(document: &'a Value, tag: &'a Value) -> impl Iterator<Item = (&'a str, &'a str, &'a Value)> {
    let all = members(&document["paths"]).flat_map(|(path, item)| {
        members(item).map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    });
    all.filter(move |(_, _, operation)| operation["tags"][0] == *tag)
}

fn one(document: &Value, path: &str, method: &str, operation: &Value) -> Markup {
    let open = list(&operation["security"]).is_empty();
    html! {
        section id=(text(&operation["operationId"])) {
            h3 { code { (method.to_uppercase()) " " (path) } " " (text(&operation["summary"])) }
            p { code { (text(&operation["operationId"])) } @if open { " · open to everybody" } @else { " · needs a token" } }
            (prose(&operation["description"]))
            @let parameters = list(&operation["parameters"]);
            @if !parameters.is_empty() {
                h4 { "Parameters" }
                dl { @for parameter in parameters { (described(resolved(document, parameter))) } }
            }
            @for (media, content) in members(&operation["requestBody"]["content"]) {
                h4 { "Body " code { (media) } @if operation["requestBody"]["required"] != true { ", optional" } }
                (schema(&content["schema"]))
                (referenced_examples(document, &content["schema"]))
            }
            h4 { "Answers" }
            dl { @for (status, answer) in members(&operation["responses"]) { (answered(document, status, answer)) } }
        }
    }
}

/// A parameter or header.
fn described(parameter: &Value) -> Markup {
    html! {
        dt { code { (text(&parameter["name"])) } " " small { (text(&parameter["in"])) @if parameter["required"] == true { ", required" } } }
        dd { (prose(&parameter["description"])) (schema(&parameter["schema"])) }
    }
}

fn answered(document: &Value, status: &str, answer: &Value) -> Markup {
    let answer = resolved(document, answer);
    html! {
        dt { code { (status) } }
        dd {
            (prose(&answer["description"]))
            @let headers: Vec<&String> = members(&answer["headers"]).map(|(name, _)| name).collect();
            @if !headers.is_empty() { p { "Headers: " @for name in headers { code { (name) } " " } } }
            @for (media, content) in members(&answer["content"]) {
                p { code { (media) } }
                @if content["schema"]["allOf"].is_null() {
                    (schema(&content["schema"]))
                    (referenced_examples(document, &content["schema"]))
                } @else {
                    @for (name, example) in members(&content["examples"]) {
                        details { summary { code { (name) } } (json(&resolved(document, example)["value"])) }
                    }
                }
            }
        }
    }
}

/// A schema in one line, or its fields.
fn schema(schema: &Value) -> Markup {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or(reference);
        return html! { p { a href={ "#schema-" (name) } { (name) } } };
    }
    html! { p { code { (limits(schema)) } } (fields(schema)) }
}

fn fields(whole: &Value) -> Markup {
    let required = |name: &str| list(&whole["required"]).iter().any(|one| one == name);
    html! {
        @if whole["properties"].is_object() {
            dl { @for (name, field) in members(&whole["properties"]) {
                dt { code { (name) } @if required(name) { " " small { "required" } } }
                dd { (prose(&field["description"])) (schema(field)) @if field["items"].is_object() { (schema(&field["items"])) } }
            } }
        }
        @for choice in list(&whole["oneOf"]) { p { "either: " (text(&choice["description"])) } (fields(choice)) }
    }
}

/// What a schema says beside its fields and its description, as it is spelled.
fn limits(schema: &Value) -> String {
    let shown = |name: &str| !["description", "properties", "required", "items", "oneOf", "examples"].contains(&name);
    let kept = members(schema).filter(|(name, _)| shown(name));
    kept.map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join(", ")
}

fn referenced_examples(document: &Value, schema: &Value) -> Markup {
    examples(resolved(document, schema))
}

fn examples(schema: &Value) -> Markup {
    html! { @for example in list(&schema["examples"]) { (json(example)) } }
}

fn json(value: &Value) -> Markup {
    html! { pre { (format!("{value:#}")) } }
}

/// Paragraphs; of CommonMark only what the document uses: `code` and **bold**.
fn prose(value: &Value) -> Markup {
    html! { @for paragraph in text(value).split("\n\n").filter(|one| !one.is_empty()) { p { (inline(paragraph)) } } }
}

fn inline(paragraph: &str) -> Markup {
    html! {
        @for (index, part) in paragraph.split('`').enumerate() {
            @if index % 2 == 1 { code { (part) } } @else {
                @for (index, part) in part.split("**").enumerate() { @if index % 2 == 1 { strong { (part) } } @else { (part) } }
            }
        }
    }
}

/// What a reference within the document names, or the value itself.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let pointer = value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
    pointer.and_then(|pointer| document.pointer(pointer)).unwrap_or(value)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().map(Map::iter).into_iter().flatten()
}
