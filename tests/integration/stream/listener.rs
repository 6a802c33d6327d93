//! A client of server-sent events as the HTML standard describes it.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;
use serde_json::value::RawValue;
use tests::{Reply, User};

use crate::http::raw;

/// Longer than the heartbeat.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What stands between two empty lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) id: Option<u64>,
    pub(crate) data: Option<String>,
    pub(crate) retry: Option<u64>,
    pub(crate) comment: bool,
}

/// An open stream.
pub(crate) struct Listener {
    pub(crate) response: reqwest::Response,
    arrived: Vec<u8>,
    /// The last id: where to go on.
    pub(crate) last: u64,
}

/// Asks for a stream, with `Last-Event-ID` when given.
pub(crate) async fn ask(user: &User, query: &str, last: Option<&str>) -> Result<Listener, Reply> {
    let mut request = user.request(Method::GET, &format!("/v1/events/stream{query}"));
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let response = request.send().await.unwrap();
    if response.status() != 200 {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or(Value::Null);
        return Err(Reply { status, headers, body });
    }
    Ok(Listener { response, arrived: vec![], last: 0 })
}

/// Follows from after a number.
pub(crate) async fn listen(user: &User, query: &str, last: u64) -> Listener {
    let begun = Instant::now();
    loop {
        match ask(user, query, Some(&last.to_string())).await {
            Ok(listener) => return listener,
            // It is not the machine that is tested.
            Err(reply) if reply.code() == "overloaded" && begun.elapsed() < PATIENCE => {}
            Err(reply) => panic!("{}", reply.body),
        }
    }
}

impl Listener {
    /// The next block; `None` at a clean end.
    pub(crate) async fn block(&mut self) -> Option<Block> {
        self.try_block().await.unwrap_or_else(|error| panic!("the stream broke: {error}"))
    }

    /// The same, of a connection that may break.
    pub(crate) async fn try_block(&mut self) -> Result<Option<Block>, reqwest::Error> {
        loop {
            if let Some(end) = self.arrived.windows(2).position(|two| two == b"\n\n") {
                let text: Vec<u8> = self.arrived.drain(..end + 2).collect();
                let block = parse(std::str::from_utf8(&text).unwrap());
                self.last = block.id.unwrap_or(self.last);
                return Ok(Some(block));
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await.expect("a heartbeat is due");
            match chunk? {
                Some(bytes) => self.arrived.extend_from_slice(&bytes),
                None => {
                    assert!(self.arrived.is_empty(), "the stream ends in the middle of a block");
                    return Ok(None);
                }
            }
        }
    }

    /// The next event: its id and its data.
    pub(crate) async fn event(&mut self) -> Option<(u64, String)> {
        let mut heartbeats = 0;
        loop {
            let block = self.block().await?;
            heartbeats += u64::from(block.comment);
            assert!(heartbeats < 2, "nothing but heartbeats after {}", self.last);
            if let Some(data) = block.data {
                return Some((block.id.expect("every event has an id"), data));
            }
        }
    }

    /// The next events, which must be so many.
    pub(crate) async fn events(&mut self, number: usize) -> Vec<(u64, String)> {
        let mut events = Vec::new();
        while events.len() < number {
            events.push(self.event().await.expect("the stream has ended"));
        }
        events
    }

    /// Everything until the stream ends.
    pub(crate) async fn rest(&mut self) -> Vec<Block> {
        let (mut blocks, mut heartbeats) = (Vec::new(), 0);
        while let Some(block) = self.block().await {
            heartbeats += u64::from(block.comment);
            assert!(heartbeats < 2, "it does not end");
            blocks.push(block);
        }
        blocks
    }
}

fn parse(text: &str) -> Block {
    let mut block = Block::default();
    assert!(!text.contains('\r'), "clients differ about it: {text}");
    for line in text.split('\n').filter(|line| !line.is_empty()) {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => block.comment = true,
            "id" => block.id = Some(value.parse().unwrap()),
            "retry" => block.retry = Some(value.parse().unwrap()),
            "data" => match &mut block.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => block.data = Some(value.to_owned()),
            },
            _ => panic!("no client expects {line}"),
        }
    }
    block
}

/// An answer as it was written, asked for until the machine takes it on.
async fn text_of(user: &User, path: &str) -> String {
    let begun = Instant::now();
    loop {
        let answer = raw(user.request(Method::GET, path)).await;
        if answer.status == 200 {
            return answer.text;
        }
        assert!(answer.reply().code() == "overloaded" && begun.elapsed() < PATIENCE, "{}", answer.text);
    }
}

/// The tenant's log in the words of `GET /v1/events`, with its numbers.
pub(crate) async fn log_of(user: &User, query: &str) -> Vec<(u64, String)> {
    let (mut events, mut after) = (Vec::new(), 0);
    loop {
        let path = format!("/v1/events?limit=200&after={after}{query}");
        let text = text_of(user, &path).await;
        let page: std::collections::HashMap<String, Box<RawValue>> = serde_json::from_str(&text).unwrap();
        let data: Vec<Box<RawValue>> = serde_json::from_str(page["data"].get()).unwrap();
        events.extend(data.iter().map(|event| (sequence(event.get()), event.get().to_owned())));
        after = page["next_after"].get().parse().unwrap();
        if page["head"].get().parse::<u64>().unwrap() <= after {
            return events;
        }
    }
}

/// The number that an event itself says it has.
pub(crate) fn sequence(event: &str) -> u64 {
    let members: std::collections::HashMap<String, Box<RawValue>> = serde_json::from_str(event).unwrap();
    members["sequence"].get().trim_matches('"').parse().unwrap()
}
