//! What any bytes must do to the reader of import files; only in tests and under a fuzzer.
#![expect(clippy::unwrap_used, reason = "a target stops at the first surprise")]

use chrono::DateTime;
use domain::ledger::{self, Charge, UsageConvention};
use domain::session::{Command, Event, MAX_ATTACHMENTS, MAX_CONTENT, MAX_METADATA};
use domain::{EventData as _, MAX_ENCODED_EVENT, Period, TenantId, envelope};
use uuid::Uuid;

use crate::import::MAX_FUTURE;
use crate::import::costs::{Format, read_all};
use crate::import::line::{MAX_NAME, parse};
use crate::import::plan::{CHUNK_EVENTS, Plan, Step};

/// A line that is read keeps to the limits of the API and is recorded under the same ids whenever it is read.
pub fn import(bytes: &[u8]) {
    let read = parse(bytes);
    assert_eq!(read, parse(bytes));
    let Ok(conversation) = read else { return };
    assert!(!conversation.messages.is_empty());
    assert!(conversation.identity.chars().count() <= "line/".len() + MAX_NAME);
    let metadata = conversation.messages.iter().map(|message| &message.metadata).chain([&conversation.metadata]);
    assert!(metadata.flatten().all(|json| json.as_str().len() <= MAX_METADATA));
    for message in &conversation.messages {
        assert!(message.content.len() <= MAX_CONTENT && message.attachments.len() <= MAX_ATTACHMENTS);
    }
    let times = conversation.messages.iter().map(|message| message.created);
    for time in times.chain([conversation.created, conversation.ended]).flatten() {
        assert!((0..4_102_444_800).contains(&time.timestamp()), "{time}");
        assert_eq!(time.timestamp_subsec_nanos() % 1_000, 0, "{time}");
    }
    let plan = |seconds: i64| {
        let now = DateTime::from_timestamp(seconds, 0).unwrap();
        Plan::new(conversation.clone(), TenantId(Uuid::from_u128(1)), now).unwrap()
    };
    let (now, later) = (plan(1_800_000_000), plan(1_900_000_000));
    assert_eq!(now.session, later.session);
    assert_eq!(format!("{:?}", keys(&now)), format!("{:?}", keys(&later)));
    for chunk in now.chunks {
        assert!((1..=CHUNK_EVENTS).contains(&chunk.steps.len()));
        for step in chunk.steps {
            let data = match step {
                Step::Session(Command::Start(started)) => Event::SessionStarted(started).encode(),
                Step::Session(Command::PostMessage(posted)) => Event::MessagePosted(posted).encode(),
                Step::Session(Command::End { .. }) => Event::SessionEnded.encode(),
                Step::Cost(cost) => {
                    assert_eq!(Ok(cost.period), Period::of(chunk.occurred_at));
                    check_charge(&cost.charge);
                    ledger::Event::CostRecorded(cost).encode()
                }
            };
            let data = data.unwrap();
            assert!(data.get().len() + envelope::MAX_OVERHEAD <= MAX_ENCODED_EVENT);
            assert!(!data.get().contains("\\u0000") || data.get().contains("\\\\u0000"), "{data}");
        }
    }
}

/// Any file is read as costs that keep to the rules of the ledger, under the same ids whenever it is read.
pub fn import_costs(bytes: &[u8]) {
    let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
    for format in [Format::Csv, Format::Jsonl] {
        let rows = read_all(bytes, format, now);
        assert_eq!(rows, read_all(bytes, format, now));
        for (_, row) in rows {
            let Ok(row) = row else { continue };
            check_charge(&row.charge);
            assert!(row.charge.amount.is_some() || !row.charge.usage.is_empty());
            assert!(row.occurred_at <= now + MAX_FUTURE && Period::of(row.occurred_at) == Ok(row.period));
            let metadata = row.metadata.as_ref().map_or("", |json| json.as_str());
            assert!(metadata.len() <= ledger::MAX_METADATA && !metadata.contains('\0'));
            let charge = serde_json::to_string(&row.charge).unwrap();
            assert!(!charge.contains("\\u0000") || charge.contains("\\\\u0000"), "{charge}");
        }
    }
}

/// A cost keeps to the rules of the ledger, and each of its tokens stands in one line.
fn check_charge(charge: &Charge) {
    charge.check().unwrap();
    assert!(charge.currency.is_some() || charge.amount.is_none());
    let told = charge.usage.iter().map(|line| (line.r#type.clone(), line.quantity, Some(line.unit.clone())));
    assert_eq!(ledger::lines(told, UsageConvention::Disjoint).as_ref(), Ok(&charge.usage));
}

/// What decides whether it is recorded again.
fn keys(plan: &Plan) -> Vec<(&str, [u8; 32])> {
    plan.chunks.iter().map(|chunk| (chunk.key.key.as_str(), chunk.key.request_hash)).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_bytes_surprise_the_reader_of_import_files() {
        garble::try_out("import", 3_000, super::import);
    }

    #[test]
    fn no_bytes_surprise_the_reader_of_cost_exports() {
        garble::try_out("import_costs", 3_000, super::import_costs);
    }
}
