//! Counts requests by route, method, status and problem code: names that the code fixes, never what a client chooses.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::response::Response;
use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use crate::error::Code;

/// The route of requests that no route takes.
pub(crate) const UNMATCHED: &str = "unmatched";

/// What is counted together, beside the route.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Answer {
    method: &'static str,
    status: u16,
    code: &'static str,
}

/// Where answers of one kind are counted.
#[derive(Clone)]
struct Handles {
    requests: Counter,
    duration: Histogram,
}

/// The meters of all requests. The handles are remembered, so that a request costs a look into a small map.
pub(crate) struct HttpMeters {
    in_flight: Gauge,
    abandoned: Counter,
    routes: RwLock<HashMap<String, HashMap<Answer, Handles>>>,
}

impl HttpMeters {
    pub(crate) fn register() -> Arc<Self> {
        describe_counter!(
            "convolog_http_requests_total",
            "Requests answered, by route, method, status and the code of the problem, empty when there was none"
        );
        describe_histogram!(
            "convolog_http_request_duration_seconds",
            "Time until the head of the answer was ready, by route and method"
        );
        describe_gauge!("convolog_http_requests_in_flight", "Requests that are being worked on");
        describe_counter!(
            "convolog_http_requests_abandoned_total",
            "Requests whose client went away before the answer"
        );
        Arc::new(Self {
            in_flight: gauge!("convolog_http_requests_in_flight"),
            abandoned: counter!("convolog_http_requests_abandoned_total"),
            routes: RwLock::default(),
        })
    }

    fn handles(&self, route: &str, answer: Answer) -> Handles {
        // The map is whole at any moment, whatever panicked while holding it.
        let known = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(handles) = known.get(route).and_then(|answers| answers.get(&answer)) {
            return handles.clone();
        }
        drop(known);
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        let answers = routes.entry(route.to_owned()).or_default();
        answers.entry(answer).or_insert_with(|| Handles::find(route, answer)).clone()
    }
}

impl Handles {
    fn find(route: &str, Answer { method, status, code }: Answer) -> Self {
        let (route, status) = (route.to_owned(), status.to_string());
        Self {
            duration: histogram!("convolog_http_request_duration_seconds", "method" => method, "route" => route.clone()),
            requests: counter!(
                "convolog_http_requests_total",
                "method" => method, "route" => route, "status" => status, "code" => code
            ),
        }
    }
}

/// Counts the request and how long it took: outside of [`crate::problem::answer`].
pub(crate) async fn measure(
    meters: &HttpMeters,
    request: Request,
    next: impl AsyncFnOnce(Request) -> Response,
) -> Response {
    let begun = Instant::now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = method(request.method());
    let mut under_way = UnderWay::begin(meters);
    let response = next(request).await;
    under_way.answered = true;
    let code = response.extensions().get::<Code>().map_or("", |code| code.as_str());
    let answer = Answer { method, status: response.status().as_u16(), code };
    let handles = under_way.meters.handles(route.as_ref().map_or(UNMATCHED, MatchedPath::as_str), answer);
    handles.requests.increment(1);
    handles.duration.record(begun.elapsed());
    response
}

/// A request that is counted as in flight until it is answered or dropped.
struct UnderWay<'a> {
    meters: &'a HttpMeters,
    answered: bool,
}

impl<'a> UnderWay<'a> {
    fn begin(meters: &'a HttpMeters) -> Self {
        meters.in_flight.increment(1);
        Self { meters, answered: false }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.meters.in_flight.decrement(1);
        if !self.answered {
            self.meters.abandoned.increment(1);
        }
    }
}

/// The method's name; clients may invent any number of them.
fn method(method: &Method) -> &'static str {
    [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::HEAD, Method::OPTIONS]
        .iter()
        .zip(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
        .find_map(|(known, name)| (known == method).then_some(name))
        .unwrap_or("other")
}
