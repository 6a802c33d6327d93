//! What an answer means: pure, so that each verdict can be tried without a server.

use serde_json::Value;

use super::front::Answer;
use super::plan::{Doing, Item};

/// What becomes of a command after an answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// Acknowledged, with this body.
    Done(Value),
    /// Refused because the rules say so.
    Refused,
    /// Nothing was done: send it again.
    NotNow,
    /// It may have been done.
    Unknown,
    /// The answer must not be.
    Wrong(String),
}

/// What a command should be answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expected {
    Status(u16),
    Refusal(u16, &'static str),
    /// The first answer again.
    Same(u16, Value),
}

pub(crate) fn expected(doing: &Doing, first: impl Fn(u64) -> Option<(u16, Value)>) -> Option<Expected> {
    Some(match doing {
        Doing::Start { .. } | Doing::Post { .. } | Doing::Cost(_) => Expected::Status(201),
        Doing::End { .. } | Doing::Batch(_) | Doing::Void { .. } => Expected::Status(200),
        Doing::PostToEnded { .. } => Expected::Refusal(409, "session_ended"),
        Doing::VoidAgain { .. } => Expected::Refusal(409, "already_voided"),
        Doing::Reuse(_) => Expected::Refusal(422, "idempotency_key_reused"),
        Doing::Repeat(step) => {
            let (status, body) = first(*step)?;
            Expected::Same(status, body)
        }
    })
}

pub(crate) fn judge(expected: &Expected, answer: &Answer) -> Verdict {
    let Answer::Http { status, code, body, replayed, .. } = answer else { return Verdict::Unknown };
    match (*status, code.as_str()) {
        (503, "outcome_unknown") => return Verdict::Unknown,
        // A token may have run out while its bearer was waiting.
        (503 | 429 | 408 | 401, _) => return Verdict::NotNow,
        _ => {}
    }
    let wrong = || Verdict::Wrong(format!("{status} {body}, and not {expected:?}"));
    match expected {
        Expected::Status(wanted) if wanted == status => Verdict::Done(body.clone()),
        Expected::Refusal(wanted, reason) if wanted == status && reason == code => Verdict::Refused,
        Expected::Same(wanted, first) if wanted == status && first == body && *replayed => Verdict::Done(body.clone()),
        Expected::Status(_) | Expected::Refusal(..) | Expected::Same(..) => wrong(),
    }
}

/// What is wrong with a read that was to reflect `min_seq` and to show `wanted`; `Ok(false)` when it was put off.
pub(crate) fn judge_read(min_seq: u64, wanted: &str, answer: &Answer) -> Result<bool, String> {
    match answer {
        Answer::Broken => Ok(false),
        Answer::Http { status: 503 | 429 | 408 | 401, .. } => Ok(false),
        Answer::Http { status: 200, seq: Some(seq), body, .. } if *seq >= min_seq => {
            let text = body.to_string();
            text.contains(wanted).then_some(true).ok_or_else(|| format!("no {wanted} as of {seq}: {text:.300}"))
        }
        Answer::Http { status, seq, body, .. } => {
            Err(format!("{status} with Convolog-Seq {seq:?} for min_seq {min_seq}: {body:.300}"))
        }
    }
}

/// What is wrong with the statuses of a batch.
pub(crate) fn judge_batch(items: &[Item], body: &Value) -> Option<String> {
    let wanted = items.iter().map(|item| match item {
        Item::New(_) => "created",
        Item::Duplicate(_) => "duplicate",
        Item::Invalid => "rejected",
    });
    let told = body["results"].as_array().into_iter().flatten().map(|result| result["status"].as_str().unwrap_or(""));
    (!told.eq(wanted)).then(|| format!("a batch was answered {body}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(status: u16, code: &str, body: Value, replayed: bool, seq: Option<u64>) -> Answer {
        Answer::Http { status, code: code.to_owned(), body, replayed, seq }
    }

    #[test]
    fn only_what_was_said_twice_alike_is_the_same() {
        let first = json!({"id": "a", "seq": 4, "version": 1});
        let expected = Expected::Same(201, first.clone());
        assert_eq!(judge(&expected, &answer(201, "", first.clone(), true, None)), Verdict::Done(first.clone()));
        let mut other = first.clone();
        other["seq"] = json!(5);
        for bad in [
            answer(201, "", other, true, None),
            answer(201, "", first.clone(), false, None),
            answer(200, "", first, true, None),
            answer(409, "session_ended", json!({}), false, None),
            answer(500, "internal", json!({}), false, None),
        ] {
            assert!(matches!(judge(&expected, &bad), Verdict::Wrong(_)), "{bad:?}");
        }
    }

    #[test]
    fn only_an_unknown_outcome_may_have_been_done() {
        let expected = Expected::Status(201);
        assert_eq!(judge(&expected, &Answer::Broken), Verdict::Unknown);
        assert_eq!(judge(&expected, &answer(503, "outcome_unknown", json!({}), false, None)), Verdict::Unknown);
        assert_eq!(judge(&expected, &answer(503, "overloaded", json!({}), false, None)), Verdict::NotNow);
    }

    #[test]
    fn a_refusal_is_right_for_its_reason_alone() {
        let expected = Expected::Refusal(409, "already_voided");
        assert_eq!(judge(&expected, &answer(409, "already_voided", json!({}), false, None)), Verdict::Refused);
        for (status, code) in [(409, "session_ended"), (200, ""), (404, "not_found")] {
            assert!(matches!(judge(&expected, &answer(status, code, json!({}), false, None)), Verdict::Wrong(_)));
        }
    }

    #[test]
    fn a_read_that_is_behind_or_lacks_what_was_written_is_wrong() {
        let body = json!({"content": "c1s2 hello"});
        assert_eq!(judge_read(7, "c1s2", &answer(200, "", body.clone(), false, Some(7))), Ok(true));
        assert_eq!(judge_read(7, "c1s2", &answer(503, "read_model_behind", json!({}), false, None)), Ok(false));
        assert!(judge_read(7, "c1s2", &answer(200, "", body.clone(), false, Some(6))).is_err());
        assert!(judge_read(7, "c1s2", &answer(200, "", body.clone(), false, None)).is_err());
        assert!(judge_read(7, "c1s3", &answer(200, "", body, false, Some(7))).is_err());
        assert!(judge_read(7, "c1s2", &answer(404, "not_found", json!({}), false, None)).is_err());
    }

    #[test]
    fn a_batch_says_of_each_item_what_became_of_it() {
        let items = [Item::Invalid];
        assert_eq!(judge_batch(&items, &json!({"results": [{"status": "rejected"}]})), None);
        assert!(judge_batch(&items, &json!({"results": [{"status": "created"}]})).is_some());
        assert!(judge_batch(&items, &json!({"results": []})).is_some());
    }
}
