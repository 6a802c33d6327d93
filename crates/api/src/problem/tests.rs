//! What a client sees of an error, whoever made it.

use axum::{Router, http::Method, middleware, routing::get};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::{error::TenantChoice, violation::Violation};

async fn ask(method: Method, uri: &str) -> (Head, Value) {
    let app = Router::new()
        .route("/fine", get(async |id: RequestId| id.0.to_string()))
        .route("/internal", get(async || Error::internal("the password is hunter2")))
        .route("/panic", get(async || -> &'static str { panic!("on purpose") }))
        .route("/behind", get(async || Error::new(Code::ReadModelBehind, "Not yet.").with_current_seq(41)))
        .route("/raw", get(async || (StatusCode::IM_A_TEAPOT, [(header::CONTENT_LENGTH, "3")], "tea")))
        .route(
            "/tenants",
            get(async || {
                let choice = TenantChoice { id: Uuid::nil(), name: "A".into() };
                Error::new(Code::TenantRequired, "Choose.").with_tenants(vec![choice])
            }),
        )
        .route("/invalid", get(async || Error::invalid(Violation::in_body(["a", "0"], "wrong_type", "not that"))))
        .layer(middleware::from_fn(async |request, next: middleware::Next| {
            answer(request, async |request| next.run(request).await).await
        }));
    let request = Request::builder().method(method).uri(uri).header("x-request-id", Uuid::nil().to_string());
    let response = app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let announced = parts.headers.get(header::CONTENT_LENGTH);
    assert!(announced.is_none_or(|length| *length == bytes.len().to_string()), "{uri}: {announced:?}");
    (
        parts,
        serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::String(String::from_utf8(bytes.to_vec()).unwrap())),
    )
}

type Head = axum::http::response::Parts;

fn id(parts: &Head) -> Uuid {
    parts.headers[REQUEST_ID].to_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn every_answer_names_a_request_id_of_our_own() {
    let (parts, body) = ask(Method::GET, "/fine").await;
    assert_eq!((id(&parts).get_version_num(), body), (7, json!(id(&parts).to_string())));
}

#[tokio::test]
async fn a_problem_has_the_members_of_the_contract_and_nothing_of_the_cause() {
    let (parts, body) = ask(Method::GET, "/internal").await;
    assert_eq!(parts.headers[header::CONTENT_TYPE], CONTENT_TYPE);
    assert_eq!(
        body,
        json!({
            "type": "/problems/internal", "title": "Something went wrong on our side", "status": 500,
            "detail": "The error is recorded under the request id.", "code": "internal",
            "request_id": id(&parts).to_string(),
        })
    );
}

#[tokio::test]
async fn extra_members_stand_beside_those_of_the_rfc() {
    let (parts, body) = ask(Method::GET, "/behind").await;
    assert_eq!((parts.status.as_u16(), &body["current_seq"]), (503, &json!(41)));
    assert_eq!(parts.headers[header::RETRY_AFTER], "1");
    let (_, body) = ask(Method::GET, "/tenants").await;
    assert_eq!(body["tenants"], json!([{"id": Uuid::nil().to_string(), "name": "A"}]));
    let (_, body) = ask(Method::GET, "/invalid").await;
    assert_eq!(body["errors"], json!([{"pointer": "/a/0", "code": "wrong_type", "detail": "not that"}]));
}

#[tokio::test]
async fn a_panic_is_an_internal_error() {
    let (parts, body) = ask(Method::GET, "/panic").await;
    assert_eq!((parts.status.as_u16(), &body["code"]), (500, &json!("internal")));
    assert_eq!(body["request_id"], json!(id(&parts).to_string()));
}

#[tokio::test]
async fn what_the_router_refuses_by_itself_is_a_problem_too() {
    let (parts, body) = ask(Method::GET, "/nowhere").await;
    assert_eq!((parts.status.as_u16(), &body["code"]), (404, &json!("not_found")));
    let (parts, body) = ask(Method::DELETE, "/fine").await;
    assert_eq!((parts.status.as_u16(), &body["code"]), (405, &json!("method_not_allowed")));
    assert!(parts.headers.contains_key(header::ALLOW));
    let (parts, body) = ask(Method::GET, "/raw").await;
    assert_eq!((parts.status.as_u16(), &body["code"]), (400, &json!("invalid_header")));
}
