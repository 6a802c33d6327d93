//! What an operator sees: metrics, health, logs and traces; here is what these tests share.
#![expect(clippy::disallowed_types, reason = "the values of metrics are floating point numbers")]

mod access;
mod export;
mod health;
pub(crate) mod logs;
mod metrics;
mod traces;

use std::collections::BTreeMap;

use reqwest::Method;
use tests::User;

/// The samples of `/metrics`: name and labels as they are written, and the value.
pub(crate) struct Metrics {
    text: String,
    samples: BTreeMap<String, f64>,
}

impl Metrics {
    pub(crate) async fn scrape(user: &User) -> Self {
        let mut anonymous = user.clone();
        anonymous.token = None;
        let response = anonymous.request(Method::GET, "/metrics").send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
        let text = response.text().await.unwrap();
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        };
        Self { samples: lines.map(sample).collect(), text }
    }

    /// The sum over all samples of this name that have these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let fits = |sample: &str| {
            let (found, rest) = sample.split_once('{').unwrap_or((sample, ""));
            found == name && labels.iter().all(|label| rest.contains(label))
        };
        self.samples.iter().filter(|(sample, _)| fits(sample)).map(|(_, value)| value).sum()
    }
}
