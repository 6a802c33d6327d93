//! A rebuild gives the same rows as live projecting, however the log was cut into transactions.

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Reply, User, World, WorldSettings, eventually};
use uuid::Uuid;

use super::group_version::quick_world;
use super::oracle::{assert_rows_are_those_of_the_log, differences};

/// Numbers that look random and are the same in every run.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.below(choices.len() as u64)).unwrap()]
    }
}

fn session(chance: &mut Chance) -> Value {
    let mut body = json!({"mode": chance.one_of(&["text", "meeting"])});
    for member in ["widget_id", "meeting_id", "personality_id"] {
        if chance.below(2) == 0 {
            body[member] = json!(Uuid::from_u128(u128::from(chance.below(u64::MAX))));
        }
    }
    if chance.below(2) == 0 {
        body["metadata"] = json!({"z": chance.below(9), "a": {"nested": [1, 2.50, "ä"]}, "empty": {}});
    }
    body
}

fn message(chance: &mut Chance) -> Value {
    let length = chance.one_of(&[1, 20, 300]);
    let content: String = (0..length).map(|_| chance.one_of(&['a', 'ß', '😀', '\n', '"', '\\', '\''])).collect();
    let mut body = json!({"role": chance.one_of(&["user", "assistant", "system"]), "content": format!("x{content}")});
    if chance.below(3) == 0 {
        let attachment =
            |n: u64| json!({"kind": "file", "url": format!("https://example.com/{n}"), "name": "ä.txt", "size": n});
        body["attachments"] = (0..=chance.below(3)).map(attachment).collect();
    }
    if chance.below(3) == 0 {
        body["metadata"] = json!({"model": "some", "latency_ms": chance.below(5000)});
    }
    body
}

fn cost(chance: &mut Chance, sessions: &[Uuid]) -> Value {
    let mut body = json!({"service": chance.one_of(&["llm", "voice"]), "provider": chance.one_of(&["a", "b"])});
    if chance.below(4) > 0 {
        body["amount"] = json!(chance.one_of(&["0.000000000001", "-0.3", "999999999999.999999999999", "1.50", "0"]));
    }
    if chance.below(2) == 0 {
        body["currency"] = json!(chance.one_of(&["EUR", "JPY"]));
    }
    if chance.below(2) == 0 {
        body["session_id"] = json!(chance.one_of(sessions));
        body["message_id"] = json!(Uuid::from_u128(u128::from(chance.below(3))));
    }
    let usage = |name: &&str| json!({"type": name, "quantity": format!("{}.5", name.len())});
    body["usage"] =
        ["output_text", "images"].iter().take(usize::try_from(chance.below(3)).unwrap()).map(usage).collect();
    if chance.below(3) == 0 {
        body["metadata"] = json!({"z": chance.below(9), "a": "ä"});
    }
    body
}

/// A command, again as long as it is refused because the machine is busy.
async fn post(user: &User, path: &str, body: &Value) -> Reply {
    user.insist(|| user.request(Method::POST, path).json(body)).await
}

/// One client's share of a history: sessions begun, written to in turn, paid for and ended or not, costs taken back.
pub(crate) async fn history(user: User, seed: u64, commands: usize) {
    let mut chance = Chance(seed);
    let (mut open, mut costs): (Vec<Uuid>, Vec<Uuid>) = (Vec::new(), Vec::new());
    for _ in 0..commands {
        let reply = match (chance.below(14), open.len()) {
            (_, 0) | (0, _) => {
                let reply = post(&user, "/v1/sessions", &session(&mut chance)).await;
                open.push(reply.id());
                reply
            }
            (1, _) => {
                let ended = open.swap_remove(usize::try_from(chance.below(open.len() as u64)).unwrap());
                post(&user, &format!("/v1/sessions/{ended}/end"), &json!({})).await
            }
            (2..5, _) => {
                let reply = post(&user, "/v1/costs", &cost(&mut chance, &open)).await;
                costs.push(reply.id());
                reply
            }
            (5, _) if !costs.is_empty() => {
                let mistake = costs.swap_remove(usize::try_from(chance.below(costs.len() as u64)).unwrap());
                post(&user, &format!("/v1/costs/{mistake}/void"), &json!({"reason": "a mistake"})).await
            }
            _ => {
                let into = chance.one_of(&open);
                post(&user, &format!("/v1/sessions/{into}/messages"), &message(&mut chance)).await
            }
        };
        assert!(matches!(reply.status, 200 | 201), "{}", reply.body);
    }
}

