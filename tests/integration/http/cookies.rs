//! Browsers: a cookie instead of tokens, taken for writes from allowed web pages alone, ignored beside a token, and of no use to a
//! thief once its owner has left.

use api::WebOrigin;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64, Engine as _};
use chrono::TimeDelta;
use domain::tenant::Role;
use domain::{Email, TenantId, UserId};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{PASSWORD, Reply, User, World, WorldSettings, eventually};
use uuid::Uuid;

use super::passwords::email;
use super::{anonymous, assert_problem, head, invitations, member, nobody, now, users};

const NAME: &str = "__Host-convolog";
/// That of the public URL of all nodes.
const OWN: &str = "http://convolog.test";
const APP: &str = "https://app.example.com";

/// A browser that keeps its cookie, and says from which page it asks.
#[derive(Clone)]
struct Browser {
    there: User,
    cookie: String,
}

impl Browser {
    /// What `Set-Cookie` says.
    fn of(there: &User, reply: &Reply) -> Self {
        let cookie = reply.header("set-cookie").split(';').next().unwrap().to_owned();
        assert!(cookie.starts_with(&format!("{NAME}=cvs_")), "{cookie}");
        Self { there: nobody(there), cookie }
    }

    fn with(&self, cookie: &str) -> Self {
        Self { there: self.there.clone(), cookie: format!("{NAME}={cookie}") }
    }

    fn token(&self) -> &str {
        self.cookie.split_once('=').unwrap().1
    }

    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Reply {
        let request = || {
            let request = self.there.request(method.clone(), path).header("cookie", &self.cookie);
            let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
            body.into_iter().fold(request, |request, body| request.json(body))
        };
        self.there.insist(request).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, &[], None).await
    }

    async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send(Method::POST, path, &[("origin", OWN)], Some(body)).await
    }

    async fn status(&self) -> u16 {
        self.get("/v1/auth/me").await.status
    }
}

async fn log_in(there: &User, email: &str) -> (Browser, Reply) {
    let body = json!({"email": email, "password": PASSWORD, "cookie": true});
    let reply = there.insist(|| nobody(there).request(Method::POST, "/v1/auth/login").json(&body)).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    (Browser::of(there, &reply), reply)
}

async fn browser(world: &World) -> (User, Browser) {
    let ada = world.tenant().await;
    let email = email(&ada).await;
    let (browser, _) = log_in(&ada, &email).await;
    (ada, browser)
}

