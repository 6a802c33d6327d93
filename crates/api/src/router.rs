//! All routes on one screen, and the layers around them.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};

use crate::{
    admission, auth, error::Error, events, health, http_meters, messages, problem, scrape, sessions, spans, state::Api,
    stream,
};

/// What a browser may load for an answer that is no page.
const NOTHING: &str = "default-src 'none'; frame-ancestors 'none'";
/// How long a browser remembers to use TLS; only said when the public URL is https.
const ONE_YEAR: &str = "max-age=31536000; includeSubDomains";

/// The service: every route, every answer with its request id.
pub fn router(api: Api) -> Router {
    let http_meters = api.inner.http_meters.clone();
    let on_answer = api.inner.operations.on_answer.clone();
    let router = Router::new()
        .route("/v1/auth/register", post(auth::register))
        .route("/v1/auth/login", post(auth::login))
        .route("/v1/auth/me", get(auth::me))
        .route("/v1/sessions", get(sessions::list).post(sessions::start))
        .route("/v1/sessions/{id}", get(sessions::read))
        .route("/v1/sessions/{id}/end", post(sessions::end))
        .route("/v1/sessions/{id}/messages", get(messages::list).post(messages::post))
        .route("/v1/events", get(events::list))
        .route("/v1/events/stream", get(stream::follow))
        .route("/metrics", get(scrape::metrics))
        .route("/health", get(health::detail))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .fallback(async || Error::not_found())
        .with_state(api.clone())
        .layer(from_fn_with_state(api.clone(), admission::admit))
        .layer(from_fn_with_state(api.clone(), guard))
        .layer(from_fn(problem::answer))
        .layer(from_fn_with_state(http_meters, http_meters::measure));
    match on_answer {
        Some(on_answer) => router.layer(from_fn_with_state((api, on_answer), spans::record)),
        None => router,
    }
}

/// Answers are a tenant's own: no cache keeps them, no browser guesses their type or runs anything from them (a page for
/// people sets a policy of its own), and who came by TLS once does not come without.
async fn guard(State(api): State<Api>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(NOTHING));
    if api.inner.tokens.issuer().starts_with("https://") {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(ONE_YEAR));
    }
    response
}
