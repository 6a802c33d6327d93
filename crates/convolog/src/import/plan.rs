//! From a conversation to the commands that record it: the same ones, under the same keys, whenever it is imported.

use chrono::{DateTime, SubsecRound as _, Utc};
use domain::session::{Command, Event, Started};
use domain::{EventData as _, MessageId, TenantId};
use sha2::{Digest as _, Sha256};
use store::IdempotencyKey;
use uuid::Uuid;

use super::line::Conversation;

/// Most events of one command.
pub const CHUNK_EVENTS: usize = 100;
/// A command takes no further message beyond so many bytes of content.
pub const CHUNK_BYTES: usize = 512 * 1024;

/// What is recorded together, at one time: all or nothing.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// When it happened.
    pub occurred_at: DateTime<Utc>,
    /// Says whether it was recorded before.
    pub key: IdempotencyKey,
    /// In this order.
    pub commands: Vec<Command>,
}

/// A conversation as it is going to be recorded.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The session's id.
    pub session: Uuid,
    /// One after the other; the first one starts the session.
    pub chunks: Vec<Chunk>,
}

impl Plan {
    /// What to do for a conversation of a tenant. What has no time of its own happened at the time before it, the first
    /// `now`.
    ///
    /// Ids and keys come from the tenant and the conversation's identity alone, so that a second import, or the rest of
    /// an interrupted one, meets what is there. The time is not part of what must be the same.
    pub fn new(conversation: Conversation, tenant: TenantId, now: DateTime<Utc>) -> Self {
        let session = Uuid::new_v5(&tenant.0, format!("import/{}", conversation.identity).as_bytes());
        let first = conversation.messages.first().and_then(|message| message.created);
        let mut time = conversation.created.or(first).unwrap_or(now).trunc_subsecs(6);
        let Conversation { mode, widget_id, meeting_id, personality_id, metadata, messages, ended, .. } = conversation;
        let started = Started { mode, widget_id, meeting_id, personality_id, metadata };

        let mut chunks = Chunks { session, done: Vec::new(), time, commands: Vec::new(), bytes: 0 };
        chunks.push(time, 0, Command::Start(started));
        for (number, message) in messages.into_iter().enumerate() {
            time = message.created.unwrap_or(time);
            let id = MessageId(Uuid::new_v5(&session, format!("message/{number}").as_bytes()));
            chunks.push(time, message.content.len(), Command::PostMessage(message.posted(id)));
        }
        if let Some(ended) = ended {
            chunks.push(ended, 0, Command::End { if_version: None });
        }
        chunks.close();
        Self { session, chunks: chunks.done }
    }
}

/// Chunks in the making.
struct Chunks {
    session: Uuid,
    done: Vec<Chunk>,
    time: DateTime<Utc>,
    commands: Vec<Command>,
    bytes: usize,
}

impl Chunks {
    fn push(&mut self, time: DateTime<Utc>, bytes: usize, command: Command) {
        let full = self.commands.len() >= CHUNK_EVENTS || self.bytes + bytes > CHUNK_BYTES;
        if !self.commands.is_empty() && (full || time != self.time) {
            self.close();
        }
        self.time = time;
        self.bytes += bytes;
        self.commands.push(command);
    }

    fn close(&mut self) {
        let key = format!("import/{}/{}", self.session, self.done.len());
        let commands = std::mem::take(&mut self.commands);
        let key = IdempotencyKey { key, request_hash: hash(&commands) };
        self.done.push(Chunk { occurred_at: self.time, key, commands });
        self.bytes = 0;
    }
}

