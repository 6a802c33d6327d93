//! Spans of requests to an OpenTelemetry collector, in batches from a thread of its own; what it does not take is lost.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use api::{OnAnswer, RequestSpan};
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor as _,
};

/// Spans that wait for the collector; further ones are dropped.
const MAX_WAITING: usize = 4096;
/// Longest that a batch may take, and the end of the process is kept waiting.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(2);

/// The way to a collector.
#[derive(Clone)]
pub struct Export {
    processor: Arc<BatchSpanProcessor>,
}

impl Export {
    /// `endpoint` is the collector's base URL, for example `http://localhost:4318`. Nothing is sent yet.
    ///
    /// # Errors
    /// The URL is not one of `http`: a collector is near, whatever is beyond it.
    pub fn to(endpoint: &str) -> anyhow::Result<Self> {
        anyhow::ensure!(endpoint.starts_with("http://"), "expected http://…, the URL of a collector nearby");
        let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        let builder = SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary);
        let exporter = builder.with_endpoint(url).with_timeout(EXPORT_TIMEOUT).build().context("it is not a URL")?;
        let batches = BatchConfigBuilder::default().with_max_queue_size(MAX_WAITING).build();
        let mut processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        processor.set_resource(&Resource::builder().with_service_name("convolog").with_attribute(version).build());
        Ok(Self { processor: Arc::new(processor) })
    }

    /// Who takes the spans of an API.
    pub fn on_answer(&self) -> OnAnswer {
        let processor = self.processor.clone();
        OnAnswer::new(move |span| processor.on_end(data(span)))
    }

    /// Sends what waits, and no more.
    pub fn end(&self) {
        if let Err(error) = self.processor.shutdown_with_timeout(EXPORT_TIMEOUT) {
            tracing::info!(%error, "the last spans were not exported");
        }
    }
}

/// In the names of OpenTelemetry's conventions for HTTP servers.
fn data(span: RequestSpan) -> SpanData {
    let mut attributes = vec![
        KeyValue::new("http.request.method", span.method.to_string()),
        KeyValue::new("http.route", span.route.clone()),
        KeyValue::new("http.response.status_code", i64::from(span.status.as_u16())),
        KeyValue::new("convolog.request_id", span.request_id.to_string()),
    ];
    attributes.extend(span.code.map(|code| KeyValue::new("error.type", code.as_str())));
    let ours = span.status.is_server_error();
    SpanData {
        span_context: SpanContext::new(
            TraceId::from_bytes(span.trace_id.bytes()),
            span_id(span.request_id),
            TraceFlags::SAMPLED,
            false,
            TraceState::NONE,
        ),
        parent_span_id: span.parent.map_or(SpanId::INVALID, |parent| SpanId::from_bytes(parent.parent_id())),
        parent_span_is_remote: span.parent.is_some(),
        span_kind: SpanKind::Server,
        name: format!("{} {}", span.method, span.route).into(),
        start_time: span.begun,
        end_time: span.ended,
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: if ours { Status::error(span.code.map_or("", |code| code.as_str())) } else { Status::Unset },
        instrumentation_scope: InstrumentationScope::builder("convolog").build(),
    }
}

/// The random half of a UUIDv7.
fn span_id(request: uuid::Uuid) -> SpanId {
    let [.., a, b, c, d, e, f, g, h] = request.into_bytes();
    SpanId::from_bytes([a, b, c, d, e, f, g, h])
}
