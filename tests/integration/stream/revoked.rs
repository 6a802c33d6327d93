//! A stream ends soon after what opened it: a sign-in that is over, a role that is lost, here or on another node.

use domain::tenant::Role;
use serde_json::json;
use tests::{PASSWORD, User, World, WorldSettings};

use super::listener::listen;
use crate::http::member;

async fn log_in_again(user: &User) -> User {
    let email = user.get("/v1/auth/me").await.body["user"]["email"].clone();
    let reply = user.post("/v1/auth/login", &json!({"email": email, "password": PASSWORD})).await;
    user.signed_in(&reply.body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_when_its_sign_in_does_also_on_another_node_and_no_other_stream() {
    let world = World::with(WorldSettings { apis: 2, ..WorldSettings::default() }).await;
    let (ada, eve) = (world.tenant().await, world.tenant().await);
    let phone = log_in_again(&ada).await;
    let mut here = listen(&phone, "", 0).await;
    let mut there = listen(&phone.at(world.url(1)), "", 0).await;
    let mut others = [listen(&ada.at(world.url(1)), "", 0).await, listen(&eve, "", 0).await];
    let known = ada.events().await.len();
    assert_eq!((here.events(known).await.len(), there.events(known).await.len()), (known, known));
    assert_eq!(phone.post("/v1/auth/logout", &json!({})).await.status, 200);
    // Neither its token, which is good for minutes, nor the end of the process would end them.
    let (rest_here, rest_there) = tokio::join!(here.rest(), there.rest());
    assert!(
        !rest_here.iter().chain(&rest_there).any(|block| block.data.as_ref().is_some_and(|it| it.contains("later")))
    );
    for (user, other) in [&ada, &eve].into_iter().zip(&mut others) {
        let session = user.start_session().await;
        let seq = user.say(session, "later").await.seq();
        while other.event().await.expect("somebody else's sign-in has ended").0 < seq {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_when_the_role_that_opened_it_is_lost_however_much_it_has_to_say() {
    let world = World::with(WorldSettings { apis: 2, ..WorldSettings::default() }).await;
    let ada = world.tenant().await;
    let admin = member(&ada, Role::Admin).await;
    let mut there = listen(&admin.at(world.url(1)), "", 0).await;
    there.events(2).await;
    let session = ada.start_session().await;
    sqlx::query("update users set role = 'member' where tenant_id = $1 and id = $2")
        .bind(ada.tenant)
        .bind(admin.id)
        .execute(&world.database.admin)
        .await
        .unwrap();
    // It is never idle.
    let talking = tokio::spawn(async move {
        loop {
            ada.say(session, "and so on").await;
        }
    });
    let begun = std::time::Instant::now();
    while there.block().await.is_some() {
        assert!(begun.elapsed() < super::listener::PATIENCE, "it does not end");
    }
    talking.abort();
}
