//! Bodies, query strings and headers: what is accepted keeps to the limits, read once more by plainer means.

use std::collections::BTreeMap;

use axum::extract::FromRequestParts;
use axum::http::{HeaderMap, HeaderValue, Request, Uri};
use domain::session::{MAX_ATTACHMENTS, MAX_CONTENT, MAX_METADATA};
use domain::{Email, tenant};
use futures_util::FutureExt as _;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::auth::{Login, Register};
use crate::body::{self, MAX_DEPTH, NoFields};
use crate::conditions::{IfMatch, etag};
use crate::costs::NewCost;
use crate::costs::batch::{MAX_ITEMS, RecordCosts};
use crate::costs::{list::ListCosts, void::VoidCost};
use crate::error::Error;
use crate::events::ListEvents;
use crate::idempotency::{IdempotencyKey, MAX_KEY};
use crate::messages::{ListMessages, PostMessage};
use crate::paging::{self, Limit};
use crate::sessions::{ListSessions, ReadOne, StartSession};
use crate::stream::{Follow, last_event_id};
use crate::trace_context::{TRACEPARENT, TraceParent};

fn accepted<T: DeserializeOwned>(bytes: &[u8], check: impl FnOnce(&T) -> Result<(), Error>) -> bool {
    match body::parse::<T>(bytes).and_then(|value| check(&value)) {
        Ok(()) => true,
        Err(refused) => {
            assert!(refused.code().status().is_client_error(), "{refused}");
            false
        }
    }
}

/// The bytes as the body of each command.
pub fn body(bytes: &[u8]) {
    if accepted::<NoFields>(bytes, |_| Ok(())) {
        assert_eq!(object(bytes, &[]), Map::new());
    }
    if accepted(bytes, StartSession::check) {
        object(bytes, &["id", "mode", "widget_id", "meeting_id", "personality_id", "metadata"]);
    }
    if accepted(bytes, PostMessage::check) {
        let message = object(bytes, &["id", "role", "content", "attachments", "metadata", "cost"]);
        assert!(message["content"].as_str().unwrap().len() <= MAX_CONTENT);
        let attachments = message.get("attachments").map_or(&[][..], |list| list.as_array().unwrap());
        assert!(attachments.len() <= MAX_ATTACHMENTS && attachments.iter().all(Value::is_object));
    }
    if accepted::<NewCost>(bytes, |_| Ok(())) {
        object(bytes, &COST);
    }
    if accepted(bytes, RecordCosts::check) {
        let batch = object(bytes, &["items", "atomic"]);
        assert!((1..=MAX_ITEMS).contains(&batch["items"].as_array().unwrap().len()));
    }
    if accepted(bytes, VoidCost::check) {
        object(bytes, &["reason"]);
    }
    if accepted::<Register>(bytes, |register| register.checked().map(drop)) {
        let register = object(bytes, &["tenant_name", "email", "password", "name", "cookie"]);
        for name in ["tenant_name", "name"] {
            let length = register[name].as_str().unwrap().trim().chars().count();
            assert!((1..=tenant::MAX_NAME).contains(&length));
        }
        let email = Email::parse(register["email"].as_str().unwrap()).unwrap();
        assert_eq!(Email::parse(email.as_str()).unwrap(), email, "an address is compared as it is kept");
    }
    if accepted::<Login>(bytes, |_| Ok(())) {
        object(bytes, &["email", "password", "tenant_id", "cookie"]);
    }
}

const COST: [&str; 13] = [
    "id",
    "service",
    "provider",
    "model",
    "usage",
    "usage_convention",
    "amount",
    "currency",
    "occurred_at",
    "session_id",
    "message_id",
    "meeting_id",
    "metadata",
];

/// Reads it plainly: it has no member but these, and nothing in it that PostgreSQL does not store. Metadata stay as text:
/// they may have numbers that no type holds.
fn object(bytes: &[u8], names: &[&str]) -> Map<String, Value> {
    let text = std::str::from_utf8(bytes).unwrap();
    let unescaped = text.replace(r"\\", "").replace(r#"\""#, "");
    assert!(!unescaped.contains(r"\u0000"), "{text}");
    let (mut depth, mut deepest) = (0, 0);
    for outside in unescaped.split('"').step_by(2) {
        for letter in outside.chars() {
            depth += i64::from("[{".contains(letter)) - i64::from("]}".contains(letter));
            deepest = deepest.max(depth);
        }
    }
    assert!(usize::try_from(deepest).unwrap() <= MAX_DEPTH, "{text}");

    let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).unwrap();
    assert!(members.keys().all(|name| names.contains(&name.as_str())), "{text}");
    if let Some(metadata) = members.get("metadata").filter(|json| json.get() != "null") {
        assert!(metadata.get().starts_with('{') && metadata.get().len() <= MAX_METADATA);
    }
    let read = members.into_iter().filter(|(name, _)| name != "metadata");
    read.map(|(name, json)| (name, serde_json::from_str(json.get()).unwrap())).collect()
}

