//! Invitations: good once, for one user of one tenant at one address, for a while; and nobody learns why one is not.

use api::new_invitation;
use chrono::TimeDelta;
use domain::tenant::{Command, NewUser, Role};
use domain::{Actor, ActorKind, Email, TenantId, UserId};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use store::{Beside, CommandContext, INVITATION_LIFETIME, Invitation, MembersChange, TenantContext, change_members};
use tests::{PASSWORD, Reply, User, World, eventually};
use uuid::Uuid;

use super::passwords::log_in;
use super::{anonymous, assert_problem, head, now, pointers, two_apis, until_wait_for_locks};

struct Invited {
    id: UserId,
    email: Email,
    token: String,
}

/// Invites somebody, so long ago.
async fn invite(world: &World, by: &User, ago: TimeDelta) -> Invited {
    let (tenant, id) = (TenantId(by.tenant), UserId(Uuid::now_v7()));
    let email = Email::parse(&format!("{}@example.com", id.0.simple())).unwrap();
    let (token, invitation) = new_invitation(tenant, id, &email).unwrap();
    let user = NewUser { user_id: id, email: email.clone(), name: "Grace".into() };
    let command = Command::AddUser { by: UserId(by.id), user, role: Role::Member, has_password: false };
    change(world, by, (command, id, ago), Beside::Invitation(invitation)).await;
    Invited { id, email, token }
}

async fn change(world: &World, by: &User, (command, id, ago): (Command, UserId, TimeDelta), beside: Beside) {
    let caller = TenantContext::authenticated(TenantId(by.tenant), Actor { kind: ActorKind::User, id: by.id });
    let context = CommandContext::new(caller, Uuid::now_v7(), now() - ago);
    let (database, _, on_commit) = world.nodes[0].write_side().unwrap();
    let change = MembersChange { context, command, id: id.0, beside };
    change_members(database, on_commit.clone(), change).await.unwrap();
}

/// Another token for somebody who is there, as an invitation that is sent again.
pub(crate) async fn keep(world: &World, tenant: Uuid, user: Uuid, invitation: &Invitation) {
    sqlx::query(
        "insert into verification_tokens (tenant_id, token_hash, user_id, purpose, email, created_at, expires_at)
         values ($1, $2, $3, 'set_password', $4, now(), now() + interval '1 day')",
    )
    .bind(tenant)
    .bind(invitation.token_hash.as_slice())
    .bind(user)
    .bind(&invitation.email)
    .execute(&world.database.admin)
    .await
    .unwrap();
}

