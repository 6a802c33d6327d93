//! Schemas of the domain's types, which know nothing of OpenAPI. serde's `remote` makes the compiler compare them.
#![expect(dead_code, reason = "these types describe others and are never made")]

use chrono::{DateTime, Utc};
use domain::{ActorKind, Category, PERIOD_PATTERN, QUANTITY_PATTERN, Quantity, ledger, session, tenant, user};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::AnyObject;

/// How a session is held: `text` by written messages, `meeting` with voice or video.
#[derive(Serialize, JsonSchema)]
#[serde(remote = "session::Mode", rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum Mode {
    Text,
    Meeting,
}

/// Who speaks: the person, the AI, or instructions to the AI.
#[derive(Serialize, JsonSchema)]
#[serde(remote = "session::Role", rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum Speaker {
    User,
    Assistant,
    System,
}

/// A file that goes with a message; Convolog keeps the reference, not the file.
#[derive(Serialize, JsonSchema)]
#[serde(remote = "session::Attachment")]
pub(crate) struct Attachment {
    /// What it is, for example `image`, `audio`, `file`.
    kind: String,
    /// Where it is.
    url: String,
    /// Its file name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Its media type, for example `image/png`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    /// Its size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
}

/// What kind of service: text from a language model, vectors for texts, speech, images, rooms for voice and video, or
/// something else.
#[derive(Serialize, JsonSchema)]
#[serde(remote = "ledger::Service", rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum Service {
    Llm,
    Embedding,
    Voice,
    Vision,
    Livekit,
    Other,
}

/// A line of usage.
#[derive(Serialize, JsonSchema)]
#[serde(remote = "ledger::Usage")]
pub(crate) struct Usage {
    /// What was used, for example `output_text`.
    r#type: String,
    /// How much of it, a decimal number without trailing zeros.
    #[schemars(with = "String", regex(pattern = QUANTITY_PATTERN))]
    quantity: Quantity,
    /// In which unit, for example `tokens`.
    unit: String,
}

/// `disjoint`: each token in one line. `inclusive`: `input_uncached` is the total of the input.
#[derive(Serialize, JsonSchema)]
#[serde(remote = "ledger::UsageConvention", rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum UsageConvention {
    Disjoint,
    Inclusive,
}

/// A calendar month.
#[derive(JsonSchema)]
#[schemars(inline, extend("pattern" = PERIOD_PATTERN, "examples" = ["2026-11"]))]
pub(crate) struct Month(String);

/// What a member may do, in descending order: `owner`, `admin`, `member`.
#[derive(Serialize, JsonSchema)]
#[serde(remote = "tenant::Role", rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum MemberRole {
    Owner,
    Admin,
    Member,
}

/// What an API key may do.
///
/// - `read`: read what members read, but the log and who belongs to the tenant
/// - `write`: work with sessions, and record costs
/// - `costs:read`: read costs
/// - `costs:write`: record and void costs
/// - `events:read`: read the tenant's log
#[derive(Serialize, JsonSchema)]
#[serde(remote = "user::Scope")]
#[schemars(inline)]
pub(crate) enum KeyScope {
    #[serde(rename = "read")]
    Read,
    #[serde(rename = "write")]
    Write,
    #[serde(rename = "costs:read")]
    CostsRead,
    #[serde(rename = "costs:write")]
    CostsWrite,
    #[serde(rename = "events:read")]
    EventsRead,
}

/// What a tenant pays for, in ascending order.
#[derive(Serialize, JsonSchema)]
#[serde(remote = "tenant::Plan", rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum TenantPlan {
    Starter,
    Growth,
    Business,
    Enterprise,
}

/// What a stream is about.
#[derive(Serialize, JsonSchema)]
#[serde(remote = "Category", rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum StreamCategory {
    Tenant,
    Session,
    Ledger,
    Operations,
    User,
}

/// What kind of caller: a signed-in user, a program with an API key, or Convolog itself.
#[derive(Serialize, JsonSchema)]
#[serde(remote = "ActorKind", rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum Caller {
    User,
    ApiKey,
    System,
}

/// One event, as CloudEvents 1.0.2 in structured JSON: the same bytes as on NATS.
#[derive(JsonSchema)]
#[schemars(example = example_event())]
pub(crate) struct CloudEvent {
    #[schemars(extend("const" = "1.0"))]
    specversion: String,
    /// Its own id.
    id: Uuid,
    /// `/convolog/tenants/<tenant id>`.
    source: String,
    /// `convolog.<category>.<what happened>.v<version of the data>`.
    #[schemars(regex(pattern = r"^convolog\.[a-z_]+\.[a-z_]+\.v[1-9][0-9]*$"))]
    r#type: String,
    /// `<category>/<id of the stream>`.
    subject: String,
    /// When it happened.
    time: DateTime<Utc>,
    #[schemars(extend("const" = "application/json"))]
    datacontenttype: String,
    /// Whose log.
    tenantid: Uuid,
    /// Its number in the tenant's log, 20 digits: 1, 2, 3, … without gap.
    #[schemars(regex(pattern = "^[0-9]{20}$"))]
    sequence: String,
    /// Its number in its stream: 1, 2, 3, … without gap.
    #[schemars(range(min = 1))]
    streamversion: u64,
    /// When it was committed.
    recordedtime: DateTime<Utc>,
    actorkind: Caller,
    /// Who caused it: the id of the user or the key, the nil UUID for the system.
    actorid: Uuid,
    /// What all events of one request have in common: its `X-Request-Id`.
    correlationid: Uuid,
    /// The request or event that led to it directly.
    causationid: Uuid,
    /// W3C trace context of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
    /// What the type says.
    #[schemars(with = "AnyObject")]
    data: (),
}

pub(crate) fn example_event() -> Value {
    json!({
        "specversion": "1.0", "id": "01a2046a-b6a8-7000-8000-000000000007",
        "source": "/convolog/tenants/01a2046a-b01f-7338-8721-f968a8e95204",
        "type": "convolog.session.message_posted.v1", "subject": "session/01a2046a-b446-7000-8000-000000000003",
        "time": "2026-11-22T18:00:32.166256Z", "datacontenttype": "application/json",
        "tenantid": "01a2046a-b01f-7338-8721-f968a8e95204", "sequence": "00000000000000000004", "streamversion": 2,
        "recordedtime": "2026-11-22T18:00:32.167001Z",
        "actorkind": "user", "actorid": "01a2046a-b01f-7000-8000-000000000002",
        "correlationid": "01a2046a-b6a5-7000-8000-000000000005", "causationid": "01a2046a-b6a5-7000-8000-000000000005",
        "data": {"message_id": "01a2046a-b6a6-7000-8000-000000000006", "role": "user", "content": "Do you ship to Portugal?"},
    })
}
