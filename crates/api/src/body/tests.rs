//! Hostile bodies, through the extractor.
#![expect(clippy::disallowed_types, reason = "what becomes of a number with a fraction")]

use std::{
    collections::BTreeMap,
    pin::Pin,
    task::{Context, Poll},
};

use axum::http::{Method, StatusCode};
use domain::JsonObject;
use http_body_util::StreamBody;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};

use super::*;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Command {
    mode: Mode,
    #[serde(default)]
    count: Option<i64>,
    #[serde(default)]
    ratio: Option<f64>,
    #[serde(default)]
    metadata: Option<JsonObject>,
    #[serde(default)]
    items: Vec<Object<Item>>,
    #[serde(default)]
    labels: BTreeMap<String, u8>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Text,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    kind: String,
}

fn request(content_type: Option<&str>, body: Body) -> Request {
    let mut request = Request::builder().method(Method::POST).uri("/v1/things?a=b");
    if let Some(content_type) = content_type {
        request = request.header(header::CONTENT_TYPE, content_type);
    }
    request.body(body).unwrap()
}

async fn read_as<T: DeserializeOwned>(body: impl Into<Body>) -> Result<JsonBody<T>, Error> {
    JsonBody::from_request(request(Some("application/json"), body.into()), &()).await
}

async fn refused(body: impl Into<Body>) -> Error {
    read_as::<Command>(body).await.unwrap_err()
}

/// A body of unknown length, in pieces.
fn chunked(chunks: Vec<Bytes>) -> Body {
    let frames = chunks.into_iter().map(|chunk| Ok::<_, std::io::Error>(http_body::Frame::data(chunk)));
    Body::new(StreamBody::new(futures_util::stream::iter(frames)))
}

/// Announces its length and must not be read.
struct Announced(u64);

impl HttpBody for Announced {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        panic!("the body was read")
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.0)
    }
}

