//! The fixture in the import's own format: what goes in comes back over HTTP, with its times and its models.

use serde_json::Value;
use tests::{World, conversations};

use super::import;

const FILE: &str = include_str!("../../fixtures/mt_bench/conversations.jsonl");

#[tokio::test(flavor = "multi_thread")]
async fn real_conversations_are_imported_as_they_were_and_once() {
    let world = World::start().await;
    let user = world.tenant().await;
    let first = import(&world, &user, FILE).await;
    assert_eq!((first.new, first.there, first.findings.bad), (30, 0, 0));
    // Three events founded the tenant.
    assert_eq!((first.messages, first.events, first.seq), (120, 150, 153));

    let sessions = user.all_pages(&format!("/v1/sessions?min_seq={}&limit=200", first.seq)).await;
    assert_eq!(sessions.len(), 30);
    for line in FILE.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let session = sessions.iter().find(|session| session["metadata"] == line["metadata"]).unwrap();
        assert_eq!((&session["status"], &session["message_count"]), (&"open".into(), &4.into()));
        let created = line["created"].as_f64().unwrap();
        let started: chrono::DateTime<chrono::Utc> = session["started_at"].as_str().unwrap().parse().unwrap();
        assert_eq!(
            format!("{created:.6}"),
            format!("{}.{:06}", started.timestamp(), started.timestamp_subsec_micros())
        );
        let messages = user.all_pages(&format!("/v1/sessions/{}/messages", session["id"].as_str().unwrap())).await;
        for (message, expected) in messages.iter().zip(line["messages"].as_array().unwrap()) {
            assert_eq!((&message["role"], &message["content"]), (&expected["role"], &expected["content"]));
            let model = if expected["role"] == "assistant" { &line["model"] } else { &Value::Null };
            assert_eq!(&message["metadata"]["model"], model);
            assert_eq!(message["posted_at"], session["started_at"]);
        }
    }

    let second = import(&world, &user, FILE).await;
    assert_eq!((second.new, second.there, second.completed, second.events), (0, 30, 0, 0));
    assert_eq!(user.events().await.len(), 153);
}

#[test]
fn the_fixture_is_the_questions_joined_with_their_answers() {
    let lines: Vec<Value> = FILE.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let joined = conversations();
    assert_eq!(lines.len(), joined.len());
    for (line, conversation) in lines.iter().zip(joined) {
        assert_eq!(line["metadata"]["question_id"], conversation.question_id);
        assert_eq!(
            (&line["metadata"]["category"], &line["model"]),
            (&conversation.category.into(), &conversation.model.into())
        );
        let messages = line["messages"].as_array().unwrap().iter();
        let said = messages.map(|m| (m["role"].as_str().unwrap(), m["content"].as_str().unwrap().to_owned()));
        assert_eq!(said.collect::<Vec<_>>(), conversation.messages);
    }
}
