//! Clients that post messages all the time, with costs and voids in between, and remember what was acknowledged.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use reqwest::Method;
use serde_json::json;
use tests::{User, World, eventually};
use tokio::task::JoinHandle;
use uuid::Uuid;

/// A message that was answered with 201.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ack {
    pub(crate) tenant: Uuid,
    pub(crate) session: Uuid,
    pub(crate) content: String,
    pub(crate) seq: u64,
}

/// One client per session, each posting its next message when the one before is acknowledged.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    acks: Arc<Mutex<Vec<Ack>>>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts `sessions` sessions of each user. Every post must be accepted, whatever happens to NATS and projector.
    pub(crate) async fn start(users: &[User], sessions: usize) -> Self {
        let mut load = Self { stop: Arc::default(), acks: Arc::default(), clients: vec![] };
        for user in users {
            for _ in 0..sessions {
                let session = user.start_session().await;
                let client = post_until(user.clone(), session, load.stop.clone(), load.acks.clone());
                load.clients.push(store::spawn("client", client));
            }
        }
        load
    }

    /// Waits until so many more messages are acknowledged.
    pub(crate) async fn goes_on(&self, more: usize) {
        let before = self.acks.lock().unwrap().len();
        eventually("commands are accepted", async || {
            assert!(!self.clients.iter().any(JoinHandle::is_finished), "a client has met an error");
            self.acks.lock().unwrap().len() >= before + more
        })
        .await;
    }

    /// The last message that was acknowledged.
    pub(crate) fn last(&self) -> Ack {
        self.acks.lock().unwrap().last().unwrap().clone()
    }

    /// Lets the clients finish and answers everything that was acknowledged.
    pub(crate) async fn stop(self) -> Vec<Ack> {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
        std::mem::take(&mut self.acks.lock().unwrap())
    }
}

async fn post_until(user: User, session: Uuid, stop: Arc<AtomicBool>, acks: Arc<Mutex<Vec<Ack>>>) {
    let path = format!("/v1/sessions/{session}/messages");
    for n in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let content = format!("message {n}");
        let body = json!({"role": "user", "content": content});
        let reply = user.insist(|| user.request(Method::POST, &path).json(&body)).await;
        assert_eq!(reply.status, 201, "{}", reply.body);
        acks.lock().unwrap().push(Ack { tenant: user.tenant, session, content, seq: reply.seq() });
        if n % 3 == 0 {
            cost_until(&user, session, reply.id(), n).await;
        }
    }
}

/// Records what a message costs, and takes every second of these costs back.
async fn cost_until(user: &User, session: Uuid, message: Uuid, n: u64) {
    let mut cost = json!({
        "service": "llm", "provider": "some", "session_id": session, "message_id": message,
        "usage": [{"type": "output_text", "quantity": format!("{n}.000000000001")}, {"type": "images", "quantity": 1}],
    });
    match n % 4 {
        0 => cost["amount"] = json!("0.000000000001"),
        1 => cost["amount"] = json!("-999999999999.999999999999"),
        2 => cost["currency"] = json!("EUR"),
        _ => cost["model"] = json!("some"),
    }
    let recorded = user.insist(|| user.request(Method::POST, "/v1/costs").json(&cost)).await;
    assert_eq!(recorded.status, 201, "{}", recorded.body);
    if n.is_multiple_of(2) {
        let path = format!("/v1/costs/{}/void", recorded.id());
        let voided = user.insist(|| user.request(Method::POST, &path).json(&json!({"reason": "a mistake"}))).await;
        assert_eq!(voided.status, 200, "{}", voided.body);
    }
}

/// The read tables have every acknowledged message exactly once, and nothing that was not posted by these clients.
pub(crate) async fn assert_all_are_read(world: &World, acks: &[Ack]) {
    let rows: Vec<(Uuid, Uuid, String, i64)> = sqlx::query_as(
        "select m.tenant_id, m.session_id, m.content, e.seq from messages m
         join events e on e.tenant_id = m.tenant_id and e.stream_id = m.session_id and e.version = m.version",
    )
    .fetch_all(&world.database.admin)
    .await
    .unwrap();
    let read: HashSet<Ack> = rows
        .iter()
        .map(|(tenant, session, content, seq)| Ack {
            tenant: *tenant,
            session: *session,
            content: content.clone(),
            seq: seq.cast_unsigned(),
        })
        .collect();
    assert_eq!(rows.len(), acks.len(), "rows and acknowledgements");
    assert_eq!(read, acks.iter().cloned().collect::<HashSet<_>>());
}
