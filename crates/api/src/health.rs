//! `/health`: whether the process lives, whether it may be sent requests, and for operators how everything does.

use axum::Extension;
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    error::{Code, Error},
    openapi::{About, Answers, Header, Operation, Tag},
    operations::DATABASE_FACTS_LIFETIME,
    operator::Operator,
    problem::IsNoProblem,
    report::{Facts, ProcessFacts, Reason, Report, Status},
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

impl Ready {
    /// It does.
    pub(crate) const NOW: Self = Self { status: "ready" };
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
        return Err(Error::new(Code::Overloaded, "The log's writer is not running."));
    }
    api.self_check().await.map_err(|cause| {
        Error::new(Code::Overloaded, "The database is not available, or does not keep tenants apart.").caused_by(cause)
    })?;
    Ok(Json(Ready::NOW))
}

/// What every report says; the rest is for people.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes Report, which holds types of other crates")]
#[schemars(rename = "HealthReport", example = serde_json::json!({"status": "ok", "reasons": []}))]
struct Outline {
    status: Status,
    /// Why it is not `ok`.
    reasons: Vec<Reason>,
}

/// The report as an answer.
pub(crate) struct Detail(Response);

impl IntoResponse for Detail {
    fn into_response(self) -> Response {
        self.0
    }
}

impl Answers for Detail {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers::<Outline>(200, "It works, perhaps not as it should.", &[]);
        operation.answers::<Outline>(503, "It is failing.", &[Header::RetryAfter]);
    }
}

/// What the document says of [`detail`].
pub(crate) const DETAIL: About = About {
    id: "readHealth",
    tag: Tag::Service,
    summary: "How everything does",
    text: "For operators: programs on the same machine, or with the operator's token. 503 when it is failing.",
    codes: &[],
    links: &[],
};

/// The report, 503 when it is failing.
pub(crate) async fn detail(State(api): State<Api>, _: Operator) -> Detail {
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
    Detail(match report.status {
        Status::Ok | Status::Degraded => Json(report).into_response(),
        Status::Failing => {
            let again = AppendHeaders([(header::RETRY_AFTER, DATABASE_FACTS_LIFETIME.as_secs().to_string())]);
            (StatusCode::SERVICE_UNAVAILABLE, Extension(IsNoProblem), again, Json(report)).into_response()
        }
    })
}
