//! A socket to a node, for requests that no HTTP client would send; and what comes back, byte by byte.

use std::time::Duration;

use serde_json::Value;
use tests::{User, World};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longer than any limit of a connection in these tests.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer as it stood on the wire.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Answer {
    /// A header, empty when it is missing.
    pub(super) fn header(&self, name: &str) -> &str {
        let fields = self.head.lines().filter_map(|line| line.split_once(':'));
        fields.into_iter().find(|(it, _)| it.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value.trim())
    }

    /// The problem's code, empty when there is none.
    pub(super) fn code(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap_or(Value::Null);
        body["code"].as_str().unwrap_or("").to_owned()
    }

    pub(super) fn closes(&self) -> bool {
        self.header("connection").eq_ignore_ascii_case("close")
    }
}

pub(super) struct Socket(TcpStream);

impl Socket {
    pub(super) async fn open(world: &World) -> Self {
        Self(TcpStream::connect(world.nodes[0].address().unwrap()).await.unwrap())
    }

    /// Sends as much as the other side takes: it may have heard enough.
    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.0.write_all(bytes.as_ref()).await;
    }

    /// Sends nothing more.
    pub(super) async fn end(&mut self) {
        let _ = self.0.shutdown().await;
    }

    /// Everything until the other side closes.
    pub(super) async fn rest(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        // A reset after the answer is as good as an end.
        let _ = tokio::time::timeout(PATIENCE, self.0.read_to_end(&mut all)).await.expect("it is not closed");
        all
    }

    /// The next answer with a Content-Length; `None` when the other side has closed without one.
    pub(super) async fn answer(&mut self) -> Option<Answer> {
        tokio::time::timeout(PATIENCE, self.read_answer()).await.expect("it neither answers nor closes")
    }

    async fn read_answer(&mut self) -> Option<Answer> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.ok()?);
        }
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer { status, head, body: String::new() };
        let length: usize = answer.header("content-length").parse().unwrap_or(0);
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.ok()?;
        answer.body = String::from_utf8(body).unwrap();
        Some(answer)
    }

    /// Whether the other side has closed without saying anything more.
    pub(super) async fn is_closed(&mut self) -> bool {
        self.rest().await.is_empty()
    }
}

/// The head of a request for JSON with credentials; `more` are header lines, each with its line end.
pub(super) fn head(user: &User, method: &str, target: &str, more: &str) -> String {
    let token = user.token.as_deref().unwrap_or("none");
    format!(
        "{method} {target} HTTP/1.1\r\nhost: convolog.test\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\n{more}\r\n"
    )
}