async fn with_app() -> World {
    let allowed_origins = vec![WebOrigin::parse(APP).unwrap()];
    World::with(WorldSettings { apis: 2, allowed_origins, ..WorldSettings::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_is_signed_in_by_a_cookie_that_no_script_reads_and_has_no_tokens() {
    let world = World::start().await;
    let nobody = anonymous(&world);
    let body = json!({
        "tenant_name": "Engines", "email": "ada@example.com", "password": PASSWORD, "name": "Ada", "cookie": true,
    });
    let registered = nobody.post("/v1/auth/register", &body).await;
    let (_, logged_in) = log_in(&nobody, "ada@example.com").await;
    let id = |of: &str| registered.body[of]["id"].as_str().unwrap().parse::<Uuid>().unwrap();
    let email = Email::parse("ada@example.com").unwrap();
    let (token, kept) = api::new_invitation(TenantId(id("tenant")), UserId(id("user")), &email).unwrap();
    invitations::keep(&world, id("tenant"), id("user"), &kept).await;
    let mut browsers = vec![Browser::of(&nobody, &registered), Browser::of(&nobody, &logged_in)];
    for known in &browsers {
        assert_eq!(known.status().await, 200);
    }
    let body = json!({"token": token, "password": PASSWORD, "cookie": true});
    let set = nobody.post("/v1/auth/password/set", &body).await;
    browsers.push(Browser::of(&nobody, &set));
    for reply in [&registered, &logged_in, &set] {
        let rest = reply.header("set-cookie").split_once(';').unwrap().1;
        assert_eq!(rest, " Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=2592000");
        let members: Vec<&String> = reply.body.as_object().unwrap().keys().collect();
        assert_eq!(members, ["tenant", "user"], "{}", reply.body);
    }
    // Whoever chose a password anew has left everywhere else.
    assert_eq!((browsers[0].status().await, browsers[1].status().await), (401, 401));
    let here = &browsers[2];
    let me = here.get("/v1/auth/me").await;
    assert_eq!((me.status, &me.body), (200, &set.body));
    assert!(me.header("set-cookie").is_empty());
    assert_eq!(here.get("/v1/auth/sessions").await.body["data"][0]["current"], true);
    let session = here.post("/v1/sessions", &json!({"mode": "text"})).await;
    assert_eq!(session.status, 201, "{}", session.body);
    // What it holds is stored nowhere, and is no token of another kind; nor is one of those a cookie.
    let rows = "select (select string_agg(s::text, ' ') from auth_sessions s) || (select string_agg(e::text, ' ') from events e)";
    let rows: String = sqlx::query_scalar(rows).fetch_one(&world.database.admin).await.unwrap();
    let secret =
        BASE64.decode(&here.token()[4..]).unwrap()[32..].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert!(!rows.contains(here.token()) && !rows.contains(&secret), "{rows}");
    let mut bearer = nobody.clone();
    bearer.token = Some(here.token().to_owned());
    assert_problem(&bearer.get("/v1/auth/me").await, 401, "unauthorized");
    let refreshed = nobody.post("/v1/auth/refresh", &json!({"refresh_token": here.token()})).await;
    assert_problem(&refreshed, 401, "unauthorized");
    let eve = world.tenant().await;
    assert_eq!(eve.get("/v1/auth/me").await.status, 200);
    assert_problem(&here.with(eve.token.as_ref().unwrap()).get("/v1/auth/me").await, 401, "unauthorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_by_cookie_is_taken_from_allowed_web_pages_alone() {
    let world = with_app().await;
    let (ada, browser) = browser(&world).await;
    let before = head(&world, ada.tenant).await;
    let start = json!({"mode": "text"});
    let foreign: [&[(&str, &str)]; 12] = [
        &[],
        &[("origin", "null")],
        &[("origin", "")],
        &[("origin", "https://evil.example")],
        &[("origin", "https://app.example.com.evil.example")],
        &[("origin", "https://evil-app.example.com")],
        &[("origin", "http://app.example.com")],
        &[("origin", "https://app.example.com:8443")],
        &[("origin", "https://app.example.com/")],
        &[("origin", "https://APP.example.com")],
        &[("origin", OWN), ("origin", OWN)],
        &[("referer", "https://app.example.com/"), ("host", "app.example.com")],
    ];
    for headers in foreign {
        for (method, path) in [
            (Method::POST, "/v1/sessions"),
            (Method::POST, "/v1/auth/logout"),
            (Method::POST, "/v1/auth/password/change"),
            (Method::DELETE, "/v1/auth/sessions/01890a5d-ac96-774b-bcce-b302099a8057"),
        ] {
            let reply = browser.send(method, path, headers, Some(&start)).await;
            assert_problem(&reply, 403, "origin_not_allowed");
        }
        // What changes nothing may be asked from anywhere; whether a script may read it is the browser's to decide.
        assert_eq!(browser.send(Method::GET, "/v1/auth/me", headers, None).await.status, 200, "{headers:?}");
    }
    assert_eq!(head(&world, ada.tenant).await, before);
    for origin in [OWN, APP] {
        let reply = browser.send(Method::POST, "/v1/sessions", &[("origin", origin)], Some(&start)).await;
        assert_eq!(reply.status, 201, "{}", reply.body);
    }
    // A token is nothing that a browser adds by itself.
    let reply = ada.post_with("/v1/sessions", &[("origin", "https://evil.example")], &start).await;
    assert_eq!(reply.status, 201, "{}", reply.body);
    // Nobody's page signs its visitors in to an account of its own.
    let email = email(&ada).await;
    for (origin, cookie, status) in
        [(APP, true, 200), ("https://evil.example", true, 403), ("null", true, 403), ("null", false, 200)]
    {
        let body = json!({"email": email, "password": PASSWORD, "cookie": cookie});
        let reply = nobody(&ada).post_with("/v1/auth/login", &[("origin", origin)], &body).await;
        assert_eq!(
            (reply.status, reply.header("set-cookie").is_empty()),
            (status, !cookie || status == 403),
            "{origin}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_authorization_a_cookie_is_nothing() {
    let world = World::start().await;
    let (_, browser) = browser(&world).await;
    let eve = world.tenant().await;
    let bearer = format!("Bearer {}", eve.token.as_ref().unwrap());
    let doubled = Browser { cookie: format!("{0}; {0}", browser.cookie), ..browser.clone() };
    for browser in [&browser, &doubled] {
        let me = browser.send(Method::GET, "/v1/auth/me", &[("authorization", &bearer)], None).await;
        assert_eq!(me.body["tenant"]["id"], json!(eve.tenant), "{}", me.body);
        let (token, start) = ([("authorization", bearer.as_str())], json!({"mode": "text"}));
        assert_eq!(browser.send(Method::POST, "/v1/sessions", &token, Some(&start)).await.status, 201);
    }
    for useless in ["", "Bearer", "Bearer x", "Basic YTpi", &format!("Bearer {}", browser.token())] {
        let reply = browser.send(Method::GET, "/v1/auth/me", &[("authorization", useless)], None).await;
        assert_problem(&reply, 401, "unauthorized");
    }
    // Who leaves by a token leaves the browser alone.
    let out = browser.send(Method::POST, "/v1/auth/logout", &[("authorization", &bearer)], Some(&json!({}))).await;
    assert_eq!((out.status, out.header("set-cookie")), (200, ""));
    assert_eq!((browser.status().await, eve.get("/v1/auth/me").await.status), (200, 401));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_cookie_is_good_for_nothing_once_its_owner_has_left() {
    let world = with_app().await;
    let (ada, browser) = browser(&world).await;
    let email = email(&ada).await;
    let (tablet, _) = log_in(&ada, &email).await;
    let mut there = browser.clone();
    there.there = there.there.at(world.url(1));
    assert_eq!((browser.status().await, there.status().await, tablet.status().await), (200, 200, 200));
    let stream = there.there.request(Method::GET, "/v1/events/stream").header("cookie", &there.cookie);
    let mut stream = stream.send().await.unwrap();
    assert_eq!(stream.status(), 200);
    let out = browser.post("/v1/auth/logout", &json!({})).await;
    assert_eq!(out.status, 200, "{}", out.body);
    let cleared = format!("{NAME}=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0");
    assert_eq!(out.header("set-cookie"), cleared);
    assert_problem(&browser.get("/v1/auth/me").await, 401, "unauthorized");
    eventually("the other node refuses it, too", async || there.status().await == 401).await;
    let rest = async { while stream.chunk().await.unwrap().is_some() {} };
    tokio::time::timeout(std::time::Duration::from_secs(30), rest).await.expect("its stream ends");
    // The others stay, until they leave as well.
    assert_eq!(tablet.status().await, 200);
    assert_eq!(tablet.post("/v1/auth/logout-all", &json!({})).await.header("set-cookie"), cleared);
    assert_eq!((tablet.status().await, ada.get("/v1/auth/me").await.status), (401, 401));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_cookies_are_none_and_parts_of_two_are_none() {
    let world = World::start().await;
    let (_, ada) = browser(&world).await;
    let (_, eve) = browser(&world).await;
    for cookie in [
        format!("{0}; {0}", ada.cookie),
        format!("{}; {}", ada.cookie, eve.cookie),
        format!("{}; {NAME}=", ada.cookie),
        format!("{NAME}; {}", ada.cookie),
    ] {
        let both = Browser { cookie, ..ada.clone() };
        assert_problem(&both.get("/v1/auth/me").await, 401, "unauthorized");
    }
    let two_lines = ada.send(Method::GET, "/v1/auth/me", &[("cookie", &eve.cookie)], None).await;
    assert_problem(&two_lines, 401, "unauthorized");
    let beside = Browser { cookie: format!("a=b; {}; convolog=x", ada.cookie), ..ada.clone() };
    assert_eq!(beside.status().await, 200);
    // Tenant, sign-in, secret of the one and of the other, in all ways.
    let bytes = [&ada, &eve].map(|it| BASE64.decode(&it.token()[4..]).unwrap());
    let (tenant, sign_in, secret) = (0..16, 16..32, 32..64);
    for mix in 1..7_usize {
        let of = |part: usize| &bytes[(mix >> part) & 1];
        let mixed = [&of(0)[tenant.clone()], &of(1)[sign_in.clone()], &of(2)[secret.clone()]].concat();
        let mixed = ada.with(&format!("cvs_{}", BASE64.encode(mixed)));
        assert_problem(&mixed.get("/v1/auth/me").await, 401, "unauthorized");
    }
    for wrong in ["", "cvs_", "x", &ada.token()[4..], &format!("\"{}\"", ada.token()), &format!("{}A", ada.token())] {
        assert_problem(&ada.with(wrong).get("/v1/auth/me").await, 401, "unauthorized");
    }
    assert_eq!((ada.status().await, eve.status().await), (200, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_changes_its_password_stays_by_another_cookie_and_all_others_go() {
    let world = with_app().await;
    let (ada, browser) = browser(&world).await;
    let email = email(&ada).await;
    let (tablet, _) = log_in(&ada, &email).await;
    let mut there = browser.clone();
    there.there = there.there.at(world.url(1));
    assert_eq!((there.status().await, tablet.status().await), (200, 200));
    let body = json!({"current_password": PASSWORD, "new_password": "nobody guesses that one either"});
    let changed = browser.post("/v1/auth/password/change", &body).await;
    assert_eq!((changed.status, &changed.body["ended"]), (200, &json!(2)), "{}", changed.body);
    let renewed = Browser::of(&ada, &changed);
    assert!(changed.header("set-cookie").contains("; Max-Age=25"), "{}", changed.header("set-cookie"));
    // What a thief may have had by then is good for nothing: here at once, and nobody is told of the new one.
    assert_problem(&browser.get("/v1/auth/me").await, 401, "unauthorized");
    assert_eq!((renewed.status().await, tablet.status().await), (200, 401));
    assert_problem(&ada.get("/v1/auth/me").await, 401, "unauthorized");
    eventually("the other node refuses it, too", async || there.status().await == 401).await;
}

/// What `Set-Cookie` of the next answer says, if anything.
async fn renewed(browser: &Browser) -> Option<Browser> {
    let me = browser.get("/v1/auth/me").await;
    assert_eq!(me.status, 200, "{}", me.body);
    (!me.header("set-cookie").is_empty()).then(|| Browser::of(&browser.there, &me))
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_another_role_gets_another_cookie_and_the_former_one_is_good_for_nothing() {
    let world = with_app().await;
    let ada = world.tenant().await;
    let user = member(&ada, Role::Member).await;
    let email = email(&user).await;
    let (browser, _) = log_in(&user, &email).await;
    let mut there = browser.clone();
    there.there = there.there.at(world.url(1));
    assert!(renewed(&browser).await.is_none() && renewed(&there).await.is_none());
    let changed = users::change(&ada, user.id, json!({"role": "admin"})).await;
    assert_eq!(changed.status, 200, "{}", changed.body);
    let after = renewed(&browser).await.expect("here at once");
    assert_ne!(after.token(), browser.token());
    assert_eq!(after.get("/v1/auth/me").await.body["user"]["role"], "admin");
    assert!(renewed(&after).await.is_none());
    // Requests that were under way with the former one are answered, for a moment.
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    assert!(renewed(&there).await.is_none());
    let earlier = "update auth_sessions set rotated_at = rotated_at - interval '11 seconds' where tenant_id = $1 and parent_hash is not null";
    assert_eq!(sqlx::query(earlier).bind(ada.tenant).execute(&world.database.admin).await.unwrap().rows_affected(), 1);
    eventually("the former one is good for nothing", async || {
        browser.status().await == 401 && there.status().await == 401
    })
    .await;
    assert!(renewed(&after).await.is_none());
}

/// As if the browser's sign-in had begun so long ago, and its end were so far off.
async fn shift(world: &World, tenant: Uuid, age: TimeDelta, left: TimeDelta) {
    let sql =
        "update auth_sessions set created_at = $2, expires_at = $3 where tenant_id = $1 and cookie_hash is not null";
    let query = sqlx::query(sql).bind(tenant).bind(now() - age).bind(now() + left);
    assert_eq!(query.execute(&world.database.admin).await.unwrap().rows_affected(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_that_is_used_lasts_longer_but_not_for_ever() {
    let world = World::start().await;
    for (age, left, lasts) in [
        (TimeDelta::hours(23), TimeDelta::days(30) - TimeDelta::hours(23), None),
        (TimeDelta::hours(25), TimeDelta::days(30) - TimeDelta::hours(25), Some(TimeDelta::days(30))),
        (TimeDelta::days(29), TimeDelta::days(1), Some(TimeDelta::days(30))),
        (TimeDelta::days(170), TimeDelta::days(2), Some(TimeDelta::days(10))),
        (TimeDelta::days(179), TimeDelta::days(1), None),
    ] {
        let (ada, browser) = browser(&world).await;
        shift(&world, ada.tenant, age, left).await;
        let first = browser.get("/v1/auth/me").await;
        assert_eq!(first.status, 200, "{age}: {}", first.body);
        let told = first.header("set-cookie").to_owned();
        match lasts {
            None => assert_eq!(told, "", "{age}"),
            Some(lasts) => {
                assert!(told.starts_with(&format!("{}; Path=/;", browser.cookie)), "{told}");
                let seconds: i64 = told.rsplit("Max-Age=").next().unwrap().parse().unwrap();
                assert!((0..=60).contains(&(lasts.num_seconds() - seconds)), "{age}: {told}");
            }
        }
        let ends: chrono::DateTime<chrono::Utc> =
            sqlx::query_scalar("select expires_at from auth_sessions where tenant_id = $1 and cookie_hash is not null")
                .bind(ada.tenant)
                .fetch_one(&world.database.admin)
                .await
                .unwrap();
        assert!((now() + lasts.unwrap_or(left) - ends).abs() < TimeDelta::minutes(1), "{age}: {ends}");
        assert_eq!(browser.get("/v1/auth/me").await.header("set-cookie"), "");
    }
    let (ada, browser) = browser(&world).await;
    shift(&world, ada.tenant, TimeDelta::days(30), -TimeDelta::seconds(1)).await;
    assert_problem(&browser.get("/v1/auth/me").await, 401, "unauthorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_of_allowed_origins_may_read_and_no_others() {
    let (world, closed) = tokio::join!(with_app(), World::start());
    let (_, browser) = browser(&world).await;
    let preflight = |origin: &'static str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type,idempotency-key"),
        ];
        let nobody = browser.with("");
        async move { nobody.send(Method::OPTIONS, "/v1/sessions", &headers, None).await }
    };
    let answer = preflight(APP).await;
    assert!(answer.status < 300, "{}", answer.status);
    assert_eq!(answer.header("access-control-allow-origin"), APP);
    assert_eq!(answer.header("access-control-allow-credentials"), "true");
    assert!(answer.header("access-control-allow-methods").contains("POST"));
    assert!(answer.header("access-control-allow-headers").contains("idempotency-key"));
    for (path, status) in [("/v1/auth/me", 200), ("/v1/sessions/x", 404)] {
        let reply = browser.send(Method::GET, path, &[("origin", APP)], None).await;
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (status, APP), "{}", reply.body);
        assert_eq!(reply.header("access-control-allow-credentials"), "true");
        assert!(reply.header("access-control-expose-headers").contains("convolog-seq"));
        assert!(
            reply.headers.get_all("vary").iter().any(|vary| vary.to_str().unwrap().to_lowercase().contains("origin"))
        );
    }
    let refused = anonymous(&world).post_with("/v1/sessions", &[("origin", APP)], &json!({})).await;
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, APP));
    for foreign in ["https://evil.example", "null", "https://app.example.com.evil.example", "http://app.example.com"] {
        let reply = browser.send(Method::GET, "/v1/auth/me", &[("origin", foreign)], None).await;
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (200, ""), "{foreign}");
        assert_eq!(preflight(foreign).await.header("access-control-allow-origin"), "", "{foreign}");
    }
    // Where no origin is allowed nobody is told anything.
    let reply = anonymous(&closed).post_with("/v1/auth/login", &[("origin", APP)], &json!({})).await;
    assert!(reply.headers.keys().all(|name| !name.as_str().starts_with("access-control-")), "{:?}", reply.headers);
}
