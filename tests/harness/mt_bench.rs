//! The fixture: 30 real two-turn conversations, questions joined with their reference answers.

use std::collections::HashMap;

use serde_json::Value;

const QUESTIONS: &str = include_str!("../fixtures/mt_bench/question.jsonl");
const ANSWERS: &str = include_str!("../fixtures/mt_bench/reference_answer_gpt-4.jsonl");

/// One conversation.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// The question's number in MT-Bench.
    pub question_id: u64,
    /// Its category, for example `reasoning`.
    pub category: String,
    /// The model that answered.
    pub model: String,
    /// Role and content, in turn.
    pub messages: Vec<(&'static str, String)>,
}

/// All of them, in the order of the answers.
pub fn conversations() -> Vec<Conversation> {
    let lines = |text: &'static str| text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let questions: HashMap<u64, Value> =
        lines(QUESTIONS).map(|question| (question["question_id"].as_u64().unwrap(), question)).collect();
    let texts = |turns: &Value| -> Vec<String> {
        turns.as_array().unwrap().iter().map(|turn| turn.as_str().unwrap().to_owned()).collect()
    };
    lines(ANSWERS)
        .map(|answer| {
            let question_id = answer["question_id"].as_u64().unwrap();
            let question = &questions[&question_id];
            let turns = texts(&question["turns"]).into_iter().zip(texts(&answer["choices"][0]["turns"]));
            let messages = turns.flat_map(|(asked, answered)| [("user", asked), ("assistant", answered)]).collect();
            Conversation {
                question_id,
                category: question["category"].as_str().unwrap().to_owned(),
                model: answer["model_id"].as_str().unwrap().to_owned(),
                messages,
            }
        })
        .collect()
}
