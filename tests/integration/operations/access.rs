//! Who may see `/metrics` and `/health`: this machine for itself, and whoever has the operator's token.

use api::{Operations, OperatorToken};
use reqwest::Method;
use tests::{World, WorldSettings};

use crate::http::anonymous;

const TOKEN: &str = "a-token-of-good-length";

async fn status(world: &World, path: &str, headers: &[(&str, &str)]) -> u16 {
    let mut request = anonymous(world).request(Method::GET, path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    let (status, challenge) = (response.status().as_u16(), response.headers().contains_key("www-authenticate"));
    assert_eq!(challenge, status == 401, "{path} {headers:?}");
    status
}

#[tokio::test(flavor = "multi_thread")]
async fn this_machine_may_look_and_whoever_comes_through_a_proxy_may_not() {
    let world = World::with(WorldSettings { relay: false, projector: false, ..WorldSettings::default() }).await;
    for path in ["/metrics", "/health"] {
        assert_eq!(status(&world, path, &[]).await, 200);
        for proxied in [
            ("x-forwarded-for", "127.0.0.1"),
            ("forwarded", "for=127.0.0.1"),
            ("x-real-ip", "127.0.0.1"),
            ("via", "1.1 proxy"),
            ("host", "convolog.example"),
            ("authorization", "Bearer made-up-by-somebody"),
        ] {
            assert_eq!(status(&world, path, &[proxied]).await, 401, "{path} {proxied:?}");
        }
    }
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(status(&world, path, &[("x-forwarded-for", "192.0.2.1")]).await, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_token_opens_them_from_anywhere_and_no_tenants_token_does() {
    let operations = Operations { token: Some(OperatorToken::new(TOKEN).unwrap()), ..Operations::default() };
    let settings = WorldSettings { relay: false, projector: false, operations, ..WorldSettings::default() };
    let world = World::with(settings).await;
    let owner = world.tenant().await;
    let forwarded = ("x-forwarded-for", "192.0.2.1");
    for path in ["/metrics", "/health"] {
        let bearer = |token: &str| format!("Bearer {token}");
        assert_eq!(status(&world, path, &[forwarded, ("authorization", &bearer(TOKEN))]).await, 200);
        assert_eq!(status(&world, path, &[forwarded, ("authorization", TOKEN)]).await, 401);
        assert_eq!(status(&world, path, &[forwarded]).await, 401);
        for wrong in [owner.token.as_deref().unwrap(), "", &TOKEN[1..], &format!("{TOKEN}x")] {
            assert_eq!(status(&world, path, &[("authorization", &bearer(wrong))]).await, 401, "{wrong}");
        }
    }
    // The operator is nobody to the tenants.
    assert_eq!(status(&world, "/v1/sessions", &[("authorization", &format!("Bearer {TOKEN}"))]).await, 401);
}
