//! The tenant itself: its name, plan and settings, by whom they are changed and what is refused.

use domain::tenant::Role;
use reqwest::Method;
use serde_json::{Value, json};
use tests::{Reply, User, World};

use super::{assert_problem, head, member};

async fn change(by: &User, change: Value) -> Reply {
    by.send(by.request(Method::PATCH, "/v1/tenant").json(&change)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_read_and_changed() {
    let world = World::start().await;
    let ada = world.tenant().await;
    let before = ada.get("/v1/tenant").await;
    assert_eq!(
        (&before.body["plan"], &before.body["settings"], before.header("etag")),
        (&json!("starter"), &json!({"version": 1, "language": null, "timezone": null, "currency": null}), "\"1\"")
    );
    let settings = json!({"version": 1, "language": "de-AT", "timezone": "Europe/Vienna", "currency": "EUR"});
    let all = json!({
        "name": " Looms ", "plan": "business", "settings": settings, "stripe_customer_id": "cus_1",
        "stripe_subscription_id": "sub_1",
    });
    assert_eq!(change(&ada, all).await.status, 200);
    let after = ada.get("/v1/tenant").await.body;
    assert_eq!(
        (&after["name"], &after["plan"], &after["settings"], &after["stripe_customer_id"]),
        (&json!("Looms"), &json!("business"), &settings, &json!("cus_1"))
    );
    // Each by itself leaves the others as they are.
    assert_eq!(change(&ada, json!({"stripe_customer_id": null})).await.status, 200);
    let mut expected = after.clone();
    (expected["stripe_customer_id"], expected["version"]) =
        (Value::Null, json!(after["version"].as_u64().unwrap() + 1));
    assert_eq!(ada.get("/v1/tenant").await.body, expected);
    assert_eq!(ada.get("/v1/auth/me").await.body["tenant"]["plan"], "business");
    let stale = ada.request(Method::PATCH, "/v1/tenant").header("if-match", "\"1\"").json(&json!({"name": "x"}));
    assert_problem(&ada.send(stale).await, 412, "version_mismatch");
}

#[tokio::test(flavor = "multi_thread")]
async fn plan_and_stripe_are_for_owners_and_members_change_nothing() {
    let world = World::start().await;
    let ada = world.tenant().await;
    let (admin, plain) = (member(&ada, Role::Admin).await, member(&ada, Role::Member).await);
    let before = head(&world, ada.tenant).await;
    for body in
        [json!({"plan": "growth"}), json!({"stripe_customer_id": "cus_1"}), json!({"name": "x", "plan": "growth"})]
    {
        assert_problem(&change(&admin, body).await, 403, "forbidden");
    }
    assert_problem(&change(&plain, json!({"name": "x"})).await, 403, "forbidden");
    assert_eq!(head(&world, ada.tenant).await, before);
    assert_eq!(change(&admin, json!({"name": "x"})).await.status, 200);
    assert_eq!(plain.get("/v1/tenant").await.body["name"], "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_named_and_changes_nothing() {
    let world = World::start().await;
    let ada = world.tenant().await;
    let before = head(&world, ada.tenant).await;
    for (body, pointer) in [
        (json!({"name": " "}), "/name"),
        (json!({"plan": "gold"}), "/plan"),
        (json!({"settings": {}}), "/settings/version"),
        (json!({"settings": {"version": 2}}), "/settings/version"),
        (json!({"settings": {"version": 1, "language": "de_AT"}}), "/settings/language"),
        (json!({"settings": {"version": 1, "timezone": "Mars/Olympus"}}), "/settings/timezone"),
        (json!({"settings": {"version": 1, "currency": "eur"}}), "/settings/currency"),
        (json!({"settings": {"version": 1, "colour": "red"}}), "/settings/colour"),
        (json!({"stripe_customer_id": "sub_1"}), "/stripe_customer_id"),
        (json!({"stripe_subscription_id": "sub_"}), "/stripe_subscription_id"),
        (json!({"stripe_customer_id": format!("cus_{}", "x".repeat(252))}), "/stripe_customer_id"),
        (json!({}), ""),
    ] {
        let reply = change(&ada, body.clone()).await;
        assert_problem(&reply, 422, "validation_failed");
        assert_eq!(reply.body["errors"][0]["pointer"], pointer, "{body}");
    }
    assert_eq!(head(&world, ada.tenant).await, before);
}
