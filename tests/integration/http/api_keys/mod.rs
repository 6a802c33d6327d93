//! API keys as those see them who make them and those who use them; here is what these tests share.

mod creation;
mod ends;
mod limits;
mod presented;
mod scopes;

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Reply, User};
use uuid::Uuid;

use super::{Raw, assert_problem, head, keyed, member, pointers, raw, routes, two_apis};

const PATH: &str = "/v1/api-keys";

/// A key, and who has it as a client.
struct Key {
    id: Uuid,
    text: String,
    program: User,
}

/// Whoever presents this as their credentials.
fn with(user: &User, text: &str) -> User {
    let mut program = user.clone();
    program.token = Some(text.to_owned());
    program
}

async fn ask(user: &User, body: &Value) -> Reply {
    user.insist(|| user.request(Method::POST, PATH).json(body)).await
}

async fn create(user: &User, scopes: &[&str]) -> Key {
    let reply = ask(user, &json!({"name": "A program", "scopes": scopes})).await;
    assert_eq!(reply.status, 201, "{}", reply.body);
    let text = reply.body["key"].as_str().unwrap().to_owned();
    Key { id: reply.id(), program: with(user, &text), text }
}

async fn revoke(user: &User, id: Uuid) -> Reply {
    user.insist(|| user.request(Method::DELETE, &format!("{PATH}/{id}"))).await
}

async fn list(user: &User) -> Vec<Value> {
    let reply = user.insist(|| user.request(Method::GET, PATH)).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.body["data"].as_array().unwrap().clone()
}

/// What the program gets where every key with `read` gets 200.
async fn knock(program: &User) -> Reply {
    program.insist(|| program.request(Method::GET, "/v1/sessions")).await
}