/// Of what the commands will record.
fn hash(commands: &[Command]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for command in commands {
        let event = match command {
            Command::Start(started) => Event::SessionStarted(started.clone()),
            Command::PostMessage(posted) => Event::MessagePosted(posted.clone()),
            Command::End { .. } => Event::SessionEnded,
        };
        // Strings and numbers: this cannot fail.
        let data = event.encode().map(|data| data.get().to_owned()).unwrap_or_default();
        hash.update((data.len() as u64).to_be_bytes());
        hash.update(data);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::line::parse;

    fn plan(line: &str, tenant: u128, now: &str) -> Plan {
        Plan::new(parse(line.as_bytes()).unwrap(), TenantId(Uuid::from_u128(tenant)), now.parse().unwrap())
    }

    fn identity(plan: &Plan) -> (Uuid, Vec<(String, [u8; 32])>) {
        let keys = plan.chunks.iter().map(|chunk| (chunk.key.key.clone(), chunk.key.request_hash));
        (plan.session, keys.collect())
    }

    const NOW: &str = "2026-01-01T00:00:00Z";
    const LINE: &str = r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}"#;

    #[test]
    fn the_same_line_is_the_same_conversation_at_any_time_and_another_in_another_tenant() {
        let first = identity(&plan(LINE, 1, NOW));
        assert_eq!(identity(&plan(LINE, 1, "2027-01-01T00:00:00Z")), first);
        assert_ne!(identity(&plan(LINE, 2, NOW)).0, first.0);
        assert_ne!(identity(&plan(&LINE.replace("\"a\"", "\"c\""), 1, NOW)).0, first.0);
    }

    #[test]
    fn an_id_is_the_same_conversation_however_the_line_is_written_and_keys_tell_another_content() {
        let with_id = |rest: &str| identity(&plan(&format!(r#"{{"id":"x",{}"#, rest.trim_start_matches('{')), 1, NOW));
        let first = with_id(LINE);
        assert_eq!(with_id(&LINE.replace(":[", " : [ ")), first);
        let other = with_id(&LINE.replace("\"a\"", "\"c\""));
        assert_eq!(other.0, first.0);
        assert_eq!(other.1[0].0, first.1[0].0);
        assert_ne!(other.1[0].1, first.1[0].1);
    }

    #[test]
    fn chunks_hold_every_message_once_and_in_order_whatever_their_number() {
        for count in [1, 98, 99, 100, 101, 198, 199, 200, 201, 1000] {
            let messages: Vec<_> = (0..count).map(|n| format!(r#"{{"role":"user","content":"{n}"}}"#)).collect();
            let line = format!(r#"{{"ended":"2026-01-01T00:00:00Z","messages":[{}]}}"#, messages.join(","));
            let plan = plan(&line, 1, NOW);
            assert!(plan.chunks.iter().all(|chunk| (1..=CHUNK_EVENTS).contains(&chunk.commands.len())));
            let commands: Vec<&Command> = plan.chunks.iter().flat_map(|chunk| &chunk.commands).collect();
            assert!(matches!(commands.first(), Some(Command::Start(_))));
            assert!(matches!(commands.last(), Some(Command::End { .. })));
            let said = commands.iter().filter_map(|command| match command {
                Command::PostMessage(posted) => Some(posted.content.clone()),
                Command::Start(_) | Command::End { .. } => None,
            });
            assert!(said.eq((0..count).map(|n| n.to_string())), "{count}");
        }
    }

    #[test]
    fn large_messages_fill_a_chunk_by_their_bytes() {
        let large = format!(r#"{{"role":"user","content":"{}"}}"#, "x".repeat(200 * 1024));
        let plan = plan(&format!(r#"{{"messages":[{}]}}"#, vec![large; 5].join(",")), 1, NOW);
        let sizes: Vec<usize> = plan.chunks.iter().map(|chunk| chunk.commands.len()).collect();
        assert_eq!(sizes, [3, 2, 1]);
    }

    #[test]
    fn what_has_no_time_happened_at_the_time_before_it() {
        let line = r#"{"created":"2025-05-01T10:00:00Z","ended":1746096000,"messages":[{"role":"user","content":"a"},
            {"role":"assistant","content":"b","created":1746093605000},{"role":"user","content":"c"}]}"#;
        let times = |plan: &Plan| -> Vec<(String, usize)> {
            plan.chunks.iter().map(|chunk| (chunk.occurred_at.to_rfc3339(), chunk.commands.len())).collect()
        };
        let at = |time: &str, events| (format!("2025-05-01T{time}+00:00"), events);
        assert_eq!(times(&plan(line, 1, NOW)), [at("10:00:00", 2), at("10:00:05", 2), at("10:40:00", 1)]);
        assert_eq!(times(&plan(LINE, 1, NOW)), [("2026-01-01T00:00:00+00:00".to_owned(), 3)]);
    }
}