fn read<T: DeserializeOwned>(uri: &Uri, names: &[&str]) {
    match paging::parse::<T>(uri) {
        Err(refused) => assert!(refused.code().status().is_client_error(), "{refused}"),
        Ok(_) => {
            let pairs: Vec<_> = form_urlencoded::parse(uri.query().unwrap_or("").as_bytes()).collect();
            let values: BTreeMap<&str, &str> = pairs.iter().map(|(name, value)| (&**name, &**value)).collect();
            assert_eq!(values.len(), pairs.len(), "doubled: {uri}");
            assert!(values.keys().all(|name| names.contains(name)), "{uri}");
            assert!(values.values().all(|value| !value.contains('\0')), "{uri}");
            let number = |name: &str| values.get(name).map(|text| text.parse::<u64>().unwrap());
            assert!(number("limit").is_none_or(|limit| (1..=u64::from(Limit::MAX)).contains(&limit)), "{uri}");
            assert!(number("after").is_none_or(|after| i64::try_from(after).is_ok()), "{uri}");
            number("min_seq");
        }
    }
}

const LIST_COSTS: [&str; 12] = [
    "limit",
    "cursor",
    "from",
    "to",
    "service",
    "provider",
    "model",
    "session_id",
    "message_id",
    "currency",
    "voided",
    "min_seq",
];

/// The bytes as the query string of each read.
pub fn query(bytes: &[u8]) {
    let Ok(uri) = Uri::try_from([b"/?", bytes].concat()) else { return };
    read::<ReadOne>(&uri, &["min_seq"]);
    read::<ListSessions>(&uri, &["limit", "cursor", "status", "mode", "min_seq"]);
    read::<ListMessages>(&uri, &["limit", "cursor", "order", "min_seq"]);
    read::<ListCosts>(&uri, &LIST_COSTS);
    read::<ListEvents>(&uri, &["after", "limit", "category", "min_seq"]);
    read::<Follow>(&uri, &["after", "category"]);
}

/// The bytes, line by line, as values of each header that is read here.
pub fn headers(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(4) {
        let Ok(value) = HeaderValue::from_bytes(line) else { return };
        for name in ["if-match", "idempotency-key", TRACEPARENT.as_str(), "last-event-id"] {
            headers.append(axum::http::HeaderName::try_from(name).unwrap(), value.clone());
        }
    }
    let text = headers["if-match"].as_bytes();
    if let Some(IfMatch::Version(version)) = extracted(&headers).filter(|found| *found != IfMatch::Version(0)) {
        assert_eq!(etag(version).as_bytes(), text.trim_ascii());
    }
    if let Some(IdempotencyKey(Some(key))) = extracted(&headers) {
        assert!((1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|byte| matches!(byte, b' '..=b'~')));
        assert_eq!(key.as_bytes(), text);
    }
    if let Some(parent) = TraceParent::of(&headers) {
        let written = parent.to_string();
        let again = HeaderMap::from_iter([(TRACEPARENT, HeaderValue::try_from(&written).unwrap())]);
        assert_eq!((written.len(), TraceParent::of(&again)), (55, Some(parent)));
        assert_eq!(&text[2..53], &written.as_bytes()[2..53]);
    }
    match last_event_id(&headers) {
        Ok(None) => assert!(text.is_empty()),
        Ok(Some(seq)) => assert_eq!(std::str::from_utf8(text).unwrap().parse(), Ok(seq)),
        Err(refused) => assert!(refused.code().status().is_client_error(), "{refused}"),
    }
}

/// `None` when it is refused, which only several or malformed values are.
fn extracted<T: FromRequestParts<(), Rejection = Error>>(headers: &HeaderMap) -> Option<T> {
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.headers = headers.clone();
    match T::from_request_parts(&mut parts, &()).now_or_never().unwrap() {
        Ok(value) => Some(value),
        Err(refused) => {
            assert!(refused.code().status().is_client_error(), "{refused}");
            None
        }
    }
}
