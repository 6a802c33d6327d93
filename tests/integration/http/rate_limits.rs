//! Rate limits: each bites and lets go again by itself, is told in headers, and is nobody else's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use api::RateLimitSettings;
use api::rate_limits::{LOG_INS, Monotonic, Quota, REGISTRATIONS, TENANT_REQUESTS, WRONG_PASSWORDS};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Executor as _;
use tests::{PASSWORD, Reply, User, World, WorldSettings};
use uuid::Uuid;

use super::{anonymous, assert_problem};
use crate::operations::Metrics;

/// A clock that stands still until it is told to go on.
#[derive(Clone, Default)]
struct Stopped(Arc<AtomicU64>);

impl Stopped {
    fn clock(&self) -> Monotonic {
        let (begun, passed) = (Instant::now(), self.0.clone());
        Monotonic::new(move || begun + Duration::from_millis(passed.load(Ordering::SeqCst)))
    }

    fn pass(&self, time: Duration) {
        self.0.fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

/// A world whose limits are on, behind a proxy that is trusted.
async fn limited() -> (World, Stopped) {
    let clock = Stopped::default();
    let rate_limits = RateLimitSettings { trusted_proxies: 1, clock: clock.clock(), ..RateLimitSettings::default() };
    (World::with(WorldSettings { rate_limits, ..WorldSettings::default() }).await, clock)
}

/// A POST that the proxy says to be from this address.
async fn from(user: &User, address: &str, path: &str, body: &Value) -> Reply {
    let request = || user.request(Method::POST, path).header("x-forwarded-for", address).json(body);
    user.insist(request).await
}

async fn register(world: &World, address: &str, email: &str) -> Reply {
    let body = json!({"tenant_name": "Engines", "email": email, "password": PASSWORD, "name": "Ada"});
    from(&anonymous(world), address, "/v1/auth/register", &body).await
}

async fn log_in(world: &World, address: &str, email: &str, password: &str) -> Reply {
    from(&anonymous(world), address, "/v1/auth/login", &json!({"email": email, "password": password})).await
}

/// Whoever is refused is told by which limit, and when to come back.
#[track_caller]
fn assert_refused(reply: &Reply, limit: &str, seconds: u64) {
    assert_problem(reply, 429, "rate_limited");
    assert!(reply.body["detail"].as_str().unwrap().contains(limit), "{}", reply.body);
    assert_eq!(reply.header("retry-after"), seconds.to_string());
}

#[track_caller]
fn assert_told(reply: &Reply, policy: &str, standing: &str) {
    assert_eq!((reply.header("ratelimit-policy"), reply.header("ratelimit")), (policy, standing), "{}", reply.body);
}

/// From now on nobody is looked up any more: whoever tries gets 500.
async fn break_log_ins(world: &World) {
    let broken = "create or replace function accounts_by_email(p_email text, p_tenant uuid, p_limit int)
        returns table (tenant_id uuid, tenant_name text, user_id uuid, name text, role text, password_hash text,
                       plan text)
        language plpgsql stable security definer set search_path = pg_catalog, pg_temp
        as 'begin raise exception ''it was asked''; end'";
    world.database.admin.execute(broken).await.unwrap();
}

#[test]
fn the_limits_are_the_documented_ones() {
    let said = |quota: Quota| (quota.burst, quota.window().as_millis());
    assert_eq!(
        [LOG_INS, WRONG_PASSWORDS, REGISTRATIONS, TENANT_REQUESTS].map(said),
        [(10, 120_000), (10, 900_000), (3, 3_600_000), (2000, 2000)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_logs_in_ten_times_at_once_and_then_five_times_a_minute() {
    let (world, clock) = limited().await;
    assert_eq!(register(&world, "192.0.2.7", "ada@example.com").await.status, 201);
    let policy = r#""login";q=10;w=120"#;
    for n in 0..10 {
        // Right, wrong, and unknown ones alike; the two addresses are one network.
        let (address, email) = (["2001:db8::1", "2001:db8::2"][n % 2], ["ada@example.com", "eve@example.com"][n % 2]);
        let reply = log_in(&world, address, email, PASSWORD).await;
        assert_eq!(reply.status, [200, 401][n % 2], "{}", reply.body);
        assert_told(&reply, policy, &format!(r#""login";r={};t=12"#, 9 - n));
    }
    let refused = log_in(&world, "2001:db8::1", "ada@example.com", PASSWORD).await;
    assert_refused(&refused, "login", 12);
    assert_told(&refused, policy, r#""login";r=0;t=12"#);
    assert_eq!(log_in(&world, "2001:db8:0:1::1", "ada@example.com", PASSWORD).await.status, 200);
    clock.pass(Duration::from_millis(11_500));
    assert_refused(&log_in(&world, "2001:db8::1", "ada@example.com", PASSWORD).await, "login", 1);
    clock.pass(Duration::from_millis(500));
    assert_eq!(log_in(&world, "2001:db8::1", "ada@example.com", PASSWORD).await.status, 200);
    assert_refused(&log_in(&world, "2001:db8::1", "ada@example.com", PASSWORD).await, "login", 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_log_in_costs_neither_a_question_to_the_database_nor_a_hash() {
    let (world, clock) = limited().await;
    let before = Metrics::scrape(&anonymous(&world)).await;
    for n in 0..10 {
        assert_eq!(log_in(&world, "192.0.2.7", &format!("{n}@example.com"), "wrong").await.status, 401);
        assert_eq!(log_in(&world, &format!("198.51.100.{n}"), "ada@example.com", "wrong").await.status, 401);
    }
    break_log_ins(&world).await;
    assert_refused(&log_in(&world, "192.0.2.7", "eve@example.com", "wrong").await, "login", 12);
    assert_refused(&log_in(&world, "203.0.113.1", "ada@example.com", "wrong").await, "wrong_password", 90);
    assert_eq!(log_in(&world, "203.0.113.1", "eve@example.com", "wrong").await.status, 500);
    // What was not found out to be wrong does not count.
    for n in 0..12 {
        clock.pass(Duration::from_secs(12));
        assert_eq!(log_in(&world, "203.0.113.1", "eve@example.com", "wrong").await.status, 500, "{n}");
    }
    let after = Metrics::scrape(&anonymous(&world)).await;
    for limit in ["login", "wrong_password"] {
        let of = |metrics: &Metrics| metrics.sum("convolog_rate_limited_total", &[&format!("limit=\"{limit}\"")]);
        assert!(of(&after) >= of(&before) + 1.0, "{limit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_takes_ten_wrong_passwords_in_a_quarter_of_an_hour_and_is_never_locked() {
    let (world, clock) = limited().await;
    let ada = register(&world, "192.0.2.7", "ada@example.com").await;
    // Whether there is such an account makes no difference.
    for email in ["ada@example.com", "nobody@example.com"] {
        for n in 0..10 {
            let reply = log_in(&world, &format!("198.51.100.{n}"), email, "wrong").await;
            assert_problem(&reply, 401, "invalid_credentials");
            assert!(!reply.header("ratelimit").contains("wrong_password"), "{}", reply.header("ratelimit"));
        }
        assert_refused(&log_in(&world, "203.0.113.1", email, PASSWORD).await, "wrong_password", 90);
        assert_refused(&log_in(&world, "203.0.113.1", &email.to_uppercase(), PASSWORD).await, "wrong_password", 90);
        clock.pass(Duration::from_secs(60));
        assert_refused(&log_in(&world, "203.0.113.1", email, PASSWORD).await, "wrong_password", 30);
    }
    clock.pass(Duration::from_secs(30));
    // The right password is right again, as often as one likes, and uses nothing up.
    for n in 0..12 {
        let reply = log_in(&world, &format!("203.0.113.{}", 100 + n), "ada@example.com", PASSWORD).await;
        assert_eq!(reply.status, 200, "{n}: {}", reply.body);
    }
    // The address together with a tenant is an account of its own.
    let named = json!({"email": "nobody@example.com", "password": "wrong", "tenant_id": ada.body["tenant"]["id"]});
    assert_problem(&from(&anonymous(&world), "192.0.2.1", "/v1/auth/login", &named).await, 401, "invalid_credentials");
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_that_are_tried_at_once_are_no_more_than_one_after_the_other() {
    let (world, _clock) = limited().await;
    let tries = (0..30).map(|n| {
        let (nobody, address) = (anonymous(&world), format!("198.51.100.{n}"));
        let body = json!({"email": "ada@example.com", "password": "wrong"});
        tokio::spawn(async move { from(&nobody, &address, "/v1/auth/login", &body).await.status })
    });
    let mut statuses = Vec::new();
    for one in futures_util::future::join_all(tries).await {
        statuses.push(one.unwrap());
    }
    let count = |status| statuses.iter().filter(|it| **it == status).count();
    assert_eq!((count(401), count(429)), (10, 20), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_registers_three_tenants_an_hour_and_what_it_mistypes_does_not_count() {
    let (world, clock) = limited().await;
    for n in 0..3 {
        assert_eq!(register(&world, "192.0.2.7", "no address").await.status, 422);
        let reply = register(&world, "192.0.2.7", &format!("{n}@example.com")).await;
        assert_eq!(reply.status, 201, "{}", reply.body);
        assert_told(&reply, r#""registration";q=3;w=3600"#, &format!(r#""registration";r={};t=1200"#, 2 - n));
    }
    assert_refused(&register(&world, "192.0.2.7", "3@example.com").await, "registration", 1200);
    assert_eq!(register(&world, "192.0.2.8", "3@example.com").await.status, 201);
    clock.pass(Duration::from_secs(1199));
    assert_refused(&register(&world, "192.0.2.7", "4@example.com").await, "registration", 1);
    clock.pass(Duration::from_secs(1));
    assert_eq!(register(&world, "192.0.2.7", "4@example.com").await.status, 201);
    assert_refused(&register(&world, "192.0.2.7", "5@example.com").await, "registration", 1200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_has_gone_wild_is_held_back_and_others_go_on() {
    let clock = Stopped::default();
    let tenant_requests = Quota { burst: 5, every: Duration::from_millis(400) };
    let rate_limits = RateLimitSettings { tenant_requests, clock: clock.clock(), ..RateLimitSettings::default() };
    let world = World::with(WorldSettings { rate_limits, ..WorldSettings::default() }).await;
    let (wild, calm) = (world.tenant().await, world.tenant().await);
    for left in (0..5).rev() {
        // Whatever becomes of them.
        let (reply, status) = match left % 2 {
            0 => (wild.get("/v1/sessions").await, 200),
            _ => (wild.get("/v1/sessions/unknown").await, 404),
        };
        assert_eq!(reply.status, status, "{}", reply.body);
        assert_told(&reply, r#""tenant";q=5;w=2"#, &format!(r#""tenant";r={left};t=1"#));
    }
    for reply in [wild.get("/v1/sessions").await, wild.post("/v1/sessions", &json!({"mode": "text"})).await] {
        assert_refused(&reply, "tenant", 1);
    }
    assert_eq!(calm.get("/v1/sessions").await.status, 200);
    clock.pass(Duration::from_millis(400));
    assert_eq!(wild.get("/v1/sessions").await.status, 200);
    assert_refused(&wild.get("/v1/sessions").await, "tenant", 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_trusted_proxy_nobody_chooses_their_address() {
    let rate_limits = RateLimitSettings { clock: Stopped::default().clock(), ..RateLimitSettings::default() };
    let world = World::with(WorldSettings { rate_limits, ..WorldSettings::default() }).await;
    for n in 0..10 {
        assert_eq!(log_in(&world, &format!("192.0.2.{n}"), &format!("{n}@example.com"), "wrong").await.status, 401);
    }
    assert_refused(&log_in(&world, "192.0.2.99", "ada@example.com", "wrong").await, "login", 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_tells_only_what_it_has_seen_itself() {
    let (world, _clock) = limited().await;
    for n in 0..10 {
        // What the client has made up stands to the left of what the proxy adds.
        let told = format!("10.0.0.{n}, 192.0.2.7");
        assert_eq!(log_in(&world, &told, &format!("{n}@example.com"), "wrong").await.status, 401);
    }
    assert_refused(&log_in(&world, "10.0.0.99, 192.0.2.7", "ada@example.com", "wrong").await, "login", 12);
    assert_eq!(log_in(&world, "192.0.2.7, 192.0.2.8", "ada@example.com", "wrong").await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_that_are_off_say_and_refuse_nothing() {
    let world = World::start().await;
    for n in 0..12 {
        let reply = log_in(&world, "192.0.2.7", "ada@example.com", "wrong").await;
        assert_eq!((reply.status, reply.header("ratelimit"), n), (401, "", n));
    }
    let user = world.tenant().await;
    assert_eq!(user.get("/v1/auth/me").await.header("ratelimit-policy"), "");
    assert_ne!(user.tenant, Uuid::nil());
}
