//! All routes on one screen, and the layers around them.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;

use crate::{
    admission, api_keys, auth, cookies, costs, docs, error::Error, events, health, http_meters, jwks, messages,
    openapi::Routes, problem, rate_limits, scrape, sessions, spans, state::Api, stream, tenant, users,
};

/// What a browser may load for an answer that is no page.
const NOTHING: &str = "default-src 'none'; frame-ancestors 'none'";
/// How long a browser remembers to use TLS; only said when the public URL is https.
const ONE_YEAR: &str = "max-age=31536000; includeSubDomains";

/// Every route with its handler and what the document says of it.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .post("/v1/auth/register", auth::register, auth::REGISTER)
        .post("/v1/auth/login", auth::login, auth::LOGIN)
        .get("/v1/auth/me", auth::me, auth::ME)
        .post("/v1/auth/refresh", auth::kept::refresh, auth::kept::REFRESH)
        .post("/v1/auth/logout", auth::kept::logout, auth::kept::LOGOUT)
        .post("/v1/auth/logout-all", auth::kept::logout_all, auth::kept::LOGOUT_ALL)
        .post("/v1/auth/password/change", auth::password::change, auth::password::CHANGE)
        .post("/v1/auth/password/set", auth::password::set, auth::password::SET)
        .get("/v1/auth/sessions", auth::sign_ins::list, auth::sign_ins::LIST)
        .delete("/v1/auth/sessions/{id}", auth::sign_ins::revoke, auth::sign_ins::REVOKE)
        .get("/v1/tenant", tenant::read, tenant::READ)
        .patch("/v1/tenant", tenant::change_tenant, tenant::CHANGE)
        .get("/v1/users", users::list, users::LIST)
        .post("/v1/users", users::change::add, users::change::ADD)
        .get("/v1/users/{id}", users::read, users::READ)
        .patch("/v1/users/{id}", users::change::change_user, users::change::CHANGE)
        .delete("/v1/users/{id}", users::change::remove, users::change::REMOVE)
        .get("/v1/api-keys", api_keys::list, api_keys::LIST)
        .post("/v1/api-keys", api_keys::create::create, api_keys::create::CREATE)
        .delete("/v1/api-keys/{id}", api_keys::revoke, api_keys::REVOKE)
        .get("/v1/sessions", sessions::list, sessions::LIST)
        .post("/v1/sessions", sessions::start, sessions::START)
        .get("/v1/sessions/{id}", sessions::read, sessions::READ)
        .post("/v1/sessions/{id}/end", sessions::end, sessions::END)
        .get("/v1/sessions/{id}/messages", messages::list, messages::LIST)
        .post("/v1/sessions/{id}/messages", messages::post, messages::POST)
        .get("/v1/costs", costs::list::list, costs::list::LIST)
        .post("/v1/costs", costs::record, costs::RECORD)
        .post("/v1/costs/batch", costs::batch::record_all, costs::batch::RECORD_ALL)
        .get("/v1/costs/summary", costs::summary::summarise, costs::summary::SUMMARISE)
        .get("/v1/costs/periods", costs::periods::list, costs::periods::LIST)
        .get("/v1/costs/periods/{period}", costs::periods::read, costs::periods::READ)
        .get("/v1/costs/{id}", costs::list::read, costs::list::READ)
        .post("/v1/costs/{id}/void", costs::void::void, costs::void::VOID)
        .get("/v1/events", events::list, events::LIST)
        .get("/v1/events/stream", stream::follow, stream::FOLLOW)
        .get("/.well-known/jwks.json", jwks::read, jwks::READ)
        .get("/metrics", scrape::metrics, scrape::METRICS)
        .get("/health", health::detail, health::DETAIL)
        .get("/health/live", health::live, health::LIVE)
        .get("/health/ready", health::ready, health::READY)
        .get("/openapi.json", docs::openapi, docs::OPENAPI)
        .get("/docs", docs::page, docs::PAGE)
}

/// The service: every route, and what surrounds every request.
pub fn router(api: Api) -> Router {
    let (routes, _) = routes().finish();
    let routes = routes.fallback(async || Error::not_found()).with_state(api.clone());
    // A layer boxes what is inside it and clones it for each request: so there are two, or three with pages to be told.
    let routes = routes.layer(from_fn_with_state(api.clone(), serve));
    let routes = match api.inner.origins.cors() {
        Some(cors) => routes.layer(cors),
        None => routes,
    };
    routes.layer(from_fn_with_state(api, observe))
}

/// Who watches a request without a say in it.
async fn observe(State(api): State<Api>, request: Request, next: Next) -> Response {
    let answer = async |request| next.run(request).await;
    spans::record(&api, request, async |request| http_meters::measure(&api.inner.http_meters, request, answer).await)
        .await
}

/// What surrounds every route: problems, what guards answers, admission, cookies, limits.
async fn serve(State(api): State<Api>, request: Request, next: Next) -> Response {
    let answer = async |request| next.run(request).await;
    let told = async |request| rate_limits::tell(&api, request, answer).await;
    let with_cookies = async |request| cookies::answer(request, told).await;
    problem::answer(request, async |request| guard(&api, admission::admit(&api, request, with_cookies).await)).await
}

/// Answers are a tenant's own: no cache keeps them, no browser guesses their type or runs anything from them (a page for
/// people sets a policy of its own), and who came by TLS once does not come without.
fn guard(api: &Api, mut response: Response) -> Response {
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
