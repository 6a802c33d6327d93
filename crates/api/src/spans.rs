//! What a collector of traces is told of each request; knows no collector.

use std::fmt;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use uuid::Uuid;

use crate::{
    error::Code,
    http_meters::UNMATCHED,
    state::Api,
    trace_context::{Origin, TraceId, TraceParent},
};

/// A request that has been answered; of a stream of events, that it has begun.
#[derive(Clone, Debug)]
pub struct RequestSpan {
    /// The trace: the caller's, else one that has the request's id.
    pub trace_id: TraceId,
    /// The caller's span, when the caller traces.
    pub parent: Option<TraceParent>,
    /// Also `X-Request-Id`.
    pub request_id: Uuid,
    /// The route's template, never what a client chose.
    pub route: String,
    /// The method.
    pub method: Method,
    /// The answer's status.
    pub status: StatusCode,
    /// The problem's code, when there was one.
    pub code: Option<Code>,
    /// When the request's head had arrived.
    pub begun: SystemTime,
    /// When the answer's head was ready.
    pub ended: SystemTime,
}

/// Takes spans; called on the request's way, so it must not wait.
#[derive(Clone)]
pub struct OnAnswer(Arc<dyn Fn(RequestSpan) + Send + Sync>);

impl OnAnswer {
    /// Hands every span to `take`.
    pub fn new(take: impl Fn(RequestSpan) + Send + Sync + 'static) -> Self {
        Self(Arc::new(take))
    }
}

impl fmt::Debug for OnAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnAnswer(…)")
    }
}

/// Tells of the request, when there is somebody to tell: outside of [`crate::problem::answer`]. A caller whose trace is not
/// recorded has no span recorded here.
pub(crate) async fn record(api: &Api, request: Request, next: impl AsyncFnOnce(Request) -> Response) -> Response {
    let Some(on_answer) = &api.inner.operations.on_answer else { return next(request).await };
    let route = request.extensions().get::<MatchedPath>().map_or(UNMATCHED, MatchedPath::as_str).to_owned();
    let method = request.method().clone();
    let (begun, clock) = (SystemTime::from(api.inner.now()), Instant::now());
    let response = next(request).await;
    let origin = response.extensions().get::<Origin>().copied();
    if let Some(origin) = origin.filter(|origin| origin.traceparent.is_none_or(|parent| parent.is_sampled())) {
        on_answer.0(RequestSpan {
            trace_id: origin.trace_id(),
            parent: origin.traceparent,
            request_id: origin.request.0,
            route,
            method,
            status: response.status(),
            code: response.extensions().get().copied(),
            begun,
            ended: begun + clock.elapsed(),
        });
    }
    response
}