async fn take_up(there: &User, token: &str, password: &str) -> Reply {
    let body = json!({"token": token, "password": password});
    there.insist(|| there.request(Method::POST, "/v1/auth/password/set").json(&body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_up_an_invitation_is_signed_in_and_has_a_password() {
    let world = World::start().await;
    let ada = world.tenant().await;
    let invited = invite(&world, &ada, TimeDelta::zero()).await;
    let nobody = anonymous(&world);
    assert_problem(&log_in(&nobody, invited.email.as_str(), PASSWORD).await, 401, "invalid_credentials");
    // A password that is not taken does not use it up.
    let weak = take_up(&nobody, &invited.token, invited.email.as_str()).await;
    assert_problem(&weak, 422, "validation_failed");
    assert_eq!(
        (pointers(&weak), &weak.body["errors"][0]["code"]),
        (vec!["/password".into()], &json!("password_is_personal"))
    );
    let reply = take_up(&nobody, &invited.token, PASSWORD).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    let grace = nobody.signed_in(&reply.body);
    assert_eq!((grace.tenant, grace.id), (ada.tenant, invited.id.0));
    assert_eq!((&reply.body["user"]["role"], &reply.body["user"]["name"]), (&json!("member"), &json!("Grace")));
    assert_eq!(grace.get("/v1/auth/me").await.body["user"], reply.body["user"]);
    let next = nobody.post("/v1/auth/refresh", &json!({"refresh_token": reply.body["refresh_token"]})).await;
    assert_eq!(next.status, 200, "{}", next.body);
    assert_eq!(log_in(&nobody, invited.email.as_str(), PASSWORD).await.status, 200);
    assert_problem(&take_up(&nobody, &invited.token, PASSWORD).await, 401, "invalid_credentials");
    let events = ada.events().await;
    let of_grace = events.iter().filter(|event| event["data"]["user_id"] == json!(invited.id.0));
    let types: Vec<&str> = of_grace.map(|event| event["type"].as_str().unwrap()).collect();
    let names = ["tenant.user_invited", "user.password_changed", "user.signed_in", "user.signed_in"];
    assert_eq!(types, names.map(|name| format!("convolog.{name}.v1")));
    assert!(!json!(events).to_string().contains(&invited.token));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_that_is_not_good_gets_one_answer_whatever_is_wrong_with_it() {
    let world = World::start().await;
    let (ada, eve) = (world.tenant().await, world.tenant().await);
    let nobody = anonymous(&world);
    let good = invite(&world, &ada, TimeDelta::zero()).await;
    let of_eve = invite(&world, &eve, TimeDelta::zero()).await;
    let expired = invite(&world, &ada, INVITATION_LIFETIME).await;
    let (moved, removed) =
        (invite(&world, &ada, TimeDelta::zero()).await, invite(&world, &ada, TimeDelta::zero()).await);
    sqlx::query("update users set email = 'elsewhere@example.com' where tenant_id = $1 and id = $2")
        .bind(ada.tenant)
        .bind(moved.id.0)
        .execute(&world.database.admin)
        .await
        .unwrap();
    let removal = Command::RemoveUser { by: UserId(ada.id), user: removed.id, seen: None };
    change(&world, &ada, (removal, removed.id, TimeDelta::zero()), Beside::EndOfAccess).await;
    // `cvi_`, then 16 bytes of tenant, 16 of user, 32 of secret: the first 21 characters are the tenant's alone, the last 42 the secret's.
    let (place, secret) = (&good.token[..46], &good.token[48..]);
    let wrong = [
        format!("{}{}", &of_eve.token[..25], &good.token[25..]),
        format!("{}{}", &good.token[..25], &of_eve.token[25..]),
        format!("{place}{}", &of_eve.token[46..]),
        format!("{place}AA{}", "A".repeat(secret.len())),
        format!("{}A", good.token),
        good.token[..good.token.len() - 4].to_owned(),
        good.token.replacen("cvi_", "cvr_", 1),
        expired.token,
        moved.token,
        removed.token,
        ada.token.clone().unwrap(),
        String::new(),
        "x".repeat(10_000),
    ];
    let (before, of_eve_before) = (head(&world, ada.tenant).await, head(&world, eve.tenant).await);
    let mut answers = Vec::new();
    for token in &wrong {
        let reply = take_up(&nobody, token, PASSWORD).await;
        assert_problem(&reply, 401, "invalid_credentials");
        let mut body = reply.body.clone();
        body["request_id"] = json!(null);
        answers.push(body);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!((head(&world, ada.tenant).await, head(&world, eve.tenant).await), (before, of_eve_before));
    // What was tried with parts of them has used up neither.
    for (token, tenant) in [(&good.token, ada.tenant), (&of_eve.token, eve.tenant)] {
        assert_eq!(take_up(&nobody, token, PASSWORD).await.body["tenant"]["id"], json!(tenant));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_take_up_an_invitation_at_once_exactly_one_does() {
    let world = World::with(two_apis()).await;
    let ada = world.tenant().await;
    let invited = invite(&world, &ada, TimeDelta::zero()).await;
    let nodes = [anonymous(&world), anonymous(&world).at(world.url(1))];
    let passwords: Vec<String> = (0..8).map(|n| format!("{PASSWORD} {n}")).collect();
    // At least two have found the invitation good before anybody uses it up.
    let mut holder = world.database.admin.begin().await.unwrap();
    let hold = "select from users where tenant_id = $1 and id = $2 for update";
    sqlx::query(hold).bind(ada.tenant).bind(invited.id.0).execute(&mut *holder).await.unwrap();
    let together = join_all(passwords.iter().enumerate().map(|(n, new)| take_up(&nodes[n % 2], &invited.token, new)));
    let release = async {
        until_wait_for_locks(&world, 2).await;
        holder.rollback().await.unwrap();
    };
    let (replies, ()) = tokio::join!(together, release);
    let won: Vec<usize> = (0..8).filter(|n| replies[*n].status == 200).collect();
    assert_eq!(won.len(), 1, "{replies:?}");
    for reply in replies.iter().filter(|reply| reply.status != 200) {
        assert_problem(reply, 401, "invalid_credentials");
    }
    assert_eq!(log_in(&nodes[0], invited.email.as_str(), &passwords[won[0]]).await.status, 200);
    assert_problem(
        &log_in(&nodes[0], invited.email.as_str(), &passwords[(won[0] + 1) % 8]).await,
        401,
        "invalid_credentials",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_of_somebody_who_has_a_password_ends_what_they_had() {
    let world = World::start().await;
    let ada = world.tenant().await;
    let email = Email::parse(&super::passwords::email(&ada).await).unwrap();
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let (token, invitation) = new_invitation(TenantId(ada.tenant), UserId(ada.id), &email).unwrap();
        keep(&world, ada.tenant, ada.id, &invitation).await;
        tokens.push(token);
    }
    let reply = take_up(&anonymous(&world), &tokens[0], "nobody guesses that one either").await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_problem(&ada.get("/v1/auth/me").await, 401, "unauthorized");
    assert_problem(&log_in(&ada, email.as_str(), PASSWORD).await, 401, "invalid_credentials");
    // The other one was for the same; it is good no more.
    assert_problem(&take_up(&ada, &tokens[1], PASSWORD).await, 401, "invalid_credentials");
    eventually("it goes on", async || ada.signed_in(&reply.body).get("/v1/auth/me").await.status == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invitations_are_limited_by_address_like_log_ins() {
    let limits = api::RateLimitSettings::default();
    let world = World::with(tests::WorldSettings { rate_limits: limits, ..Default::default() }).await;
    let nobody = anonymous(&world);
    for _ in 0..api::rate_limits::LOG_INS.burst {
        assert_problem(&take_up(&nobody, "cvi_", PASSWORD).await, 401, "invalid_credentials");
    }
    assert_problem(&take_up(&nobody, "cvi_", PASSWORD).await, 429, "rate_limited");
}
