//! Values made to break something: in place of every member of every body, and in place of the body.

use std::collections::BTreeSet;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::super::routes::Route;
use super::{Stage, assert_problem, assert_refused, post_text, raw, routes};

/// What stands for the member that is replaced.
const MARK: &str = "\"@@\"";
const MIB: usize = 1024 * 1024;

/// Where every member and every element stands, as JSON pointers. Metadata are the client's own.
fn members(value: &Value, pointer: &str, found: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(object) => object.iter().map(|(name, value)| (name.clone(), value)).collect(),
        Value::Array(elements) => elements.iter().enumerate().map(|(at, value)| (at.to_string(), value)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return,
    };
    for (name, child) in children {
        let pointer = format!("{pointer}/{name}");
        found.push(pointer.clone());
        if name != "metadata" {
            members(child, &pointer, found);
        }
    }
}

/// The body with these bytes in the place of one value.
fn with(body: &Value, pointer: &str, bytes: &[u8]) -> Vec<u8> {
    let mut body = body.clone();
    *body.pointer_mut(pointer).unwrap() = json!("@@");
    let text = body.to_string();
    let (before, after) = text.split_once(MARK).unwrap();
    [before.as_bytes(), bytes, after.as_bytes()].concat()
}

/// What no body may have anywhere, whatever it is about.
fn poison() -> Vec<(Vec<u8>, u16, &'static str)> {
    let nul = [r#""\u0000""#, r#"{"\u0000":1}"#, r#"{"a":["x\u0000"]}"#];
    let malformed = [
        "@",
        "NaN",
        "-Infinity",
        "01",
        "+1",
        "'x'",
        "\"\n\"",
        "\"\0\"",
        r#""\x""#,
        r#""\ud800""#,
        r#""\udc00x""#,
        r#"{"\ud83d":1}"#,
        "{\"a\":1,}",
    ];
    let deep = [("[", "]"), (r#"{"a":"#, "}")]
        .map(|(open, close)| [open.repeat(10_000), "1".into(), close.repeat(10_000)].concat().into_bytes());
    let not_utf_8 = [&b"\"\xff\""[..], b"\"\xed\xa0\x80\"", b"{\"\xc0\x80\":1}"].map(<[u8]>::to_vec);
    let invalid = malformed.map(|text| text.as_bytes().to_vec()).into_iter().chain(deep).chain(not_utf_8);
    let nul = nul.map(|text| (text.as_bytes().to_vec(), 422, "nul_character"));
    invalid.map(|bytes| (bytes, 400, "invalid_json")).chain(nul).collect()
}

/// Well-formed values that do not fit where this one does.
fn misfits(example: &Value) -> Vec<String> {
    let others =
        ["true", "0", "-1", "-0", "1.5", "1e400", "9223372036854775808", r#""x""#, "[]", "[null]", r#"{"a":1}"#];
    let kind = |text: &str| match text.as_bytes()[0] {
        b'-' | b'0'..=b'9' => b'0',
        b'f' => b't',
        other => other,
    };
    let text = example.to_string();
    let mut misfits: Vec<String> =
        others.iter().filter(|other| kind(other) != kind(&text)).map(|other| (*other).to_owned()).collect();
    match example {
        // serde's derived code would take these for enums and structs.
        Value::String(_) => misfits.extend([format!("{{{text}:null}}"), format!("[{text}]")]),
        Value::Object(object) => misfits.push(Value::from_iter(object.values().cloned()).to_string()),
        Value::Number(_) => misfits.extend(["-1", "-0", "1.5", "1e400", "18446744073709551616"].map(str::to_owned)),
        Value::Array(_) => misfits.extend(["[null]", "[[]]", "[1]", r#"["x"]"#].map(str::to_owned)),
        Value::Null | Value::Bool(_) => {}
    }
    misfits
}

/// Well-formed values that may fit: then they are stored, once.
fn oddities(example: &Value) -> Vec<String> {
    let odd =
        ["", " ", "TEXT", "null", "\u{663}", "'; drop table events; --", "\u{202e}", "\u{1}", "%00", "../..", "{}"];
    let mut odd: Vec<String> = odd.map(|text| json!(text).to_string()).into();
    odd.push(json!("x".repeat(300_000)).to_string());
    match example {
        Value::String(_) => [odd, vec!["null".into()]].concat(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => vec!["null".into()],
    }
}

/// In place of a whole body.
fn impostors(body: &Value) -> Vec<(Vec<u8>, u16, &'static str)> {
    let text = body.to_string();
    let invalid = [
        text[..text.len() - 1].to_owned(),
        format!("{text} x"),
        format!("{text}{text}"),
        format!("{},}}", &text[..text.len() - 1]),
        format!("\u{feff}{text}"),
        " ".into(),
        "[".repeat(500_000),
    ];
    let utf_16 = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let invalid = invalid.map(String::into_bytes).into_iter().chain([utf_16, b"\x1f\x8b\x08\0".to_vec()]);
    let values: Value = body.as_object().unwrap().values().cloned().collect();
    let other = [format!("[{text}]"), values.to_string(), json!(text).to_string()];
    let other = other.into_iter().chain(["null", "true", "0", "-0", "1e400", "[]", "[[]]"].map(str::to_owned));
    let large = [format!("{text}{}", " ".repeat(MIB)), json!({"a": "x".repeat(2 * MIB)}).to_string()];
    invalid
        .map(|bytes| (bytes, 400, "invalid_json"))
        .chain(other.map(|text| (text.into_bytes(), 422, "validation_failed")))
        .chain(large.map(|text| (text.into_bytes(), 413, "body_too_large")))
        .collect()
}

/// All commands that take a body, with their path.
fn commands(stage: &Stage) -> impl Iterator<Item = (Route, Target)> {
    let (session, user) = (stage.session.to_string(), stage.user.id.to_string());
    routes::all().into_iter().flat_map(move |route| {
        let id = if route.path.starts_with("/v1/users/") { &user } else { &session };
        let path = route.with(id);
        let target = |method: &Method| (route.clone(), Target { method: method.clone(), path: path.clone() });
        let takes_bodies = |method: &&Method| [Method::POST, Method::PATCH, Method::PUT].contains(method);
        route.methods.iter().filter(takes_bodies).map(target).collect::<Vec<_>>()
    })
}

/// Where a body is sent.
struct Target {
    method: Method,
    path: String,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

impl Target {
    fn request(&self, stage: &Stage, body: Vec<u8>) -> RequestBuilder {
        stage.user.request(self.method.clone(), &self.path).header("content-type", "application/json").body(body)
    }
}

async fn refused(stage: &Stage, path: &Target, body: Vec<u8>, status: u16, code: &str) -> Value {
    let shown = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
    let reply = raw(path.request(stage, body)).await.reply();
    assert_eq!((reply.status, reply.code()), (status, code), "{path} {shown}: {}", reply.body);
    assert_problem(&reply, status, code);
    reply.body["errors"][0].clone()
}

#[tokio::test]
async fn no_value_of_any_member_is_a_fault_of_ours_and_what_does_not_fit_is_named() {
    let stage = Stage::set().await;
    let mut expected = stage.head().await;
    let (mut accepted, mut tried) = (0, 0);
    for (route, path) in commands(&stage) {
        let body = route.body();
        let mut pointers = Vec::new();
        members(&body, "", &mut pointers);
        for pointer in pointers {
            let example = body.pointer(&pointer).unwrap();
            for (poison, status, code) in poison() {
                refused(&stage, &path, with(&body, &pointer, &poison), status, code).await;
            }
            for misfit in misfits(example) {
                let error =
                    refused(&stage, &path, with(&body, &pointer, misfit.as_bytes()), 422, "validation_failed").await;
                assert!(error["pointer"].as_str().unwrap().starts_with(&pointer), "{path} {pointer} {misfit}: {error}");
            }
            for odd in oddities(example) {
                tried += 1;
                // Another id each time, or only the first would come as far as the log.
                let reply = raw(path.request(&stage, with(&route.body(), &pointer, odd.as_bytes()))).await.reply();
                if (200..300).contains(&reply.status) {
                    accepted += 1;
                    // A message's cost is an event of its own, and each thing that is changed of a tenant or member.
                    let left_out = |members: &[&str]| u64::from(odd == "null" && members.contains(&pointer.as_str()));
                    let more = match route.path.as_str() {
                        "/v1/sessions/{id}/messages" => 1 - u64::from(pointer == "/cost"),
                        "/v1/tenant" => 3 - left_out(&["/name", "/plan", "/settings"]),
                        "/v1/users/{id}" => 1 - left_out(&["/role"]),
                        _ => 0,
                    };
                    expected += if route.is_open() { 0 } else { 1 + more };
                } else {
                    assert_refused(&reply, &format!("{path} {pointer} {odd:.100}"));
                }
            }
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            if body.pointer(parent).unwrap().is_object() {
                let twice = format!("{example},{}:{example}", json!(name));
                let error =
                    refused(&stage, &path, with(&body, &pointer, twice.as_bytes()), 422, "validation_failed").await;
                assert_eq!((&error["pointer"], &error["code"]), (&json!(pointer), &json!("duplicate_field")), "{path}");
            }
        }
    }
    assert!(tried > 150 && accepted > 20, "{accepted} of {tried}");
    stage.ends_at(expected).await;
}

#[tokio::test]
async fn members_that_are_not_known_are_refused_and_those_that_are_known_are_tested() {
    let stage = Stage::set().await;
    let before = stage.head().await;
    for (route, path) in commands(&stage) {
        let body = route.body();
        let mut pointers = vec![String::new()];
        members(&body, "", &mut pointers);
        for pointer in pointers.iter().filter(|pointer| !pointer.ends_with("/metadata")) {
            let Some(object) = body.pointer(pointer).unwrap().as_object() else { continue };
            let mut more = body.clone();
            more.pointer_mut(pointer).unwrap()["__proto__"] = json!({"tenant_id": stage.user.tenant});
            let error = refused(&stage, &path, more.to_string().into_bytes(), 422, "validation_failed").await;
            assert_eq!(error["code"], "unknown_field", "{path} {pointer}");
            // "unknown field `__proto__`, expected one of `a`, `b`": between every second pair of quotes there is a name.
            let detail = error["detail"].as_str().unwrap();
            let known: BTreeSet<&str> = detail.split('`').skip(3).step_by(2).collect();
            let tested: BTreeSet<&str> = object.keys().map(String::as_str).collect();
            assert_eq!(known, tested, "Route::body() does not have the members of {path} {pointer}");
        }
    }
    stage.ends_at(before).await;
}

#[tokio::test]
async fn what_is_no_body_of_a_command_is_refused_with_its_reason() {
    let stage = Stage::set().await;
    let before = stage.head().await;
    for (route, path) in commands(&stage) {
        for (body, status, code) in impostors(&route.body()) {
            refused(&stage, &path, body, status, code).await;
        }
    }
    // Only half of a pair is a half: this is a character.
    let text = r#"{"role":"user","content":"\ud83d\ude00"}"#;
    let whole = raw(post_text(&stage.user, &format!("/v1/sessions/{}/messages", stage.session), text)).await;
    assert_eq!(whole.status, 201, "{}", whole.text);
    stage.ends_at(before + 1).await;
}
