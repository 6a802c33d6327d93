//! What is logged of a request: which, whose, in which trace, how it ended and why; nothing that is secret.

use std::io;
use std::sync::{Arc, LazyLock, Mutex};

use convolog::logging::subscriber;
use convolog::settings::LogFormat;
use serde_json::{Value, json};
use sqlx::Executor as _;
use tests::{World, WorldSettings};
use tracing::Dispatch;
use tracing::subscriber::NoSubscriber;

/// What was logged, line by line.
#[derive(Clone, Default)]
pub(crate) struct Captured(Arc<Mutex<Vec<u8>>>);

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Captured {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The lines that say this, as JSON.
    fn lines(&self, message: &str) -> Vec<Value> {
        let lines = self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>();
        lines.into_iter().filter(|line| line["fields"]["message"] == message).collect()
    }
}

/// For the tasks of this thread, so of a test on a runtime of one thread.
fn capture(format: LogFormat) -> (Captured, tracing::subscriber::DefaultGuard) {
    capture_only("info,api=debug,async_nats=off,sqlx=off", format)
}

/// What we blame ourselves for.
pub(crate) fn capture_errors() -> (Captured, tracing::subscriber::DefaultGuard) {
    capture_only("error,async_nats=off", LogFormat::Text)
}

/// All that we say to find faults, and what the database's driver says.
pub(crate) fn capture_details() -> (Captured, tracing::subscriber::DefaultGuard) {
    capture_only("debug,api=trace,store=trace,async_nats=off,hyper=off,hyper_util=off,reqwest=off", LogFormat::Text)
}

/// While there is one subscriber alone, `tracing` asks the thread that first comes to a line whether anybody listens, and keeps
/// the answer for all threads: that of another test would say no. Where there are two it asks both.
static ANOTHER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::new()));

fn capture_only(filter: &str, format: LogFormat) -> (Captured, tracing::subscriber::DefaultGuard) {
    LazyLock::force(&ANOTHER);
    let captured = Captured::default();
    let writer = captured.clone();
    let subscriber = subscriber(filter, format, false, move || writer.clone());
    (captured, tracing::subscriber::set_default(subscriber.unwrap()))
}

fn api_alone() -> WorldSettings {
    WorldSettings { relay: false, projector: false, ..WorldSettings::default() }
}

#[tokio::test]
async fn a_request_is_one_line_with_its_id_tenant_and_trace() {
    let (captured, _guard) = capture(LogFormat::Json);
    let world = World::with(api_alone()).await;
    let user = world.tenant().await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let path = "/v1/sessions?limit=3&cursor=secret-cursor";
    let request =
        user.request(reqwest::Method::GET, path).header("traceparent", format!("00-{trace}-b7ad6b7169203331-01"));
    let reply = user.send(request).await;
    assert_eq!(reply.status, 400);
    let started = user.post("/v1/sessions", &json!({"mode": "text", "metadata": {"a": "secret-body"}})).await;

    let of = |reply: &tests::Reply| -> Value {
        let id = reply.header("x-request-id");
        let lines: Vec<Value> =
            captured.lines("answered").into_iter().filter(|line| line["span"]["request_id"] == id).collect();
        let [line] = lines.as_slice() else { panic!("{lines:#?}") };
        line.clone()
    };
    let line = of(&reply);
    assert_eq!(
        (&line["level"], &line["fields"]["status"], &line["fields"]["code"]),
        (&json!("DEBUG"), &json!(400), &json!("cursor_mismatch"))
    );
    assert!(line["fields"]["duration_us"].as_u64().is_some_and(|micros| micros > 0));
    let span = &line["span"];
    assert_eq!((&span["tenant"], &span["trace_id"]), (&json!(user.tenant.to_string()), &json!(trace)));
    assert_eq!((&span["method"], &span["path"]), (&json!("GET"), &json!("/v1/sessions")));
    // Without a trace of the caller's, the request's own id is the trace's, and the events carry it.
    let line = of(&started);
    let id = started.header("x-request-id");
    assert_eq!(line["span"]["trace_id"], json!(id.replace('-', "")));
    let events = user.events().await;
    assert_eq!(events.last().unwrap()["correlationid"], json!(id));

    let text = captured.text();
    for secret in ["secret-cursor", "secret-body", "nobody guesses", user.token.as_deref().unwrap(), "example.com"] {
        assert!(!text.contains(secret), "{secret} in the log");
    }
}

#[tokio::test]
async fn a_failure_says_why_once() {
    let (captured, _guard) = capture(LogFormat::Text);
    let world = World::with(api_alone()).await;
    let user = world.tenant().await;
    world.database.admin.execute("alter table sessions rename column metadata to renamed").await.unwrap();
    let reply = user.get("/v1/sessions").await;
    assert_eq!(reply.status, 500);
    let text = captured.text();
    let of_request: Vec<&str> = text.lines().filter(|line| line.contains(reply.header("x-request-id"))).collect();
    let [line] = of_request.as_slice() else { panic!("{of_request:#?}") };
    for part in
        ["ERROR", "status=500", "code=\"internal\"", "s.metadata does not exist", &user.tenant.to_string(), "trace_id="]
    {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert_eq!(text.lines().filter(|line| line.contains("s.metadata does not exist")).count(), 1);
}
