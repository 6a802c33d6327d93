//! The end of a key: by its revocation, its time, or its creator's departure; and how one sees that it is used.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use domain::tenant::{Command, NewUser, Role};
use domain::{Actor, ActorKind, Email, TenantId, UserId};
use serde_json::{Value, json};
use store::{Beside, CommandContext, MembersChange, TenantContext, change_members};
use tests::{User, World, eventually};
use uuid::Uuid;

use super::{ask, assert_problem, create, knock, list, revoke, two_apis, with};
use crate::http::now;

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_refused_at_once_here_and_soon_everywhere() {
    let world = World::with(two_apis()).await;
    let (ada, eve) = (world.tenant().await, world.tenant().await);
    let (key, other) = (create(&ada, &["read"]).await, create(&ada, &["read"]).await);
    let there = key.program.at(world.url(1));
    for program in [&key.program, &there, &other.program] {
        assert_eq!(knock(program).await.status, 200);
    }
    // Nobody else's, and it is told like one that there never was.
    let (theirs, unknown) = (revoke(&eve, key.id).await, revoke(&eve, Uuid::now_v7()).await);
    for reply in [&theirs, &unknown] {
        assert_problem(reply, 404, "not_found");
    }
    assert_eq!(theirs.body["detail"], unknown.body["detail"]);
    assert_eq!(knock(&key.program).await.status, 200);

    let revoked = revoke(&ada, key.id).await;
    assert_eq!((revoked.status, revoked.id()), (200, key.id));
    assert_problem(&knock(&key.program).await, 401, "unauthorized");
    eventually("the other node refuses it, too", async || knock(&there).await.status == 401).await;
    assert_problem(&revoke(&ada, key.id).await, 404, "not_found");
    assert_eq!(knock(&other.program).await.status, 200);
    assert_eq!(list(&ada).await.len(), 1);
    let event = ada.events().await.pop().unwrap();
    assert_eq!(
        (&event["type"], &event["data"]),
        (&json!("convolog.user.api_key_revoked.v1"), &json!({"key_id": key.id}))
    );
    assert_eq!((&event["sequence"], &event["actorid"]), (&json!(format!("{:020}", revoked.seq())), &json!(ada.id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_works_until_its_time_and_stays_on_the_list() {
    let world = World::start().await;
    let ada = world.tenant().await;
    let end = now() + TimeDelta::seconds(3);
    let created = ask(&ada, &json!({"name": "For a moment", "scopes": ["read"], "expires_at": end})).await;
    assert_eq!(created.status, 201, "{}", created.body);
    let program = with(&ada, created.body["key"].as_str().unwrap());
    let begun = now();
    let first = knock(&program).await;
    // Unless the machine took longer than that.
    assert!(first.status == 200 || now() > end, "{}", first.body);
    eventually("its time is over", async || knock(&program).await.status == 401).await;
    assert!(now() >= end && begun < end + TimeDelta::minutes(1));
    assert_eq!(list(&ada).await[0]["id"], json!(created.id()));
    assert_eq!(revoke(&ada, created.id()).await.status, 200);
}

async fn change(world: &World, by: &User, id: Uuid, command: Command, beside: Beside) {
    let actor = Actor { kind: ActorKind::User, id: by.id };
    let caller = TenantContext::authenticated(TenantId(by.tenant), actor);
    let context = CommandContext::new(caller, Uuid::now_v7(), now());
    let (database, _, on_commit) = world.nodes[0].write_side().unwrap();
    let change = MembersChange { context, command, id, beside };
    change_members(database, Arc::clone(on_commit), change).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_somebody_who_leaves_go_with_them() {
    let world = World::start().await;
    let owner = world.tenant().await;
    let id = UserId(Uuid::now_v7());
    let email = Email::parse("leaver@example.com").unwrap();
    let user = NewUser { user_id: id, email, name: "L".into() };
    let add = Command::AddUser { by: UserId(owner.id), user, role: Role::Admin, has_password: true };
    change(&world, &owner, id.0, add, Beside::Password("none".into())).await;
    let leaver = super::super::signed_in(&world, &owner, owner.tenant, id.0, Role::Admin).await;
    let (kept, one, two) =
        (create(&owner, &["read"]).await, create(&leaver, &["read"]).await, create(&leaver, &["write"]).await);
    assert_eq!(knock(&one.program).await.status, 200);

    let remove = Command::RemoveUser { by: UserId(owner.id), user: id, seen: None };
    change(&world, &owner, id.0, remove, Beside::EndOfAccess).await;
    eventually("the key is refused", async || knock(&one.program).await.status == 401).await;
    assert_problem(&knock(&two.program).await, 401, "unauthorized");
    assert_eq!(knock(&kept.program).await.status, 200);
    assert_eq!(list(&owner).await.len(), 1);
    let mut revoked: Vec<Value> = owner.events().await;
    revoked.retain(|event| event["type"] == "convolog.user.api_key_revoked.v1");
    let mut ids: Vec<&Value> = revoked.iter().map(|event| &event["data"]["key_id"]).collect();
    ids.sort_by_key(|id| id.to_string());
    let mut expected = [one.id, two.id];
    expected.sort_unstable();
    assert_eq!(json!(ids), json!(expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_sees_when_a_key_was_used_to_the_minute() {
    let world = World::start().await;
    let ada = world.tenant().await;
    let (used, idle) = (create(&ada, &["read"]).await, create(&ada, &["read"]).await);
    let noted = async || -> Vec<Option<DateTime<Utc>>> {
        let all = list(&ada).await;
        let of = |id: Uuid| all.iter().find(|it| it["id"] == json!(id)).unwrap()["last_used_at"].clone();
        [used.id, idle.id].map(|id| serde_json::from_value(of(id)).unwrap()).to_vec()
    };
    let begun = now();
    let head = super::head(&world, ada.tenant).await;
    assert_eq!(knock(&used.program).await.status, 200);
    eventually("its use is noted", async || noted().await[0].is_some_and(|then| then >= begun)).await;
    let old = now() - TimeDelta::minutes(10);
    sqlx::query("update api_keys set last_used_at = $1").bind(old).execute(&world.database.admin).await.unwrap();
    eventually("a later use is noted", async || {
        knock(&used.program).await.status == 200 && noted().await[0].is_some_and(|then| then >= begun)
    })
    .await;
    assert!(noted().await[1].is_some_and(|then| then < begun), "the other one was not used");
    // To be used is no event.
    assert_eq!(super::head(&world, ada.tenant).await, head);
}