#[tokio::test]
async fn metadata_keeps_its_bytes_through_the_path_tracking_reader() {
    let metadata = r#"{"b":1.0, "a":1e400,"n":123456789012345678901234567890,"a":[{}]}"#;
    let body = read_as::<Command>(format!(r#"{{"mode":"text","metadata":{metadata},"items":[{{"kind":"x"}}]}}"#))
        .await
        .unwrap();
    assert_eq!(body.value.metadata.unwrap().as_str(), metadata);
    assert_eq!(body.value.items[0].0.kind, "x");
    assert!(body.value.count.is_none() && body.value.ratio.is_none() && body.value.labels.is_empty());
    assert!(matches!(body.value.mode, Mode::Text));
}

#[tokio::test]
async fn a_value_that_does_not_fit_is_named_by_its_pointer() {
    for (body, pointer, code) in [
        (r#"[]"#, "", "wrong_type"),
        (r#"["text"]"#, "", "wrong_type"),
        (r#"null"#, "", "wrong_type"),
        (r#"{"mode":"text","items":[["a"]]}"#, "/items/0", "wrong_type"),
        (r#"{}"#, "/mode", "missing_field"),
        (r#"{"mode":"voice"}"#, "/mode", "invalid_value"),
        (r#"{"mode":1}"#, "/mode", "invalid_value"),
        (r#"{"mode":"text","count":"1"}"#, "/count", "wrong_type"),
        (r#"{"mode":"text","count":1.5}"#, "/count", "wrong_type"),
        (r#"{"mode":"text","count":9223372036854775808}"#, "/count", "invalid_value"),
        (r#"{"mode":"text","count":1e400}"#, "/count", "invalid_value"),
        (r#"{"mode":"text","ratio":1e400}"#, "/ratio", "invalid_value"),
        (r#"{"mode":"text","metadata":[1]}"#, "/metadata", "invalid_value"),
        (r#"{"mode":"text","extra":1}"#, "/extra", "unknown_field"),
        (r#"{"mode":"text","a/b~":1}"#, "/a~1b~0", "unknown_field"),
        (r#"{"mode":"text","items":[{"kind":"a"},{}]}"#, "/items/1/kind", "missing_field"),
        (r#"{"mode":"text","items":[{"kind":"a","x":1}]}"#, "/items/0/x", "unknown_field"),
        (r#"{"mode":"text","labels":{"a/b":300}}"#, "/labels/a~1b", "invalid_value"),
        (r#"{"mode":"text","count":1,"count":2}"#, "/count", "duplicate_field"),
    ] {
        let error = refused(body).await;
        assert_eq!(error.code(), Code::ValidationFailed, "{body}");
        let violation = &error.violations()[0];
        assert_eq!((violation.pointer(), violation.code()), (Some(pointer), code), "{body}: {}", violation.detail());
        assert!(!violation.detail().contains(" at line "), "{}", violation.detail());
    }
}

#[tokio::test]
async fn a_huge_wrong_value_is_not_sent_back() {
    let huge = "x".repeat(100_000);
    for body in [
        format!(r#"{{"mode":"{huge}"}}"#),
        format!(r#"{{"mode":"text","{huge}":1}}"#),
        format!(r#"{{"mode":"text","count":"{huge}"}}"#),
    ] {
        let error = refused(body).await;
        assert!(format!("{error:?}").len() < 2000, "{}", error.detail());
    }
}

#[tokio::test]
async fn what_is_not_json_is_400_even_behind_a_wrong_type() {
    for body in [
        &b"{\"mode\":1"[..],
        b"\xef\xbb\xbf{}",
        b"{\"mode\":\"\xff\"}",
        b" ",
        b"{\"mode\":\"text\"}}",
        b"{\"metadata\":{\"a\":\"\\ud800\"}}",
    ] {
        assert_eq!(refused(body.to_vec()).await.code(), Code::InvalidJson, "{body:?}");
    }
    let deep = format!(r#"{{"mode":"text","metadata":{{"a":{}{}}}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(refused(deep).await.code(), Code::InvalidJson);
    assert_eq!(refused(r#"{"metadata":{"\u0000":1}}"#).await.code(), Code::NulCharacter);
}

#[tokio::test]
async fn only_json_in_utf_8_is_taken() {
    for good in [
        "application/json",
        "Application/JSON; charset=UTF-8",
        "application/json;charset=\"utf-8\"",
        "application/json; v=1",
    ] {
        let request = request(Some(good), Body::from(r#"{"mode":"text"}"#));
        assert!(JsonBody::<Command>::from_request(request, &()).await.is_ok(), "{good}");
    }
    for bad in [
        None,
        Some("text/plain"),
        Some("application/jsonp"),
        Some("application/problem+json"),
        Some("application/json; charset=latin1"),
    ] {
        let request = request(bad, Body::from(r#"{"mode":"text"}"#));
        let error = JsonBody::<Command>::from_request(request, &()).await.unwrap_err();
        assert_eq!(error.code(), Code::UnsupportedMediaType, "{bad:?}");
    }
    let mut compressed = request(Some("application/json"), Body::from("{}"));
    compressed.headers_mut().insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
    assert_eq!(
        JsonBody::<NoFields>::from_request(compressed, &()).await.unwrap_err().code(),
        Code::UnsupportedMediaType
    );
}

#[tokio::test]
async fn no_body_is_an_empty_object_and_needs_no_type() {
    assert!(JsonBody::<NoFields>::from_request(request(None, Body::empty()), &()).await.is_ok());
    assert!(JsonBody::<NoFields>::from_request(request(Some("text/plain"), Body::empty()), &()).await.is_ok());
    let error = JsonBody::<Command>::from_request(request(None, Body::empty()), &()).await.unwrap_err();
    assert_eq!(error.violations()[0].pointer(), Some("/mode"));
    let error = read_as::<NoFields>(r#"{"mode":"text"}"#).await.unwrap_err();
    assert_eq!(error.violations()[0].code(), "unknown_field");
}

#[tokio::test]
async fn a_body_ends_at_one_mebibyte_announced_or_not() {
    let padded = |length: usize| format!("{{}}{}", " ".repeat(length - 2));
    assert!(read_as::<NoFields>(padded(MAX_BODY)).await.is_ok());
    assert_eq!(read_as::<NoFields>(padded(MAX_BODY + 1)).await.unwrap_err().code(), Code::BodyTooLarge);
    let pieces =
        |length: usize| chunked(padded(length).as_bytes().chunks(10_000).map(Bytes::copy_from_slice).collect());
    assert!(read_as::<NoFields>(pieces(MAX_BODY)).await.is_ok());
    assert_eq!(read_as::<NoFields>(pieces(MAX_BODY + 1)).await.unwrap_err().code(), Code::BodyTooLarge);
    let announced = Body::new(Announced(MAX_BODY as u64 + 1));
    assert_eq!(read_as::<NoFields>(announced).await.unwrap_err().code(), Code::BodyTooLarge);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_is_not_waited_for() {
    let (_sender, receiver) = tokio::sync::oneshot::channel::<()>();
    let first = Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::from_static(b"{\"mode\":")));
    let rest = futures_util::stream::once(async move {
        receiver.await.ok();
        Ok(http_body::Frame::data(Bytes::new()))
    });
    let stream = futures_util::StreamExt::chain(futures_util::stream::iter([first]), rest);
    let begun = tokio::time::Instant::now();
    let error = refused(Body::new(StreamBody::new(Box::pin(stream)))).await;
    assert_eq!(error.code(), Code::RequestTimeout);
    assert_eq!(begun.elapsed().as_secs(), BODY_TIMEOUT.as_secs());
}

#[tokio::test]
async fn a_body_that_breaks_off_is_the_clients_error() {
    let broken = futures_util::stream::iter([Err::<http_body::Frame<Bytes>, _>(std::io::Error::other("reset"))]);
    let error = refused(Body::new(StreamBody::new(broken))).await;
    assert_eq!(error.code().status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn the_hash_tells_method_target_and_body_apart() {
    let hash = async |method: Method, uri: &str, body: Body| {
        let request = Request::builder().method(method).uri(uri).header(header::CONTENT_TYPE, "application/json");
        JsonBody::<NoFields>::from_request(request.body(body).unwrap(), &()).await.unwrap().received.hash
    };
    let first = hash(Method::POST, "/a?b", Body::from("{}")).await;
    assert_eq!(first, <[u8; 32]>::from(Sha256::digest(b"POST\n/a?b\n{}")));
    assert_eq!(first, hash(Method::POST, "/a?b", chunked(vec![Bytes::from("{"), Bytes::from("}")])).await);
    for (method, uri, body) in [
        (Method::PUT, "/a?b", "{}"),
        (Method::POST, "/a?c", "{}"),
        (Method::POST, "/a", "{}"),
        (Method::POST, "/a?b", "{ }"),
        (Method::POST, "/a?b", ""),
    ] {
        assert_ne!(first, hash(method.clone(), uri, Body::from(body)).await, "{method} {uri} {body}");
    }
}

/// Sends these bytes over a socket, keeps it open, and returns the first line of the answer.
async fn over_the_wire(request: &str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = axum::Router::new().route("/", axum::routing::post(async |_: JsonBody<NoFields>| "done"));
    let client = async {
        let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::io::BufReader::new(socket).read_line(&mut answer).await.unwrap();
        answer.trim_end().to_owned()
    };
    tokio::select! {
        answer = client => answer,
        _ = axum::serve(listener, app) => unreachable!("the server goes on for ever"),
    }
}

#[tokio::test]
async fn the_server_below_announces_lengths_and_empty_bodies_as_this_file_expects() {
    let post = |rest: &str| format!("POST / HTTP/1.1\r\nHost: x\r\n{rest}");
    let json = "Content-Type: application/json\r\n";
    for (request, status) in [
        (post("\r\n"), "200"),
        (post("Content-Length: 0\r\n\r\n"), "200"),
        (post(&format!("{json}Content-Length: 2\r\n\r\n{{}}")), "200"),
        (post(&format!("{json}Transfer-Encoding: chunked\r\n\r\n1\r\n{{\r\n1\r\n}}\r\n0\r\n\r\n")), "200"),
        (post("Content-Length: 2\r\n\r\n{}"), "415"),
        // Refused although not one byte of the body was sent.
        (post(&format!("{json}Content-Length: {}\r\n\r\n", MAX_BODY + 1)), "413"),
        (post("Content-Length: 2\r\n\r\n"), "415"),
    ] {
        let answer = over_the_wire(&request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer}");
    }
}
