//! A period says how many events its ledger has and what they come to.

use domain::Period;
use serde_json::json;

use super::ledger::{Ledger, cost};
use crate::faults::group_version::quick_world;
use crate::http::assert_problem;

#[tokio::test(flavor = "multi_thread")]
async fn a_period_is_as_many_events_as_costs_and_voids() {
    let world = quick_world().await;
    let user = world.tenant().await;
    let ledger = Ledger::of(&world);
    let first = cost("2026-10-31T23:59:59.999999Z", Some("0.10"), Some("USD"));
    let events = vec![
        first.clone().recorded(),
        cost("2026-11-01T00:00:00Z", Some("0.20"), Some("USD")).recorded(),
        cost("2026-10-01T00:00:00Z", Some("-0.300000000001"), Some("EUR")).recorded(),
        cost("2026-10-15T12:00:00Z", None, None).recorded(),
        // Voided in the month after: it counts in the ledger of the cost.
        first.voided("2026-11-05T00:00:00Z"),
    ];
    let seq = ledger.append(&user, events).await;
    let october = user.get(&format!("/v1/costs/periods/2026-10?min_seq={seq}")).await;
    let expected = json!({
        "period": "2026-10", "stream": "ledger/2026-10", "last_version": 4, "as_of_seq": seq,
        "recorded": 3, "voided": 1, "unpriced": 1,
        "totals": [
            {"currency": null, "amount": null, "recorded": 1, "voided": 0, "unpriced": 1},
            {"currency": "EUR", "amount": "-0.300000000001", "recorded": 1, "voided": 0, "unpriced": 0},
            {"currency": "USD", "amount": "0", "recorded": 1, "voided": 1, "unpriced": 0},
        ],
    });
    assert_eq!((october.status, &october.body), (200, &expected));
    assert_eq!(october.header("convolog-seq"), seq.to_string());
    let list = user.get("/v1/costs/periods").await.body;
    assert_eq!(list["data"][1], expected);
    assert_eq!((&list["data"][0]["period"], &list["next_cursor"]), (&json!("2026-11"), &json!(null)));
    assert_eq!(list["data"][0]["totals"][0]["amount"], "0.2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_period_without_costs_is_zeros_and_what_is_no_period_is_unknown() {
    let world = quick_world().await;
    let user = world.tenant().await;
    world.drain().await;
    let none = user.get("/v1/costs/periods/2199-12").await;
    let zeros = json!({"period": "2199-12", "stream": "ledger/2199-12", "last_version": 0, "as_of_seq": 3,
                       "recorded": 0, "voided": 0, "unpriced": 0, "totals": []});
    assert_eq!((none.status, &none.body), (200, &zeros));
    assert_eq!(user.get("/v1/costs/periods").await.body, json!({"data": [], "next_cursor": null}));
    for other in ["2026-13", "2026-1", "1999-12", "2200-01", "2026-11-01", "november", "%002026-11", "2026%2D11%20"] {
        assert_problem(&user.get(&format!("/v1/costs/periods/{other}")).await, 404, "not_found");
    }
    assert_problem(&user.get("/v1/costs/periods/2026-11?min_seq=99").await, 422, "seq_not_in_log");
    assert_problem(&user.get("/v1/costs/periods/2026-11?limit=1").await, 422, "validation_failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn periods_are_listed_page_by_page_with_the_newest_first() {
    let world = quick_world().await;
    let (user, other) = (world.tenant().await, world.tenant().await);
    let ledger = Ledger::of(&world);
    let months: Vec<String> = (0..30).map(|n| format!("{}-{:02}", 2024 + n / 12, n % 12 + 1)).collect();
    let events = months.iter().map(|month| cost(&format!("{month}-01T00:00:00Z"), Some("1"), Some("USD")).recorded());
    let seq = ledger.append(&user, events.collect()).await;
    ledger.append(&other, vec![cost("2031-01-01T00:00:00Z", Some("1"), Some("USD")).recorded()]).await;
    let listed = user.all_pages(&format!("/v1/costs/periods?limit=7&min_seq={seq}")).await;
    let listed: Vec<Period> =
        listed.iter().map(|row| Period::parse(row["period"].as_str().unwrap()).unwrap()).collect();
    let newest_first: Vec<Period> = months.iter().rev().map(|month| Period::parse(month).unwrap()).collect();
    assert_eq!(listed, newest_first);
    let page = user.get("/v1/costs/periods?limit=7").await.body;
    let cursor = page["next_cursor"].as_str().unwrap();
    assert_problem(&other.get(&format!("/v1/costs/periods?cursor={cursor}")).await, 400, "cursor_mismatch");
    assert_problem(&user.get(&format!("/v1/sessions?cursor={cursor}")).await, 400, "cursor_mismatch");
}
