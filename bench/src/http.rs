//! As little HTTP/1.1 as the load needs: one connection that stays open, one request at a time.

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::fleet::Target;

/// What is said in every message; with the other members the body has about 490 bytes.
pub(crate) const CONTENT_BYTES: usize = 460;

/// Messages of a page that is read.
pub(crate) const PAGE: usize = 20;

/// One connection.
pub(crate) struct Client {
    address: String,
    stream: TcpStream,
    /// The API has said, or shown, that it takes nothing more on this connection.
    closed: bool,
    request: Vec<u8>,
    answer: Vec<u8>,
    body: String,
    /// Distinct in every process and connection, so that keys are.
    key_prefix: String,
    keys: u64,
}

impl Client {
    pub(crate) async fn connect(address: &str, key_prefix: String) -> anyhow::Result<Self> {
        let stream = dial(address).await?;
        let body = format!(r#"{{"role":"user","content":"{}"}}"#, content());
        let address = address.to_owned();
        Ok(Self { address, stream, closed: false, request: vec![], answer: vec![], body, key_prefix, keys: 0 })
    }

    /// Posts a message; gives its `seq`.
    pub(crate) async fn post(&mut self, target: &Target, session: Uuid) -> anyhow::Result<u64> {
        self.keys += 1;
        self.request.clear();
        use std::io::Write as _;
        write!(
            self.request,
            "POST /v1/sessions/{session}/messages HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nIdempotency-Key: {}-{}\r\nContent-Length: {}\r\n\r\n{}",
            target.token,
            self.key_prefix,
            self.keys,
            self.body.len(),
            self.body
        )?;
        let body = self.exchange("HTTP/1.1 201 ").await?;
        let seq = body.split_once(r#""seq":"#).and_then(|(_, rest)| rest.split([',', '}']).next());
        Ok(seq.context("no seq in the answer")?.parse()?)
    }

    /// Reads the newest message of a session, when the read tables reflect `min_seq`.
    pub(crate) async fn read(&mut self, target: &Target, session: Uuid, min_seq: u64) -> anyhow::Result<()> {
        self.get(target, format_args!("/v1/sessions/{session}/messages?limit=1&order=desc&min_seq={min_seq}")).await
    }

    /// Reads the first page of a session's messages.
    pub(crate) async fn list(&mut self, target: &Target, session: Uuid) -> anyhow::Result<()> {
        self.get(target, format_args!("/v1/sessions/{session}/messages?limit={PAGE}")).await
    }

    /// Reads a session.
    pub(crate) async fn session(&mut self, target: &Target, session: Uuid) -> anyhow::Result<()> {
        self.get(target, format_args!("/v1/sessions/{session}")).await
    }

    async fn get(&mut self, target: &Target, path: std::fmt::Arguments<'_>) -> anyhow::Result<()> {
        self.request.clear();
        use std::io::Write as _;
        write!(self.request, "GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {}\r\n\r\n", target.token,)?;
        self.exchange("HTTP/1.1 200 ").await.map(drop)
    }

    /// Posts a message, whatever comes of it; gives the status.
    pub(crate) async fn try_post(&mut self, target: &Target, session: Uuid) -> anyhow::Result<u16> {
        let posted = self.post(target, session).await;
        self.status(posted)
    }

    /// Logs in somebody whom nobody knows, which costs as much as a wrong password; gives the status.
    pub(crate) async fn try_login(&mut self) -> anyhow::Result<u16> {
        use std::io::Write as _;
        const BODY: &str = r#"{"email":"nobody@example.com","password":"nobody guesses this one"}"#;
        self.request.clear();
        write!(
            self.request,
            "POST /v1/auth/login HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{BODY}",
            BODY.len()
        )?;
        let answered = self.exchange("HTTP/1.1 401 ").await.map(|_| 0);
        self.status(answered)
    }

    /// Asks whether the service is ready; gives the status.
    pub(crate) async fn ready(&mut self) -> anyhow::Result<u16> {
        self.request.clear();
        self.request.extend_from_slice(b"GET /health/ready HTTP/1.1\r\nHost: bench\r\n\r\n");
        let answered = self.exchange("HTTP/1.1 200 ").await.map(|_| 0);
        self.status(answered)
    }

    /// The status of what was answered last, 0 when the connection was closed instead; an error when neither was.
    fn status(&self, outcome: anyhow::Result<u64>) -> anyhow::Result<u16> {
        if self.closed && self.answer.is_empty() {
            return Ok(0);
        }
        let line = std::str::from_utf8(self.answer.get(..12).unwrap_or(b""))?;
        match (outcome, line.get(9..).and_then(|status| status.parse().ok())) {
            (_, Some(status)) => Ok(status),
            (Err(error), None) => Err(error),
            (Ok(_), None) => anyhow::bail!("no status in: {line}"),
        }
    }

    /// Sends the request; the answer's body, if its status is the expected one.
    async fn exchange(&mut self, status: &str) -> anyhow::Result<&str> {
        self.answer.clear();
        if self.closed {
            self.stream = dial(&self.address).await?;
            self.closed = false;
        }
        let sent = self.stream.write_all(&self.request).await;
        loop {
            let read = self.stream.read_buf(&mut self.answer).await.unwrap_or(0);
            self.closed = read == 0 || sent.is_err();
            anyhow::ensure!(read > 0, "the API has closed the connection");
            if let Some(body) = complete(&self.answer)? {
                let text = std::str::from_utf8(&self.answer)?;
                self.closed |= text[..body].to_ascii_lowercase().contains("\r\nconnection: close\r\n");
                anyhow::ensure!(text.starts_with(status), "unexpected answer: {text}");
                return Ok(&text[body..]);
            }
        }
    }
}

async fn dial(address: &str) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address).await.context("connecting to the API")?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Where the body of a complete answer begins.
fn complete(answer: &[u8]) -> anyhow::Result<Option<usize>> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&answer[..end])?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim())
    });
    let length: usize = length.with_context(|| format!("no Content-Length in: {head}"))?.parse()?;
    Ok((answer.len() >= end + 4 + length).then_some(end + 4))
}

/// Prose, so that neither JSON nor the disk finds it easier than the real thing.
fn content() -> String {
    const SENTENCE: &str = "Orders that are placed before noon leave our warehouse the same day, and most of them \
                            arrive within two to four days; returns are free of charge for a month. ";
    SENTENCE.chars().cycle().take(CONTENT_BYTES).collect()
}

/// The payload of the raw rows: as long as the data of a message's event.
pub(crate) fn raw_payload() -> String {
    format!(r#"{{"message_id":"{}","role":"user","content":"{}"}}"#, Uuid::nil(), content())
}
