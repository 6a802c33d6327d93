//! The usage that a conversation tells: one cost per reply, once, with the reply or not at all.

use serde_json::{Value, json};
use tests::World;

use super::{conversation, file, import};

/// A conversation of so many messages of which each reply has a cost of its own, told by the common interfaces in turn.
fn with_usage(id: &str, messages: usize) -> Value {
    let mut line = conversation(id, messages);
    line["model"] = "gpt-4o".into();
    for (n, message) in line["messages"].as_array_mut().unwrap().iter_mut().enumerate().skip(1).step_by(2) {
        message["usage"] = match n % 4 {
            1 => json!({"prompt_tokens": 100 + n, "completion_tokens": 30, "total_tokens": 130 + n,
                        "prompt_tokens_details": {"cached_tokens": 60},
                        "completion_tokens_details": {"reasoning_tokens": 10}}),
            _ => json!({"input_tokens": 40 + n, "cache_read_input_tokens": 60, "output_tokens": 20,
                        "output_tokens_details": {"reasoning_tokens": 10}}),
        };
    }
    line
}

/// The costs of the log: of each its event's data.
async fn costs(user: &tests::User) -> Vec<Value> {
    let events = user.events().await;
    let costs = events.iter().filter(|event| event["type"] == "convolog.ledger.cost_recorded.v1");
    costs.map(|event| event["data"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_reply_has_one_cost_however_often_and_in_whatever_pieces_it_is_imported() {
    let world = World::start().await;
    let user = world.tenant().await;
    // 120 replies are more events than one command has.
    let lines = file(&[with_usage("long", 240), with_usage("short", 4)]);
    let admin = &world.database.admin;
    sqlx::query("alter table events add constraint too_long check (category <> 'session' or version < 100)")
        .execute(admin)
        .await
        .unwrap();
    let (report, result) = super::try_import(&world, &user, lines.as_str(), &Default::default()).await;
    assert!(result.is_err());
    assert_eq!(report.new, 1);
    sqlx::query("alter table events drop constraint too_long").execute(admin).await.unwrap();

    let rest = import(&world, &user, lines.as_str()).await;
    assert_eq!((rest.completed, rest.there, rest.findings.bad), (1, 1, 0));
    let again = import(&world, &user, lines.as_str()).await;
    assert_eq!((again.there, again.events, again.costs), (2, 0, 0));

    let costs = costs(&user).await;
    assert_eq!(costs.len(), 122);
    let events = user.events().await;
    for reply in events.iter().filter(|event| event["data"]["role"] == "assistant") {
        let message = &reply["data"]["message_id"];
        let of_reply: Vec<&Value> = costs.iter().filter(|cost| &cost["charge"]["message_id"] == message).collect();
        let [cost] = of_reply.as_slice() else { panic!("{message}: {of_reply:?}") };
        let id = uuid::Uuid::new_v5(&message.as_str().unwrap().parse().unwrap(), b"cost");
        assert_eq!(cost["cost_id"], id.to_string());
        let session = reply["subject"].as_str().unwrap().trim_start_matches("session/");
        assert_eq!(cost["charge"]["session_id"], session);
        assert_eq!((&cost["period"], &cost["charge"]["provider"]), (&"2026-10".into(), &"openai".into()));
        let lines = cost["charge"]["usage"].as_array().unwrap();
        let total = |name: &str| -> u64 {
            let of_type = lines.iter().filter(|line| line["type"] == name);
            of_type.map(|line| line["quantity"].as_str().unwrap().parse::<u64>().unwrap()).sum()
        };
        // What stands beside the input is not taken out of it.
        let output = if (total("input_uncached") - 40) % 4 == 1 { (20, 10) } else { (10, 10) };
        assert_eq!((total("output_text"), total("output_reasoning")), output);
        assert_eq!(total("input_cache_read"), 60);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_amount_or_usage_is_another_line_and_leaves_the_log_as_it_is() {
    let world = World::start().await;
    let user = world.tenant().await;
    let mut line = conversation("priced", 4);
    line["usage"] = json!({"prompt_tokens": 9, "completion_tokens": 12});
    line["cost"] = json!("0.1");
    line["currency"] = "EUR".into();
    let report = import(&world, &user, file(&[line.clone(), conversation("free", 2)])).await;
    assert_eq!((report.new, report.costs, report.events), (2, 1, 9));
    let recorded = costs(&user).await;
    assert_eq!((&recorded[0]["charge"]["amount"], &recorded[0]["charge"]["currency"]), (&"0.1".into(), &"EUR".into()));

    let mut dearer = line.clone();
    dearer["cost"] = json!("0.2");
    let mut longer = line.clone();
    longer["usage"]["completion_tokens"] = 13.into();
    let report = import(&world, &user, file(&[dearer, longer, line])).await;
    assert_eq!((report.new, report.there, report.findings.bad, report.events), (0, 1, 2, 0));
    assert_eq!(costs(&user).await, recorded);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_amount_in_a_file_is_kept_to_the_last_digit() {
    let world = World::start().await;
    let user = world.tenant().await;
    let written = ["0.1", "0.30000000000000004", "1.2e-05", "\"0.0000000000025\"", "123456789012.123456789012"];
    let lines = written.iter().enumerate().map(|(n, amount)| {
        let messages = r#"[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]"#;
        format!("{{\"id\":{n},\"cost\":{amount},\"usage\":{{\"output_tokens\":1}},\"messages\":{messages}}}\n")
    });
    let report = import(&world, &user, lines.collect::<String>()).await;
    assert_eq!((report.costs, report.findings.bad), (5, 0));
    let costs = costs(&user).await;
    let mut amounts: Vec<&str> = costs.iter().map(|cost| cost["charge"]["amount"].as_str().unwrap()).collect();
    amounts.sort_unstable();
    assert_eq!(amounts, ["0.000000000002", "0.000012", "0.1", "0.3", "123456789012.123456789012"]);
}
