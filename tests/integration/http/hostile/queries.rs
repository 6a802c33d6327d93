//! Query strings and cursors made to break something, at every read.

use chrono::TimeDelta;
use domain::tenant::Role;
use reqwest::Method;
use serde_json::json;

use super::super::{member, now};
use super::{Stage, assert_problem, assert_refused, routes};

/// None of them is a query of any read.
fn queries() -> Vec<String> {
    let fixed = [
        "x=1",
        "X",
        "=",
        "&&&=&=",
        "%00",
        "%00=1",
        "min_seq=%00",
        "min_seq=-1",
        "min_seq=",
        "min_seq=1e400",
        "min_seq=0&min_seq=0",
        "min_seq=18446744073709551616",
        "Min_Seq=1",
        "min_seq%20=1",
        "limit=0",
        "limit=201",
        "limit=-1",
        "limit=1e3",
        "limit=%D9%A3",
        "limit=+1",
        "limit=",
        "limit=1&limit=1",
        "limit[]=1",
        "cursor=%ff%fe",
        "cursor=",
        "cursor=../../x",
        "%zz=%",
        "%ff=1",
        "after=-1",
        "after=%00",
        "after=9223372036854775807",
        "after=9223372036854775808",
        "category=session'--",
        "category=",
        "from=2026-11-22",
        "to=%2B262142-01-01T00:00:00Z",
        "session_id=1",
        "currency=usd",
        "voided=1",
        "status=open%00",
        "status=OPEN",
        "mode=",
        "order=up",
        "access_token=x",
    ];
    let many: String = (0..500).map(|n| format!("a{n}={n}&")).collect();
    let long = ["cursor", "min_seq", "limit", "x"].map(|name| format!("{name}={}", "1".repeat(7_000)));
    fixed.map(str::to_owned).into_iter().chain([many]).chain(long).collect()
}

#[tokio::test]
async fn no_query_string_is_ignored_or_a_fault_of_ours() {
    let stage = Stage::set().await;
    let before = stage.head().await;
    let mut reads = 0;
    for route in routes::all().iter().filter(|route| route.methods.contains(&Method::GET)) {
        let session = stage.session.to_string();
        let path = route.with(if route.path.ends_with("{period}") { "2026-11" } else { &session });
        for query in queries() {
            let reply = stage.user.get(&format!("{path}?{query}")).await;
            if route.is_open() {
                assert!(reply.status < 500, "{path}?{query}: {}", reply.body);
            } else {
                assert_refused(&reply, &format!("{path}?{query}"));
                assert!([400, 422].contains(&reply.status), "{path}?{query}: {}", reply.body);
                reads += 1;
            }
        }
    }
    assert!(reads > 200, "{reads}");
    stage.ends_at(before).await;
}

#[tokio::test]
async fn a_cursor_with_any_one_letter_changed_is_no_cursor_of_any_list() {
    let stage = Stage::set().await;
    stage.user.start_session().await;
    for _ in 0..2 {
        stage.user.say(stage.session, "Hello").await;
        stage.user.post("/v1/costs", &json!({"service": "llm", "provider": "openai"})).await;
    }
    let last_month = json!({"service": "llm", "provider": "openai", "occurred_at": now() - TimeDelta::days(34)});
    assert_eq!(stage.user.post("/v1/costs", &last_month).await.status, 201);
    member(&stage.user, Role::Member).await;
    stage.world.drain().await;
    let before = stage.head().await;
    let mut lists = Vec::new();
    for route in routes::all().iter().filter(|route| route.methods == [Method::GET] || route.methods.len() > 1) {
        let path = format!("{}?limit=1", route.with(&stage.session.to_string()));
        let first = stage.user.get(&path).await;
        let Some(cursor) = first.body["next_cursor"].as_str() else { continue };
        assert_eq!(stage.user.get(&format!("{path}&cursor={cursor}")).await.status, 200);
        for at in 0..cursor.len() {
            let mut changed = cursor.to_owned();
            let other = if cursor[at..].starts_with('A') { "B" } else { "A" };
            changed.replace_range(at..=at, other);
            let reply = stage.user.get(&format!("{path}&cursor={changed}")).await;
            assert_problem(&reply, 400, "cursor_mismatch");
        }
        lists.push(route.path.clone());
    }
    assert_eq!(lists.len(), routes::lists(), "{lists:?}");
    stage.ends_at(before).await;
}
