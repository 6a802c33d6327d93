//! `/health`: whether the process lives, whether it may be sent requests, and for operators how everything does.

use axum::Extension;
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use serde_json::json;

use crate::{
    error::{Code, Error},
    operations::DATABASE_FACTS_LIFETIME,
    operator::Operator,
    problem::IsNoProblem,
    report::{Facts, ProcessFacts, Report, Status},
    state::Api,
};

/// The process answers.
pub(crate) async fn live() -> Response {
    Json(json!({"status": "live"})).into_response()
}

/// Commands can be stored and tenants are kept apart, checked on a live connection. NATS is not needed for that.
pub(crate) async fn ready(State(api): State<Api>) -> Result<Response, Error> {
    if !api.inner.log.is_running() {
        return Err(Error::new(Code::Overloaded, "The log's writers are not running."));
    }
    api.self_check().await.map_err(|cause| {
        Error::new(Code::Overloaded, "The database is not available, or does not keep tenants apart.").caused_by(cause)
    })?;
    Ok(Json(json!({"status": "ready"})).into_response())
}

/// The report, 503 when it is failing.
pub(crate) async fn detail(State(api): State<Api>, _: Operator) -> Response {
    let inner = &api.inner;
    let (isolation, database) = tokio::join!(api.self_check(), api.database_facts());
    let report = Report::of(Facts {
        database,
        isolation,
        nats: if inner.bus.is_connected() { Ok(()) } else { Err("trying again for ever".to_owned()) },
        process: Some(ProcessFacts {
            writers_running: inner.log.is_running(),
            waiting_commands: inner.log.waiting().0,
            pool: inner.database.pool_use(),
        }),
    });
    match report.status {
        Status::Ok | Status::Degraded => Json(report).into_response(),
        Status::Failing => {
            let again = AppendHeaders([(header::RETRY_AFTER, DATABASE_FACTS_LIFETIME.as_secs().to_string())]);
            (StatusCode::SERVICE_UNAVAILABLE, Extension(IsNoProblem), again, Json(report)).into_response()
        }
    }
}
