//! What happens is counted, under names that the code fixes. All nodes of a test process count together.

use serde_json::json;
use tests::{World, eventually};

use super::Metrics;
use crate::faults::chain_guard::{log_of, world_that_only_hears};

#[tokio::test(flavor = "multi_thread")]
async fn commands_reads_and_projecting_are_counted() {
    let world = World::start().await;
    let user = world.tenant().await;
    let before = Metrics::scrape(&user).await;
    let session = user.start_session().await;
    let body = json!({"role": "user", "content": "Hello"});
    let path = format!("/v1/sessions/{session}/messages");
    let mut last = 0;
    for key in ["a", "a", "b"] {
        let reply = user.post_with(&path, &[("idempotency-key", key)], &body).await;
        last = reply.seq().max(last);
    }
    let other = json!({"role": "user", "content": "Other"});
    assert_eq!(user.post_with(&path, &[("idempotency-key", "a")], &other).await.code(), "idempotency_key_reused");
    assert_eq!(user.post(&format!("/v1/sessions/{session}/end"), &json!({})).await.status, 200);
    assert_eq!(user.say(session, "too late").await.code(), "session_ended");
    assert_eq!(user.get(&format!("/v1/sessions/{session}?min_seq={last}")).await.status, 200);
    assert_eq!(user.get("/nowhere/at/all").await.status, 404);
    world.drain().await;
    world.drain_relay().await;

    let after = Metrics::scrape(&user).await;
    let grown = |name: &str, labels: &[&str]| after.sum(name, labels) - before.sum(name, labels);
    for (name, labels, at_least) in [
        ("convolog_append_commands_total", &[r#"outcome="stored""#][..], 4.0),
        ("convolog_append_commands_total", &[r#"outcome="replayed""#], 1.0),
        ("convolog_append_commands_total", &[r#"outcome="key_reused""#], 1.0),
        ("convolog_append_commands_total", &[r#"outcome="rejected""#], 1.0),
        ("convolog_append_events_total", &[], 4.0),
        ("convolog_append_commit_seconds_count", &[], 4.0),
        ("convolog_append_wait_seconds_count", &[], 4.0),
        ("convolog_append_batch_commands_count", &[], 4.0),
        ("convolog_append_batch_events_sum", &[], 4.0),
        ("convolog_append_batch_bytes_sum", &[], 50.0),
        ("convolog_state_cache_total", &[r#"result="hit""#], 1.0),
        ("convolog_relay_published_events_total", &[], 4.0),
        ("convolog_relay_page_seconds_count", &[], 1.0),
        ("convolog_projector_applied_events_total", &[], 4.0),
        ("convolog_projector_transaction_seconds_count", &[], 1.0),
        (
            "convolog_http_requests_total",
            &[r#"method="POST""#, r#"route="/v1/sessions/{id}/messages""#, r#"status="201""#, r#"code="""#],
            3.0,
        ),
        (
            "convolog_http_requests_total",
            &[r#"route="/v1/sessions/{id}/messages""#, r#"status="409""#, r#"code="session_ended""#],
            1.0,
        ),
        ("convolog_http_requests_total", &[r#"route="unmatched""#, r#"code="not_found""#], 1.0),
        ("convolog_http_request_duration_seconds_count", &[r#"method="GET""#, r#"route="/v1/sessions/{id}""#], 1.0),
    ] {
        assert!(grown(name, labels) >= at_least, "{name}{labels:?} grew by {}", grown(name, labels));
    }
    assert!(after.sum("convolog_leases_held", &[r#"work="relay""#]) >= 1.0);
    assert!(after.sum("convolog_nats_connected", &[r#"user="api""#]) >= 1.0);
    assert!(after.sum("convolog_pool_max_connections", &[r#"role="projector""#]) >= 1.0);
    assert!(after.sum("convolog_http_requests_in_flight", &[]) >= 1.0, "this very request");
    assert!(after.sum("convolog_tenants", &[]) >= 1.0);
    assert!(after.sum("convolog_process_open_fds", &[]) >= 1.0);
    assert!(after.sum("convolog_build_info", &[&format!("version=\"{}\"", env!("CARGO_PKG_VERSION"))]) == 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_explained_and_none_names_a_tenant() {
    let world = World::start().await;
    let user = world.tenant().await;
    user.start_session().await;
    let metrics = Metrics::scrape(&user).await;
    for sample in metrics.samples.keys() {
        let name = sample.split('{').next().unwrap();
        assert!(name.starts_with("convolog_"), "{sample}");
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let typed = |name: &str| metrics.text.contains(&format!("# TYPE {name} "));
        let family = of_histogram.filter(|family| typed(family)).unwrap_or(name);
        assert!(typed(family), "{sample} has no TYPE");
        assert!(metrics.text.contains(&format!("# HELP {family} ")), "{sample} has no HELP");
        let labels = &sample[name.len()..];
        let digits = labels.bytes().filter(u8::is_ascii_hexdigit).count();
        assert!(!labels.contains(&user.tenant.to_string()) && digits < 32, "{sample} has an id in it");
    }
    assert!(!metrics.text.contains(&user.tenant.simple().to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn holes_and_duplicates_on_the_stream_are_counted() {
    let (world, relay) = world_that_only_hears().await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    let count = async |name: &str| Metrics::scrape(&user).await.sum(name, &[]);
    let (holes, duplicates) = ("convolog_projector_holes_filled_total", "convolog_projector_duplicates_dropped_total");
    let mut generation = 0;
    let mut publish = async |events: &[domain::RecordedEvent]| {
        generation += 1;
        relay.events().publish_all(events, generation, 8).await.unwrap();
    };
    publish(&log_of(&world, &user).await).await;
    world.drain().await;

    let before = count(duplicates).await;
    publish(&log_of(&world, &user).await).await;
    eventually("duplicates are counted", async || count(duplicates).await >= before + 3.0).await;

    let before = count(holes).await;
    user.say(session, "lost").await;
    let last = usize::try_from(user.say(session, "heard").await.seq()).unwrap();
    publish(&log_of(&world, &user).await[last - 1..]).await;
    eventually("a hole is counted", async || count(holes).await >= before + 1.0).await;
    world.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_page_names_every_metric_and_no_other() {
    let page = include_str!("../../../docs/operations.md");
    let world = World::start().await;
    let exposition = Metrics::scrape(&world.tenant().await).await.text;
    let exposed: Vec<&str> = exposition
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .filter(|name| !name.starts_with("convolog_process_"))
        .collect();
    assert!(exposed.len() > 40, "{exposed:?}");
    for name in &exposed {
        assert!(page.contains(&format!("`{name}`")), "docs/operations.md does not name {name}");
    }
    let named = page.split('`').skip(1).step_by(2).filter(|text| text.starts_with("convolog_"));
    let metric = |text: &str| text.chars().all(|char| char.is_ascii_lowercase() || char == '_');
    let roles = ["convolog_api", "convolog_projector", "convolog_relay", "convolog_backup"];
    for name in named.filter(|text| metric(text) && !roles.contains(text)) {
        assert!(exposed.contains(&name), "docs/operations.md names {name}, which there is not");
    }
}