/// All rows of all read tables as text.
async fn rows(world: &World) -> Vec<String> {
    let tables = projector::PROJECTIONS.iter().flat_map(|projection| projection.tables());
    let tables: Vec<String> = tables
        .map(|table| table.name)
        .map(|table| format!("select '{table} ' || t::text as r from {table} t"))
        .collect();
    let sql = format!("select r from ({}) r order by r", tables.join(" union all "));
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(&world.database.admin).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_gives_the_rows_of_live_projecting_for_generated_histories() {
    let world = quick_world().await;
    let users = [world.tenant().await, world.tenant().await];
    let clients: Vec<_> =
        (0..6).map(|n| store::spawn("client", history(users[n % 2].clone(), n as u64, 120))).collect();
    for client in clients {
        client.await.unwrap();
    }
    assert_rows_are_those_of_the_log(&world).await;
    let live = rows(&world).await;
    assert!(live.iter().any(|row| row.contains("ended")) && live.len() > 500);

    // One tenant at a time in one transaction of several pages.
    sqlx::query("update projection_checkpoints set version = 0").execute(&world.database.admin).await.unwrap();
    eventually("everything is rebuilt", async || {
        let old: i64 = sqlx::query_scalar("select count(*) from projection_checkpoints where version = 0")
            .fetch_one(&world.database.admin)
            .await
            .unwrap();
        old == 0
    })
    .await;
    assert_eq!(rows(&world).await, live);
    assert_eq!(differences(&world).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_the_same_one_event_at_a_time_and_all_at_once() {
    // One event at a time: each is read before the next is posted.
    let mut world = World::start().await;
    let user = world.tenant().await;
    let mut chance = Chance(7);
    let mut sessions = Vec::new();
    for _ in 0..40 {
        let seq = if chance.below(3) == 0 && !sessions.is_empty() {
            let reply = user.post("/v1/costs", &cost(&mut chance, &sessions)).await;
            match chance.below(3) {
                0 => user.post(&format!("/v1/costs/{}/void", reply.id()), &json!({})).await.seq(),
                _ => reply.seq(),
            }
        } else if sessions.len() < 3 {
            let reply = user.post("/v1/sessions", &session(&mut chance)).await;
            sessions.push(reply.id());
            reply.seq()
        } else {
            let into = chance.one_of(&sessions);
            user.post(&format!("/v1/sessions/{into}/messages"), &message(&mut chance)).await.seq()
        };
        assert_eq!(user.get(&format!("/v1/sessions?min_seq={seq}")).await.status, 200);
    }
    let one_by_one = rows(&world).await;

    // All at once, by a worker that finds the log as it is.
    world.stop_nodes().await;
    let tables = projector::PROJECTIONS.iter().flat_map(|projection| projection.tables());
    for table in tables.map(|table| table.name).chain(["projection_checkpoints"]) {
        let sql = sqlx::AssertSqlSafe(format!("delete from {table}"));
        sqlx::query(sql).execute(&world.database.admin).await.unwrap();
    }
    let mut workers = world.node_settings(&WorldSettings::default(), true);
    workers.api = None;
    world.nodes.push(convolog::node::Node::start(workers).await.unwrap());
    assert_rows_are_those_of_the_log(&world).await;
    assert_eq!(rows(&world).await, one_by_one);
}
