//! A token opens one tenant for five minutes, and nothing that merely looks like one opens anything.

use api::tokens::KeySet;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use domain::tenant::Role;
use jsonwebtoken::{Algorithm, crypto::sign};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{User, World};
use uuid::Uuid;

use super::{assert_problem, grant, head, issuer, keys, nobody, now, raw, routes, signed_in};

fn encoded(value: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}

pub(super) fn decoded(part: &str) -> Value {
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// The token with some members of header and claims changed, its signature as it was.
fn changed(token: &str, header: &Value, claims: &Value) -> String {
    let parts: Vec<&str> = token.split('.').collect();
    let merge = |part: &str, with: &Value| {
        let mut value = decoded(part);
        value.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
        encoded(&value)
    };
    format!("{}.{}.{}", merge(parts[0], header), merge(parts[1], claims), parts[2])
}

/// Truly signed by the nodes' own key, whatever it says.
fn signed(by: &KeySet, header: &Value, claims: &Value) -> String {
    let message = format!("{}.{}", encoded(header), encoded(claims));
    format!("{message}.{}", sign(message.as_bytes(), by.signer().key(), Algorithm::EdDSA).unwrap())
}

/// Tokens of our own key that do not say what ours say.
fn signed_but_wrong(by: &KeySet, header: &Value, claims: &Value) -> Vec<String> {
    let change = |of: &Value, member: &str, to: &Value| {
        let mut of = of.clone();
        if to.is_null() {
            of.as_object_mut().unwrap().remove(member);
        } else {
            of[member] = to.clone();
        }
        of
    };
    let exp = claims["exp"].as_i64().unwrap();
    let headers = [
        ("alg", json!("none")),
        ("alg", json!("HS256")),
        ("alg", json!("ES256")),
        ("typ", json!("JWT")),
        ("typ", Value::Null),
        ("kid", Value::Null),
        ("kid", json!("")),
        ("kid", json!("../../etc/passwd")),
        ("crit", json!(["exp"])),
    ];
    let wrong = [
        ("exp", json!(exp - 306)),
        ("exp", json!(exp.to_string())),
        ("exp", json!(i64::MAX)),
        ("nbf", json!(exp)),
        ("iss", json!("http://evil.test")),
        ("aud", json!("http://evil.test")),
        ("role", json!("root")),
        ("tid", json!("x")),
    ];
    let missing =
        ["iss", "aud", "sub", "sid", "tid", "role", "iat", "nbf", "exp", "jti"].map(|claim| (claim, Value::Null));
    let headers = headers.iter().map(|(member, to)| signed(by, &change(header, member, to), claims));
    headers
        .chain(wrong.iter().chain(&missing).map(|(member, to)| signed(by, header, &change(claims, member, to))))
        .collect()
}

async fn assert_refused(user: &User, authorization: &[&[u8]]) {
    let stranger = nobody(user);
    let routes = routes::all().into_iter().filter(|route| !route.is_open());
    for (route, method) in routes.flat_map(|route| route.methods.clone().into_iter().map(move |it| (route.clone(), it)))
    {
        let mut request = stranger.request(method.clone(), &route.with(&Uuid::nil().to_string()));
        if method != Method::GET {
            request = request.json(&route.body());
        }
        for value in authorization {
            request = request.header("authorization", reqwest::header::HeaderValue::from_bytes(value).unwrap());
        }
        let reply = raw(request).await.reply();
        assert_problem(&reply, 401, "unauthorized");
        assert_eq!(reply.header("www-authenticate"), "Bearer");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_our_token_opens_nothing() {
    let world = World::start().await;
    let (ada, eve) = (world.tenant().await, world.tenant().await);
    let token = ada.token.clone().unwrap();
    let before = head(&world, ada.tenant).await;
    let parts: Vec<&str> = token.split('.').collect();
    let kid = &decoded(parts[0])["kid"];
    let owner = grant(&ada);
    let own = keys(&world).await;
    let issue = |tokens: api::tokens::Tokens, minutes: i64| {
        tokens.issue(owner, Uuid::now_v7(), now() + TimeDelta::minutes(minutes)).unwrap()
    };
    let foreign = issue(issuer(&world, None, Some([9; 32])).await, 0);
    let foreign_parts: Vec<&str> = foreign.split('.').collect();
    let flipped = if parts[2].starts_with('A') { 'B' } else { 'A' };
    let bad = [
        issue(issuer(&world, None, None).await, -6),
        issue(issuer(&world, None, None).await, 60),
        issue(issuer(&world, Some("http://evil.test"), None).await, 0),
        foreign.clone(),
        // Another's signature under our key's name.
        format!("{}.{}.{}", parts[0], foreign_parts[1], foreign_parts[2]),
        changed(&token, &json!({}), &json!({"tid": eve.tenant})),
        changed(&token, &json!({}), &json!({"role": "owner", "exp": 99_999_999_999_u64})),
        changed(&token, &json!({"alg": "none"}), &json!({})),
        format!("{}.{}.", encoded(&json!({"alg": "none", "typ": "at+jwt", "kid": kid})), parts[1]),
        changed(&token, &json!({"alg": "HS256"}), &json!({})),
        changed(&token, &json!({"typ": "JWT"}), &json!({})),
        changed(&token, &json!({"jku": "http://evil.test/jwks.json"}), &json!({})),
        format!("{}.{}.{flipped}{}", parts[0], parts[1], &parts[2][1..]),
        format!("{}.{}", parts[0], parts[1]),
        format!("{token}.{token}"),
        format!("{token}x"),
        "x".repeat(5000),
        "..".into(),
        "cvl_0_0".into(),
    ];
    for token in bad.iter().chain(&signed_but_wrong(&own, &decoded(parts[0]), &decoded(parts[1]))) {
        assert_refused(&ada, &[format!("Bearer {token}").as_bytes()]).await;
    }
    for value in ["", "Bearer", "Bearer ", "Basic YTpi", &token, &format!("Token {token}"), &format!("Bearer{token}")] {
        assert_refused(&ada, &[value.as_bytes()]).await;
    }
    assert_refused(&ada, &[b"Bearer \xff\xfe"]).await;
    let (mine, hers) = (format!("Bearer {token}"), format!("Bearer {}", eve.token.as_ref().unwrap()));
    assert_refused(&ada, &[mine.as_bytes(), hers.as_bytes()]).await;
    assert_refused(&ada, &[]).await;
    assert_eq!(head(&world, ada.tenant).await, before);

    let signed_here = signed(&own, &decoded(parts[0]), &decoded(parts[1]));
    let old = issue(issuer(&world, None, None).await, -4);
    for good in
        [mine.clone(), mine.replace("Bearer", "bearer"), format!("Bearer {old}"), format!("Bearer {signed_here}")]
    {
        let stranger = nobody(&ada);
        let reply = raw(stranger.request(Method::GET, "/v1/auth/me").header("authorization", good)).await.reply();
        assert_eq!((reply.status, &reply.body["tenant"]["id"]), (200, &json!(ada.tenant)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_travels_in_its_header_only() {
    let world = World::start().await;
    let ada = world.tenant().await;
    let token = ada.token.as_ref().unwrap();
    let stranger = nobody(&ada);
    for path in [format!("/v1/auth/me?access_token={token}"), format!("/v1/auth/me?authorization=Bearer%20{token}")] {
        assert_problem(&stranger.get(&path).await, 401, "unauthorized");
    }
    let cookie = stranger.request(Method::GET, "/v1/auth/me").header("cookie", format!("access_token={token}"));
    assert_problem(&raw(cookie).await.reply(), 401, "unauthorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_token_of_a_user_or_tenant_that_is_gone_is_no_way_in() {
    let world = World::start().await;
    let ada = world.tenant().await;
    let gone = signed_in(&world, &ada, ada.tenant, Uuid::now_v7(), Role::Owner).await;
    assert_problem(&gone.get("/v1/auth/me").await, 401, "unauthorized");
    let nowhere = signed_in(&world, &ada, Uuid::now_v7(), ada.id, Role::Owner).await;
    assert_problem(&nowhere.get("/v1/auth/me").await, 401, "unauthorized");
    for path in ["/v1/sessions", "/v1/events", "/v1/costs"] {
        assert_problem(&nowhere.get(path).await, 401, "unauthorized");
    }
    assert_problem(&nowhere.post("/v1/sessions", &json!({"mode": "text"})).await, 401, "unauthorized");
}
