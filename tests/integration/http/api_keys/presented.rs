//! A key is known by its whole text in the one header, and what is not a key of ours is told nothing.

use api::api_keys::ApiKey;
use domain::TenantId;
use reqwest::RequestBuilder;
use tests::{Reply, User, World};
use uuid::Uuid;

use super::{assert_problem, create, knock, raw, revoke, with};
use crate::http::nobody;
use crate::operations::logs::capture_details;

/// All that a client sees, but when and under which id.
fn seen(reply: &Reply) -> (u16, String) {
    let id = reply.body["request_id"].as_str().unwrap();
    (reply.status, reply.body.to_string().replace(id, ""))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_a_whole_key_of_ours_opens_nothing_and_does_not_tell_why() {
    let world = World::start().await;
    let (ada, eve) = (world.tenant().await, world.tenant().await);
    let (key, hers) = (create(&ada, &["read"]).await, create(&eve, &["read"]).await);
    assert_eq!(knock(&key.program).await.status, 200);

    // With true checksums: another secret, unknown ids, ids of another tenant.
    let (tenant, other) = (TenantId(ada.tenant), TenantId(eve.tenant));
    let made_up = [
        (tenant, key.id),
        (tenant, hers.id),
        (other, key.id),
        (tenant, Uuid::now_v7()),
        (TenantId(Uuid::now_v7()), key.id),
        (TenantId(Uuid::nil()), Uuid::nil()),
        (tenant, ada.id),
    ];
    let mut answers = Vec::new();
    for (tenant, id) in made_up {
        let reply = knock(&with(&ada, &ApiKey::new(tenant, id, [0; 32]).text())).await;
        assert_problem(&reply, 401, "unauthorized");
        answers.push(seen(&reply));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");

    // Mistyped, cut, glued together, in another spelling.
    let text = &key.text;
    let crossed = format!("{}{}", &text[..47], &hers.text[47..]);
    for wrong in [
        text[..96].to_owned(),
        format!("{text}A"),
        format!("{text}{text}"),
        text.to_uppercase(),
        format!("{}x{}", &text[..60], &text[61..]),
        crossed,
        "cvl_".into(),
        "cvl_".repeat(400),
        "cvl_\u{e9}".into(),
        text.replacen("cvl_", "cvr_", 1),
        text.replacen("cvl_", "", 1),
    ] {
        let reply = knock(&with(&ada, &wrong)).await;
        assert!(matches!(reply.status, 400 | 401 | 431), "{wrong}: {}", reply.body);
    }
    assert_eq!(knock(&key.program).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_counts_in_the_one_header_alone() {
    let world = World::start().await;
    let ada = world.tenant().await;
    let key = create(&ada, &["read"]).await;
    let (nobody, text): (User, &str) = (nobody(&ada), &key.text);
    let get = |query: &str| nobody.request(reqwest::Method::GET, &format!("/v1/sessions{query}"));
    let attempts: [RequestBuilder; 9] = [
        get(&format!("?api_key={text}")),
        get(&format!("?access_token={text}")),
        get("").header("cookie", format!("api_key={text}; session={text}; __Host-session={text}")),
        get("").header("x-api-key", text),
        get("").header("authorization", text),
        get("").header("authorization", format!("Basic {text}")),
        get("").header("authorization", format!("ApiKey {text}")),
        get("").basic_auth(text, Some("")),
        get("").bearer_auth(text).bearer_auth(text),
    ];
    for attempt in attempts {
        let reply = raw(attempt).await.reply();
        assert_problem(&reply, 401, "unauthorized");
    }
    assert_eq!(raw(get("").header("authorization", format!("bearer  {text} "))).await.status, 200);
}

#[tokio::test]
async fn no_log_line_has_a_key_however_it_is_presented() {
    let (captured, _guard) = capture_details();
    let world = World::start().await;
    let ada = world.tenant().await;
    let key = create(&ada, &["read"]).await;
    let mistyped = format!("{}x{}", &key.text[..50], &key.text[51..]);
    let made_up = ApiKey::new(TenantId(ada.tenant), key.id, [7; 32]).text();
    let presented = [&key.text, &mistyped, &made_up];
    for (text, status) in presented.iter().zip([200, 401, 401]) {
        assert_eq!(knock(&with(&ada, text)).await.status, status);
    }
    assert_problem(&key.program.get("/v1/events").await, 403, "forbidden");
    assert_eq!(revoke(&ada, key.id).await.status, 200);
    assert_problem(&knock(&key.program).await, 401, "unauthorized");
    let log = captured.text();
    assert!(log.contains("the key is mistyped or incomplete"), "the test listens to nobody");
    for text in presented {
        for part in [&text[..], &text[4..47], &text[48..91], &text[51..90]] {
            assert!(!log.contains(part), "{part}");
        }
    }
}
