//! The body of a command: bounded in size, time and depth, checked as text before it is read as a value.

mod attachment;
mod object;
mod text;
mod word;

use std::time::Duration;

use axum::{
    body::{Body, HttpBody},
    extract::{FromRequest, Request},
    http::{HeaderMap, header, request::Parts},
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use schemars::JsonSchema;
use serde::{Deserialize, de::DeserializeOwned};
use serde_path_to_error::Segment;
use sha2::{Digest, Sha256};

use crate::{
    error::{Code, Error},
    openapi::{Operation, Part},
    violation::{Violation, classify},
};

/// Longest body in bytes.
pub const MAX_BODY: usize = 1024 * 1024;

/// How long a client may take to send its body.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);

pub use attachment::NewAttachment;
pub use object::Object;
pub use text::{MAX_DEPTH, checked};
pub use word::Word;

/// A command's body, read as `T`, and what is kept of its bytes.
///
/// `T` must carry `#[serde(deny_unknown_fields)]`, all the way down, and hold other structs as [`Object`] and enums as
/// [`Word`]. An empty body is read as `{}` and needs no content type.
#[derive(Clone, Debug)]
pub struct JsonBody<T> {
    /// The value.
    pub value: T,
    /// What is kept of the bytes.
    pub received: Received,
}

/// What is kept of a request's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Tells whether a later request is the same: SHA-256 over the method, a line feed, path and query, a line feed
    /// and the raw body. In a nested router the path is the rest that the router sees.
    pub hash: [u8; 32],
    /// How long the body was.
    pub bytes: usize,
}

/// The body of a command that takes no fields; it may be left out.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoFields {}

impl<T: JsonSchema + DeserializeOwned> Part for JsonBody<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.takes_body::<T>(parse::<T>(b"{}").is_err());
        operation.fails(&[
            Code::InvalidJson,
            Code::RequestTimeout,
            Code::BodyTooLarge,
            Code::UnsupportedMediaType,
            Code::ValidationFailed,
            Code::NulCharacter,
        ]);
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Error;

    async fn from_request(request: Request, _: &S) -> Result<Self, Error> {
        let (parts, body) = request.into_parts();
        if !body.is_end_stream() && !is_json(&parts.headers) {
            return Err(Error::new(Code::UnsupportedMediaType, "Send the header `Content-Type: application/json`."));
        }
        let late = || Error::new(Code::RequestTimeout, "The body must arrive within 10 seconds.");
        let bytes = tokio::time::timeout(BODY_TIMEOUT, read(body)).await.unwrap_or_else(|_| Err(late()))?;
        let value = parse(if bytes.is_empty() { b"{}" } else { &bytes })?;
        Ok(Self { value, received: Received { hash: hash(&parts, &bytes), bytes: bytes.len() } })
    }
}

/// `application/json` in UTF-8, not compressed.
fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(Ok(media_type)), None) = (types.next().map(|value| value.to_str()), types.next()) else { return false };
    let mut parts = media_type.split(';').map(str::trim);
    let json = parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"));
    let utf_8 = parts.filter_map(|parameter| parameter.split_once('=')).all(|(name, value)| {
        !name.eq_ignore_ascii_case("charset") || value.trim_matches('"').eq_ignore_ascii_case("utf-8")
    });
    json && utf_8 && !headers.contains_key(header::CONTENT_ENCODING)
}

async fn read(mut body: Body) -> Result<Bytes, Error> {
    let too_large = || Error::new(Code::BodyTooLarge, "A body may have at most 1 MiB.");
    // What `Content-Length` announces: refused before the client has sent it.
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(too_large());
    }
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|broken| Error::new(Code::InvalidJson, "The body broke off.").caused_by(broken))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + all.len() + data.len() > MAX_BODY {
            return Err(too_large());
        }
        // Nearly every command fits into one frame, which then needs no copy.
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&data);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

fn hash(parts: &Parts, body: &[u8]) -> [u8; 32] {
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let mut hash = Sha256::new();
    for part in [parts.method.as_str().as_bytes(), b"\n", target.as_bytes(), b"\n", body] {
        hash.update(part);
    }
    hash.finalize().into()
}

pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    parse_text(checked(bytes)?).map_err(Error::invalid)
}

/// Reads text that was checked, or a part of it.
pub(crate) fn parse_text<T: DeserializeOwned>(text: &str) -> Result<T, Violation> {
    let mut json = serde_json::Deserializer::from_str(text);
    let read: Result<Object<T>, _> = serde_path_to_error::deserialize(&mut json);
    read.map(|Object(value)| value).map_err(|failed| violation(&failed))
}

/// Where the value did not fit, and why, without the position in the text: the pointer says it better.
pub fn violation(failed: &serde_path_to_error::Error<serde_json::Error>) -> Violation {
    let message = failed.inner().to_string();
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
    let (code, field) = classify(message);
    let mut path = Vec::new();
    for segment in failed.path() {
        match segment {
            Segment::Seq { index } => path.push(index.to_string()),
            Segment::Map { key } => path.push(key.clone()),
            Segment::Enum { variant } => path.push(variant.clone()),
            Segment::Unknown => break,
        }
    }
    Violation::in_body(path.iter().map(String::as_str).chain(field), code, message)
}

#[cfg(test)]
mod tests;
