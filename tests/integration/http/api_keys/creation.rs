//! A key is shown once and its secret is nowhere else, whoever may create one creates it once, and nothing half-right is taken.

use api::api_keys::ApiKey;
use chrono::TimeDelta;
use domain::tenant::Role;
use serde_json::json;
use tests::World;
use uuid::Uuid;

use super::{PATH, ask, assert_problem, create, head, keyed, knock, list, member, pointers, revoke};
use crate::http::now;

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_shown_once_and_what_is_kept_does_not_lead_to_it() {
    let world = World::start().await;
    let ada = world.tenant().await;
    let before = head(&world, ada.tenant).await;
    let expires_at = now() + TimeDelta::days(365);
    let body = json!({
        "name": "  Billing ", "scopes": ["events:read", "read", "costs:read", "read"], "expires_at": expires_at,
    });
    let created = ask(&ada, &body).await;
    let text = created.body["key"].as_str().unwrap();
    assert_eq!(created.body, json!({"id": created.id(), "seq": before + 1, "key": text}));
    assert_eq!((created.status, created.header("cache-control"), created.header("location")), (201, "no-store", ""));
    assert!(text.len() == 97 && text.starts_with("cvl_"), "{text}");
    let older = create(&ada, &["write"]).await;

    let listed = list(&ada).await;
    assert_eq!((listed.len(), &listed[0]["id"]), (2, &json!(older.id)), "the newest first");
    let it = &listed[1];
    assert_eq!((&it["name"], &it["id"]), (&json!("Billing"), &json!(created.id())));
    assert_eq!(it["scopes"], json!(["read", "costs:read", "events:read"]));
    assert_eq!((&it["created_by"], &it["last_used_at"]), (&json!(ada.id), &json!(null)));
    assert_eq!(it["expires_at"].as_str().unwrap()[..19], expires_at.to_rfc3339()[..19]);
    assert_eq!(older.program.get("/v1/events").await.status, 403);

    let event = ada.events().await.pop().unwrap();
    assert_eq!((&event["type"], &event["actorid"]), (&json!("convolog.user.api_key_created.v1"), &json!(ada.id)));
    assert_eq!(event["data"], json!({"key_id": older.id, "name": "A program", "scopes": ["write"]}));

    let everything: String = sqlx::query_scalar(
        "select string_agg(t, ' ') from (
           select e::text as t from events e union all select k::text from api_keys k
           union all select i::text from idempotency_keys i union all select c::text from claims c) all_rows",
    )
    .fetch_one(&world.database.admin)
    .await
    .unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let said = json!([listed, ada.events().await]).to_string();
    for text in [text, &older.text] {
        let secret = base64::Engine::decode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, &text[48..91]).unwrap();
        let hash = hex(&ApiKey::parse(text).unwrap().hash());
        assert!(everything.contains(&hash) && !said.contains(&hash), "the test looks for the wrong thing");
        for shown in [&text[48..91], text, &hex(&secret)] {
            assert!(!everything.contains(shown) && !said.contains(shown), "{shown} in {everything} or {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_a_keys_description_is_refused_with_its_place() {
    let world = World::start().await;
    let ada = world.tenant().await;
    let before = head(&world, ada.tenant).await;
    let good = json!({"name": "A program", "scopes": ["read"]});
    let [second, five_years] = [TimeDelta::seconds(1), TimeDelta::days(5 * 366)];
    for (member, wrong) in [
        ("name", json!("")),
        ("name", json!(" \t ")),
        ("name", json!("x".repeat(201))),
        ("scopes", json!([])),
        ("scopes", json!(["read", "read", "read", "read", "read", "read"])),
        ("scopes/0", json!(["admin"])),
        ("scopes/1", json!(["read", {"read": null}])),
        ("expires_at", json!(now() - second)),
        ("expires_at", json!(now() + five_years + TimeDelta::minutes(5))),
        ("expires_at", json!("+262142-12-31T23:59:59Z")),
        ("expires_at", json!("-262143-01-01T00:00:00Z")),
        ("expires_at", json!("tomorrow")),
        ("id", json!(Uuid::nil())),
        ("id", json!("one")),
        ("key", json!("cvl_")),
    ] {
        let mut body = good.clone();
        body[member.split('/').next().unwrap()] = wrong.clone();
        let reply = ask(&ada, &body).await;
        assert_problem(&reply, 422, "validation_failed");
        assert_eq!(pointers(&reply), [format!("/{member}")], "{wrong}: {}", reply.body);
    }
    for missing in ["name", "scopes"] {
        let mut body = good.clone();
        body.as_object_mut().unwrap().remove(missing);
        assert_problem(&ask(&ada, &body).await, 422, "validation_failed");
    }
    assert_eq!(head(&world, ada.tenant).await, before);
    let mut longest = good.clone();
    (longest["name"], longest["expires_at"]) =
        (json!("ä".repeat(200)), json!(now() + five_years - TimeDelta::minutes(5)));
    assert_eq!(ask(&ada, &longest).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_one_users_or_one_keys_for_ever() {
    let world = World::start().await;
    let (ada, eve) = (world.tenant().await, world.tenant().await);
    let (key, gone) = (create(&ada, &["read"]).await, create(&ada, &["read"]).await);
    assert_eq!(revoke(&ada, gone.id).await.status, 200);
    let before = head(&world, ada.tenant).await;
    let with_id = |id: Uuid| json!({"id": id, "name": "Another", "scopes": ["write"]});
    for taken in [ada.id, key.id, gone.id] {
        assert_problem(&ask(&ada, &with_id(taken)).await, 409, "id_taken");
    }
    assert_eq!(head(&world, ada.tenant).await, before);
    assert_eq!(knock(&key.program).await.status, 200, "it is as it was");
    assert_eq!(list(&ada).await.len(), 1);
    // Another tenant never notices.
    for id in [ada.id, key.id, gone.id] {
        let reply = ask(&eve, &with_id(id)).await;
        assert_eq!((reply.status, reply.id()), (201, id), "{}", reply.body);
    }
    assert_eq!(knock(&key.program).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_and_a_revocation_happen_once_and_the_secret_is_not_told_again() {
    let world = World::start().await;
    let ada = world.tenant().await;
    let body = json!({"name": "A program", "scopes": ["read"], "expires_at": now() + TimeDelta::hours(1)}).to_string();
    let first = keyed(&ada, PATH, "k", &body).await;
    assert_eq!((first.status, first.header("idempotency-replayed")), (201, ""), "{}", first.text);
    let first = first.reply();
    let delete = async |key: &str| {
        let request = ada.request(reqwest::Method::DELETE, &format!("{PATH}/{}", first.id()));
        ada.send(request.header("idempotency-key", key)).await
    };
    for _ in 0..2 {
        let again = keyed(&ada, PATH, "k", &body).await;
        assert_eq!((again.status, again.header("idempotency-replayed")), (201, "true"), "{}", again.text);
        assert_eq!(again.reply().body, json!({"id": first.id(), "seq": first.seq()}), "without `key`");
        assert_problem(
            &keyed(&ada, PATH, "k", &body.replace("read", "write")).await.reply(),
            422,
            "idempotency_key_reused",
        );
        assert_eq!(list(&ada).await.len(), 1);
    }
    let revoked = delete("d").await;
    assert_eq!(revoked.body, json!({"id": first.id(), "seq": first.seq() + 1}));
    let again = delete("d").await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (200, "true"));
    assert_eq!(again.body, revoked.body);
    assert_problem(&delete("k").await, 422, "idempotency_key_reused");
    assert_problem(&delete("another").await, 404, "not_found");
    // Though there is nothing left of it.
    let again = keyed(&ada, PATH, "k", &body).await.reply();
    assert_eq!((again.status, again.id(), &again.body["key"]), (201, first.id(), &json!(null)));
    assert!(list(&ada).await.is_empty());
    assert_eq!(head(&world, ada.tenant).await, revoked.seq());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_is_asked_when_it_is_written_and_not_only_before() {
    let world = World::start().await;
    let owner = world.tenant().await;
    let admin = member(&owner, Role::Admin).await;
    let member = member(&owner, Role::Member).await;
    let key = create(&admin, &["read"]).await;
    for (method, path) in [("GET", PATH.to_owned()), ("POST", PATH.into()), ("DELETE", format!("{PATH}/{}", key.id))] {
        let request = member.request(method.parse().unwrap(), &path);
        assert_problem(&member.send(request.json(&json!({}))).await, 403, "forbidden");
    }
    let before = head(&world, owner.tenant).await;
    // The node remembers that they are an admin, for some seconds.
    sqlx::query("update users set role = 'member' where id = $1")
        .bind(admin.id)
        .execute(&world.database.admin)
        .await
        .unwrap();
    assert_problem(&ask(&admin, &json!({"name": "More", "scopes": ["read"]})).await, 403, "forbidden");
    assert_problem(&revoke(&admin, key.id).await, 403, "forbidden");
    assert_eq!(head(&world, owner.tenant).await, before);
    assert_eq!(knock(&key.program).await.status, 200);
}
