//! How many keys a tenant has, also when many are made at once, and that what they ask counts as the tenant's.

use std::time::Duration;

use api::RateLimitSettings;
use api::rate_limits::Quota;
use futures_util::future::join_all;
use serde_json::json;
use store::MAX_API_KEYS;
use tests::{World, WorldSettings};

use super::{PATH, ask, assert_problem, create, head, keyed, list, revoke, two_apis};
use crate::http::until_wait_for_locks;

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_a_hundred_keys_and_of_those_who_want_the_last_ones_no_more_get_them() {
    let world = World::with(two_apis()).await;
    let (ada, eve) = (world.tenant().await, world.tenant().await);
    let body = r#"{"name":"A program","scopes":["read"]}"#;
    let first = keyed(&ada, PATH, "k", body).await;
    sqlx::query(
        "insert into api_keys
         select tenant_id, gen_random_uuid(), name, scopes, secret_hash, created_by, created_at
         from api_keys, generate_series(1, $2) where tenant_id = $1",
    )
    .bind(ada.tenant)
    .bind(i32::try_from(MAX_API_KEYS).unwrap() - 3)
    .execute(&world.database.admin)
    .await
    .unwrap();
    let before = head(&world, ada.tenant).await;
    let nodes = [ada.clone(), ada.at(world.url(1))];
    let wanted = json!({"name": "A program", "scopes": ["read"]});
    // Several have begun before the first goes on.
    let mut held = world.database.admin.begin().await.unwrap();
    sqlx::query("select 1 from users where id = $1 for update").bind(ada.id).execute(&mut *held).await.unwrap();
    let release = async {
        until_wait_for_locks(&world, 4).await;
        held.rollback().await.unwrap();
    };
    let (replies, ()) = tokio::join!(join_all((0..12).map(|n| ask(&nodes[n % 2], &wanted))), release);
    let (created, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 201);
    assert_eq!((created.len(), refused.len()), (2, 10));
    for reply in refused {
        assert_problem(reply, 409, "too_many");
        assert_eq!(reply.body["detail"], "A tenant has at most 100 API keys: revoke one first.");
    }
    assert_eq!((list(&ada).await.len(), head(&world, ada.tenant).await), (MAX_API_KEYS, before + 2));
    // What was answered stays so.
    let again = keyed(&ada, PATH, "k", body).await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (201, "true"), "{}", again.text);
    assert_eq!(ask(&eve, &wanted).await.status, 201);
    assert_eq!(revoke(&ada, first.reply().id()).await.status, 200);
    assert_eq!(ask(&ada, &wanted).await.status, 201);
    assert_problem(&ask(&ada, &wanted).await, 409, "too_many");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keys_ask_counts_as_the_tenants() {
    let tenant_requests = Quota { burst: 6, every: Duration::from_secs(3600) };
    let rate_limits = RateLimitSettings { tenant_requests, ..RateLimitSettings::default() };
    let world = World::with(WorldSettings { rate_limits, ..WorldSettings::default() }).await;
    let (ada, eve) = (world.tenant().await, world.tenant().await);
    let keys = [create(&ada, &["read"]).await, create(&ada, &["costs:read"]).await];
    // Refused for its scope, it counts too; a key that is none counts for nobody.
    assert_eq!(keys[0].program.get("/v1/sessions").await.status, 200);
    assert_problem(&keys[1].program.get("/v1/sessions").await, 403, "forbidden");
    for _ in 0..5 {
        assert_eq!(super::with(&ada, &keys[0].text.replace("cvl_A", "cvl_B")).get("/v1/sessions").await.status, 401);
    }
    assert_eq!(keys[1].program.get("/v1/costs").await.status, 200);
    assert_eq!(keys[1].program.get("/v1/costs").await.status, 200);
    for caller in [&keys[0].program, &keys[1].program, &ada] {
        assert_problem(&caller.get("/v1/sessions").await, 429, "rate_limited");
    }
    assert_eq!(eve.get("/v1/sessions").await.status, 200);
}
