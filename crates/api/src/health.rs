//! `/health`: whether the process lives, and whether it may be sent requests.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::{
    error::{Code, Error},
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
    api.inner.database.self_check().await.map_err(|error| {
        Error::new(Code::Overloaded, "The database is not available, or does not keep tenants apart.").caused_by(error)
    })?;
    Ok(Json(json!({"status": "ready"})).into_response())
}
