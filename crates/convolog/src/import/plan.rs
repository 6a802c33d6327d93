//! From a conversation to the commands that record it: the same ones, under the same keys, whenever it is imported.

use chrono::{DateTime, SubsecRound as _, Utc};
use domain::ledger::{Charge, Recorded, cost_of_message};
use domain::session::{Command, Event, Started};
use domain::{EventData as _, InvalidPeriod, MessageId, Period, TenantId};
use serde_json::value::to_raw_value;
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
    pub steps: Vec<Step>,
}

/// One event to record.
#[derive(Clone, Debug)]
pub enum Step {
    /// Of the session.
    Session(Command),
    /// The cost of the message before it.
    Cost(Recorded),
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
    ///
    /// # Errors
    /// When something cost so early that there is no ledger for it.
    pub fn new(conversation: Conversation, tenant: TenantId, now: DateTime<Utc>) -> Result<Self, InvalidPeriod> {
        let session = session_of(tenant, &conversation.identity);
        let begun = conversation.begun(now).trunc_subsecs(6);
        let times = conversation.times(now.trunc_subsecs(6));
        let Conversation { mode, widget_id, meeting_id, personality_id, metadata, messages, ended, .. } = conversation;
        let started = Started { mode, widget_id, meeting_id, personality_id, metadata };

        let mut chunks = Chunks { session, done: Vec::new(), time: begun, steps: Vec::new(), bytes: 0 };
        chunks.push(begun, 0, [Step::Session(Command::Start(started))]);
        for (number, (mut message, time)) in messages.into_iter().zip(times).enumerate() {
            let id = Uuid::new_v5(&session, format!("message/{number}").as_bytes());
            let cost = message.charge.take().map(|charge| {
                let charge = Charge { session_id: Some(session), message_id: Some(id), meeting_id, ..charge };
                let period = Period::of(time)?;
                Ok(Step::Cost(Recorded { cost_id: cost_of_message(id), period, charge, metadata: None }))
            });
            let cost = cost.transpose()?;
            let (bytes, posted) = (message.content.len(), message.posted(MessageId(id)));
            chunks.push(time, bytes, [Step::Session(Command::PostMessage(posted))].into_iter().chain(cost));
        }
        if let Some(ended) = ended {
            chunks.push(ended, 0, [Step::Session(Command::End { if_version: None })]);
        }
        chunks.close();
        Ok(Self { session, chunks: chunks.done })
    }
}

/// The id of the session in which a conversation is kept.
pub fn session_of(tenant: TenantId, identity: &str) -> Uuid {
    Uuid::new_v5(&tenant.0, format!("import/{identity}").as_bytes())
}

/// Chunks in the making.
struct Chunks {
    session: Uuid,
    done: Vec<Chunk>,
    time: DateTime<Utc>,
    steps: Vec<Step>,
    bytes: usize,
}

impl Chunks {
    /// Adds what belongs together.
    fn push(&mut self, time: DateTime<Utc>, bytes: usize, steps: impl IntoIterator<Item = Step>) {
        let steps: Vec<Step> = steps.into_iter().collect();
        let full = self.steps.len() + steps.len() > CHUNK_EVENTS || self.bytes + bytes > CHUNK_BYTES;
        if !self.steps.is_empty() && (full || time != self.time) {
            self.close();
        }
        self.time = time;
        self.bytes += bytes;
        self.steps.extend(steps);
    }

    fn close(&mut self) {
        let key = format!("import/{}/{}", self.session, self.done.len());
        let steps = std::mem::take(&mut self.steps);
        let key = IdempotencyKey { key, request_hash: hash(&steps) };
        self.done.push(Chunk { occurred_at: self.time, key, steps });
        self.bytes = 0;
    }
}

