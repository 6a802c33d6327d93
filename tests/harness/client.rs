//! A client of the API: requests as verbs, answers as status, headers and JSON.

use std::time::{Duration, Instant};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use uuid::Uuid;

/// How long [`User::insist`] does.
const PATIENCE: Duration = Duration::from_secs(30);

/// Somebody who talks to one node; clone it freely.
#[derive(Clone, Debug)]
pub struct User {
    http: reqwest::Client,
    /// The node's URL.
    pub base: String,
    /// The tenant, nil when nobody is signed in.
    pub tenant: Uuid,
    /// The user, nil when nobody is signed in.
    pub id: Uuid,
    /// The access token.
    pub token: Option<String>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its JSON, null when it has none.
    pub body: Value,
}

impl Reply {
    /// A header as text, empty when it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// The problem's code, empty when it is none.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or("")
    }

    /// The member `id`.
    pub fn id(&self) -> Uuid {
        self.body["id"].as_str().and_then(|id| id.parse().ok()).unwrap_or_else(|| panic!("no id in {}", self.body))
    }

    /// The member `seq`.
    pub fn seq(&self) -> u64 {
        self.body["seq"].as_u64().unwrap_or_else(|| panic!("no seq in {}", self.body))
    }
}

impl User {
    /// Nobody in particular.
    pub fn anonymous(http: reqwest::Client, base: String) -> Self {
        Self { http, base, tenant: Uuid::nil(), id: Uuid::nil(), token: None }
    }

    /// Who registered or logged in with this answer.
    pub fn signed_in(&self, body: &Value) -> Self {
        let id = |value: &Value| value["id"].as_str().and_then(|id| id.parse().ok()).unwrap();
        Self {
            tenant: id(&body["tenant"]),
            id: id(&body["user"]),
            token: Some(body["access_token"].as_str().unwrap().to_owned()),
            ..self.clone()
        }
    }

    /// The same user at another node.
    pub fn at(&self, base: String) -> Self {
        Self { base, ..self.clone() }
    }

    /// A request, for what the verbs below do not cover.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends it.
    pub async fn send(&self, request: RequestBuilder) -> Reply {
        self.try_send(request).await.unwrap()
    }

    /// Sends it; the connection may break.
    pub async fn try_send(&self, request: RequestBuilder) -> Result<Reply, reqwest::Error> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.bytes().await?;
        Ok(Reply { status, headers, body: serde_json::from_slice(&text).unwrap_or(Value::Null) })
    }

    /// Sends what this makes, again as long as the service is overloaded: then nothing was done, and how much a loaded
    /// machine takes on is not what most tests are about.
    pub async fn insist(&self, request: impl Fn() -> RequestBuilder) -> Reply {
        let begun = Instant::now();
        loop {
            let reply = self.send(request()).await;
            if reply.code() != "overloaded" || begun.elapsed() > PATIENCE {
                return reply;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Reply {
        self.send(self.request(Method::GET, path)).await
    }

    /// POST of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// POST of JSON with more headers.
    pub async fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Reply {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap()))
            .collect();
        self.send(self.request(Method::POST, path).headers(headers).json(body)).await
    }

    /// Starts a text session.
    pub async fn start_session(&self) -> Uuid {
        let body = json!({"mode": "text"});
        let reply = self.insist(|| self.request(Method::POST, "/v1/sessions").json(&body)).await;
        assert_eq!(reply.status, 201, "{}", reply.body);
        reply.id()
    }

    /// Says something as the user of the conversation.
    pub async fn say(&self, session: Uuid, content: &str) -> Reply {
        self.post(&format!("/v1/sessions/{session}/messages"), &json!({"role": "user", "content": content})).await
    }

    /// All messages of a session, oldest first, page by page, that reflect `min_seq`.
    pub async fn messages(&self, session: Uuid, min_seq: u64) -> Vec<Value> {
        let path = format!("/v1/sessions/{session}/messages?limit=200&min_seq={min_seq}");
        self.all_pages(&path).await
    }

    /// All rows of a list, page by page.
    pub async fn all_pages(&self, path: &str) -> Vec<Value> {
        let mut rows = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = format!("{path}{cursor}");
            let reply = self.insist(|| self.request(Method::GET, &page)).await;
            assert_eq!(reply.status, 200, "{}", reply.body);
            rows.extend(reply.body["data"].as_array().unwrap().iter().cloned());
            match reply.body["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return rows,
            }
        }
    }

    /// All events of the tenant's log from the feed.
    pub async fn events(&self) -> Vec<Value> {
        let (mut events, mut after) = (Vec::new(), 0);
        loop {
            let page = format!("/v1/events?limit=200&after={after}");
            let reply = self.insist(|| self.request(Method::GET, &page)).await;
            assert_eq!(reply.status, 200, "{}", reply.body);
            events.extend(reply.body["data"].as_array().unwrap().iter().cloned());
            after = reply.body["next_after"].as_u64().unwrap();
            if after >= reply.body["head"].as_u64().unwrap() {
                return events;
            }
        }
    }
}
