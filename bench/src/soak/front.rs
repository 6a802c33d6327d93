//! The API as clients see it: two processes whose addresses change, and one request that gets an answer or none.

use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

/// Longer than anything that an API process makes a client wait for.
const PATIENCE: Duration = Duration::from_secs(10);

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Http {
        status: u16,
        code: String,
        body: Value,
        replayed: bool,
        seq: Option<u64>,
    },
    /// The connection was refused, broke, or took too long.
    Broken,
}

pub(crate) struct Front {
    addresses: RwLock<[String; 2]>,
    pub(crate) tenants: Vec<Uuid>,
    tokens: RwLock<Vec<String>>,
    http: reqwest::Client,
}

/// A lock whose holder may have failed: what it holds is still true.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Front {
    pub(crate) fn new(tenants: Vec<Uuid>, tokens: Vec<String>) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build()?;
        Ok(Self { addresses: RwLock::default(), tenants, tokens: RwLock::new(tokens), http })
    }

    pub(crate) fn set_address(&self, api: usize, address: String) {
        self.addresses.write().unwrap_or_else(PoisonError::into_inner)[api] = address;
    }

    pub(crate) fn set_tokens(&self, tokens: Vec<String>) {
        *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = tokens;
    }

    fn request(&self, api: usize, tenant: usize, path: &str, body: Option<&Value>) -> reqwest::RequestBuilder {
        let address = self.addresses.read().unwrap_or_else(PoisonError::into_inner)[api % 2].clone();
        let token = self.tokens.read().unwrap_or_else(PoisonError::into_inner)[tenant].clone();
        let url = format!("http://{address}{path}");
        let request = match body {
            Some(body) => self.http.post(url).json(body),
            None => self.http.get(url),
        };
        request.bearer_auth(token)
    }

    pub(crate) async fn post(&self, api: usize, tenant: usize, path: &str, body: &Value, key: Option<&str>) -> Answer {
        let mut request = self.request(api, tenant, path, Some(body));
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        answer(request).await
    }

    pub(crate) async fn get(&self, api: usize, tenant: usize, path: &str) -> Answer {
        answer(self.request(api, tenant, path, None)).await
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let Ok(response) = request.send().await else { return Answer::Broken };
    let status = response.status().as_u16();
    let header = |name: &str| response.headers().get(name)?.to_str().ok().map(str::to_owned);
    let replayed = header("Idempotency-Replayed").as_deref() == Some("true");
    let seq = header("Convolog-Seq").and_then(|seq| seq.parse().ok());
    let Ok(bytes) = response.bytes().await else { return Answer::Broken };
    let body: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    let code = body["code"].as_str().unwrap_or_default().to_owned();
    Answer::Http { status, code, body, replayed, seq }
}