/// Of what will be recorded, but for the times: what has none of its own gets another one in each run, perhaps in another
/// month.
fn hash(steps: &[Step]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for step in steps {
        let event = match step {
            Step::Session(Command::Start(started)) => Event::SessionStarted(started.clone()).encode(),
            Step::Session(Command::PostMessage(posted)) => Event::MessagePosted(posted.clone()).encode(),
            Step::Session(Command::End { .. }) => Event::SessionEnded.encode(),
            Step::Cost(cost) => to_raw_value(&cost.charge),
        };
        // Strings and numbers: this cannot fail.
        let data = event.map(|data| data.get().to_owned()).unwrap_or_default();
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
        Plan::new(parse(line.as_bytes()).unwrap(), TenantId(Uuid::from_u128(tenant)), now.parse().unwrap()).unwrap()
    }

    fn identity(plan: &Plan) -> (Uuid, Vec<(String, [u8; 32])>) {
        let keys = plan.chunks.iter().map(|chunk| (chunk.key.key.clone(), chunk.key.request_hash));
        (plan.session, keys.collect())
    }

    fn command(step: &Step) -> &Command {
        match step {
            Step::Session(command) => command,
            Step::Cost(cost) => panic!("{cost:?}"),
        }
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
            assert!(plan.chunks.iter().all(|chunk| (1..=CHUNK_EVENTS).contains(&chunk.steps.len())));
            let commands: Vec<&Command> = plan.chunks.iter().flat_map(|chunk| &chunk.steps).map(command).collect();
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
        let sizes: Vec<usize> = plan.chunks.iter().map(|chunk| chunk.steps.len()).collect();
        assert_eq!(sizes, [3, 2, 1]);
    }

    #[test]
    fn what_has_no_time_happened_at_the_time_before_it() {
        let line = r#"{"created":"2025-05-01T10:00:00Z","ended":1746096000,"messages":[{"role":"user","content":"a"},
            {"role":"assistant","content":"b","created":1746093605000},{"role":"user","content":"c"}]}"#;
        let times = |plan: &Plan| -> Vec<(String, usize)> {
            plan.chunks.iter().map(|chunk| (chunk.occurred_at.to_rfc3339(), chunk.steps.len())).collect()
        };
        let at = |time: &str, events| (format!("2025-05-01T{time}+00:00"), events);
        assert_eq!(times(&plan(line, 1, NOW)), [at("10:00:00", 2), at("10:00:05", 2), at("10:40:00", 1)]);
        assert_eq!(times(&plan(LINE, 1, NOW)), [("2026-01-01T00:00:00+00:00".to_owned(), 3)]);
    }

    #[test]
    fn an_import_of_the_time_before_costs_is_known_by_the_same_key() {
        let line = LINE.replacen('{', r#"{"id":"x","model":"gpt-4","cost":1,"#, 1);
        let (session, keys) = identity(&plan(&line, 1, NOW));
        assert_eq!(session.to_string(), "9e21c2ce-d6f3-5c7c-b011-fe03df4ba800");
        assert_eq!(keys[0].0, format!("import/{session}/0"));
        let hash: String = keys[0].1.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hash, "773acf1414036db9fbdb6155eca9abcc12d3e840c9aadf53fd3e11ced8322dcc");
    }

    #[test]
    fn a_cost_is_recorded_with_its_message_and_decides_whether_the_line_is_the_same() {
        let usage = r#""usage":{"prompt_tokens":9,"completion_tokens":12}"#;
        let line = LINE.replacen('{', &format!(r#"{{"id":"x",{usage},"#), 1);
        let first = plan(&line, 1, NOW);
        let [chunk] = first.chunks.as_slice() else { panic!("{first:?}") };
        let [_, _, Step::Session(Command::PostMessage(posted)), Step::Cost(cost)] = chunk.steps.as_slice() else {
            panic!("{chunk:?}")
        };
        assert_eq!(cost.cost_id, cost_of_message(posted.message_id.0));
        assert_eq!(cost.charge.session_id, Some(first.session));
        assert_eq!(cost.charge.message_id, Some(posted.message_id.0));
        assert_eq!(cost.period.to_string(), "2026-01");

        // Also in another month: the time is not part of it.
        assert_eq!(identity(&plan(&line, 1, "2027-05-01T00:00:00Z")), identity(&first));
        for other in [line.replace("12", "13"), line.replace(usage, r#""cost":1"#)] {
            let other = identity(&plan(&other, 1, NOW));
            assert_eq!(other.0, first.session);
            assert_ne!(other.1, identity(&first).1);
        }
    }

    #[test]
    fn a_message_and_its_cost_are_never_in_two_chunks() {
        for count in [48, 49, 50, 51, 99, 100, 101] {
            let reply = r#"{"role":"assistant","content":"b","usage":{"output_tokens":1}}"#;
            let first = r#"{"role":"user","content":"a"}"#;
            for messages in [vec![reply; count].join(","), format!("{first},{}", vec![reply; count].join(","))] {
                let plan = plan(&format!(r#"{{"messages":[{messages}]}}"#), 1, NOW);
                assert!(plan.chunks.iter().all(|chunk| chunk.steps.len() <= CHUNK_EVENTS));
                let costs = plan.chunks.iter().map(|chunk| {
                    assert!(!matches!(chunk.steps[0], Step::Cost(_)));
                    chunk.steps.iter().filter(|step| matches!(step, Step::Cost(_))).count()
                });
                assert_eq!(costs.sum::<usize>(), count);
            }
        }
    }
}
