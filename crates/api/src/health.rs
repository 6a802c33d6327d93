//! `/health`: whether the process lives, and whether it may be sent requests.

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    error::{Code, Error},
    openapi::{About, Tag},
    state::Api,
};

/// It lives.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(example = Live { status: "live" })]
pub(crate) struct Live {
    #[schemars(extend("const" = "live"))]
    status: &'static str,
}

/// It takes requests.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(example = Ready { status: "ready" })]
pub(crate) struct Ready {
    #[schemars(extend("const" = "ready"))]
    status: &'static str,
}

/// What the document says of [`live`].
pub(crate) const LIVE: About =
    About { id: "isLive", tag: Tag::Service, summary: "Whether the process lives", text: "", codes: &[], links: &[] };

/// The process answers.
pub(crate) async fn live() -> Json<Live> {
    Json(Live { status: "live" })
}

/// What the document says of [`ready`].
pub(crate) const READY: About = About {
    id: "isReady",
    tag: Tag::Service,
    summary: "Whether requests may be sent",
    text: "The database can be written to and keeps tenants apart. NATS is not needed for that.",
    codes: &[Code::Overloaded],
    links: &[],
};

/// Commands can be stored and tenants are kept apart, checked on a live connection. NATS is not needed for that.
pub(crate) async fn ready(State(api): State<Api>) -> Result<Json<Ready>, Error> {
    if !api.inner.log.is_running() {
        return Err(Error::new(Code::Overloaded, "The log's writers are not running."));
    }
    api.inner.database.self_check().await.map_err(|error| {
        Error::new(Code::Overloaded, "The database is not available, or does not keep tenants apart.").caused_by(error)
    })?;
    Ok(Json(Ready { status: "ready" }))
}
