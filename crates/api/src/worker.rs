//! What a process without the API answers: whether it lives, whether it works, and its figures for operators.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::middleware::{Next, from_fn};
use axum::routing::get;
use axum::{Json, response::IntoResponse};
use store::PoolMeter;

use crate::{
    error::{Code, Error},
    health,
    operator::{Operator, OperatorToken},
    problem,
    scrape::Figures,
};

/// Asks whether the process works; why not, in words for its log.
pub type Check = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// What such a process has to show.
#[derive(Clone)]
pub struct Worker {
    /// Opens `/metrics` to whoever has it; without it they are for this machine alone.
    pub token: Option<OperatorToken>,
    /// Writes all that was counted, for Prometheus.
    pub render: fn() -> String,
    /// The pools of this process.
    pub pools: Vec<PoolMeter>,
    /// Whether it works.
    pub check: Check,
}

/// `/health/live`, `/health/ready` and `/metrics`, as the API has them.
#[expect(clippy::disallowed_methods, reason = "the document describes these routes with the API's")]
pub(crate) fn router(worker: Worker) -> Router {
    Router::new()
        .route("/health/live", get(health::live))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics))
        .fallback(async || Error::not_found())
        .method_not_allowed_fallback(async || Error::not_found())
        .with_state(worker)
        .layer(from_fn(async |request, next: Next| {
            problem::answer(request, async |request| next.run(request).await).await
        }))
}

async fn ready(State(worker): State<Worker>) -> Result<impl IntoResponse, Error> {
    (worker.check)()
        .await
        .map_err(|cause| Error::new(Code::Overloaded, "The worker does not work.").caused_by(cause))?;
    Ok(Json(health::Ready::NOW))
}

/// An operator, by the token of a worker.
struct WorkerOperator;

impl FromRequestParts<Worker> for WorkerOperator {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, worker: &Worker) -> Result<Self, Error> {
        Operator::of(parts, worker.token.as_ref()).map(|Operator| Self)
    }
}

async fn metrics(State(worker): State<Worker>, _: WorkerOperator) -> Figures {
    for pool in &worker.pools {
        pool.observe();
    }
    Figures((worker.render)())
}
