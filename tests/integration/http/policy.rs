//! Roles × operations: the reviewed matrix is the policy's, and every operation of the document keeps to it.

use std::fmt::Write as _;

use api::policy::{Access, POLICY, access};
use domain::tenant::Role;
use reqwest::Method;
use serde_json::Value;
use tests::{User, World};
use uuid::Uuid;

use super::{assert_problem, member, nobody, routes};

/// Reviewed by people: whoever changes the policy changes this line by line.
const REVIEWED: &str = include_str!("../../fixtures/policy.txt");

const ROLES: [Role; 3] = [Role::Member, Role::Admin, Role::Owner];

/// Each operation of the document with its method and path.
fn operations() -> Vec<(String, Method, String)> {
    let document: Value = serde_json::from_str(api::openapi::document()).unwrap();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            operations.push((id, method.to_uppercase().parse().unwrap(), path.clone()));
        }
    }
    operations
}

#[test]
fn the_matrix_is_the_one_that_was_reviewed_and_has_every_operation() {
    let mut matrix = format!("{:<20} member admin owner keys\n", "operation");
    for (name, access) in POLICY {
        let line = match access {
            Access::Anyone => "anyone".to_owned(),
            Access::Operator => "operator".to_owned(),
            Access::Tenant { people, keys } => {
                let may = |role| if role >= *people { "yes" } else { "-" };
                let keys: Vec<&str> = keys.iter().map(|scope| scope.as_str()).collect();
                let [member, admin, owner] = ROLES.map(may);
                format!("{member:<6} {admin:<5} {owner:<5} {}", keys.join(" "))
            }
        };
        writeln!(matrix, "{}", format!("{name:<20} {line}").trim_end()).unwrap();
    }
    assert_eq!(matrix, REVIEWED, "\n{matrix}");
    let operations = operations();
    assert_eq!(operations.len(), POLICY.len());
    for (id, ..) in operations {
        assert!(access(&id).is_some(), "{id} is not in the policy");
    }
}

async fn ask(user: &User, method: &Method, path: &str) -> tests::Reply {
    user.insist(|| user.request(method.clone(), path)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_keeps_to_the_matrix() {
    let world = World::start().await;
    let owner = world.tenant().await;
    let people = [member(&owner, Role::Member).await, member(&owner, Role::Admin).await, owner.clone()];
    let mut refused = 0;
    for (id, method, path) in operations() {
        let Some(Access::Tenant { people: least, .. }) = access(&id) else { continue };
        // Without a body and about nothing: whoever is let in is told something else than 401 and 403.
        let route = routes::all().into_iter().find(|route| route.path == path).unwrap();
        let ends_its_own_sign_in = id.starts_with("logOut") || id == "followEvents";
        for (person, role) in people.iter().zip(ROLES) {
            if role < least {
                assert_problem(&ask(person, &method, &route.with(&Uuid::now_v7().to_string())).await, 403, "forbidden");
                refused += 1;
            } else if !ends_its_own_sign_in {
                let status = ask(person, &method, &route.with(&Uuid::now_v7().to_string())).await.status;
                assert!(![401, 403].contains(&status), "{role:?} {id}: {status}");
            }
        }
        assert_problem(&ask(&nobody(&owner), &method, &route.with("x")).await, 401, "unauthorized");
    }
    assert!(refused >= 4, "{refused}");
}
