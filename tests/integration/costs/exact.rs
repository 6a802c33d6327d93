//! Amounts and quantities are exact wherever they lie, and however large their sums grow.

use domain::Period;
use serde_json::json;
use sqlx::{Executor as _, PgPool};

use super::ledger::{Ledger, cost};
use crate::faults::group_version::quick_world;

/// Columns whose type is none for money, or not the one.
async fn inexact(admin: &PgPool) -> Vec<String> {
    sqlx::query_scalar(
        "select format('%s.%I %s', a.attrelid::regclass, a.attname, format_type(a.atttypid, a.atttypmod))
         from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
         join pg_type t on t.oid = a.atttypid left join pg_type e on e.oid = t.typelem
         where n.nspname !~ '^pg_|^information_schema$' and c.relkind in ('r', 'p', 'v', 'm', 'f') and a.attnum > 0
           and not a.attisdropped
           and (coalesce(e.typname, t.typname) in ('float4', 'float8', 'money')
                or a.attname ~ '(amount|quantity)' and format_type(a.atttypid, a.atttypmod) !~ '^numeric\\(\\d+,12\\)$')
         order by 1",
    )
    .fetch_all(admin)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_column_is_a_floating_point_number_and_amounts_have_twelve_places() {
    let database = tests::database().await;
    assert_eq!(inexact(&database.admin).await, [""; 0]);
    // It would be found.
    let wrong = "create schema elsewhere; create table elsewhere.wrong (a real, b float8[], c money, amount numeric,
                 quantity numeric(24, 6), total_amount bigint, fine numeric(24, 12))";
    database.admin.execute(wrong).await.unwrap();
    let found = inexact(&database.admin).await;
    let columns: Vec<&str> = found.iter().map(|found| found.split(['.', ' ']).nth(2).unwrap()).collect();
    assert_eq!(columns, ["a", "amount", "b", "c", "quantity", "total_amount"]);
    let columns: i64 = sqlx::query_scalar(
        "select count(*) from information_schema.columns where table_schema = 'public' and column_name in ('amount', 'quantity')",
    )
    .fetch_one(&database.admin)
    .await
    .unwrap();
    assert!(columns >= 6, "amounts and quantities have other names now");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sum_that_outgrows_every_number_type_is_told_digit_by_digit() {
    let world = quick_world().await;
    let user = world.tenant().await;
    let largest = "999999999999.999999999999";
    let session = uuid::Uuid::now_v7();
    let costs = (0..3).map(|_| {
        let cost = cost("2026-11-03T10:20:30Z", Some(largest), Some("USD")).using(&[("images", largest, "images")]);
        cost.with(|charge| (charge.session_id, charge.message_id) = (Some(session), Some(session))).recorded()
    });
    let seq = Ledger::of(&world).append(&user, costs.collect()).await;
    let range = "from=2026-11-01T00:00:00Z&to=2026-12-01T00:00:00Z";
    let summary = user.get(&format!("/v1/costs/summary?{range}&min_seq={seq}")).await.body;
    assert_eq!(summary["totals"][0]["amount"], "2999999999999.999999999997");
    assert_eq!(summary["data"][0]["usage"][0]["quantity"], "2999999999999.999999999997");

    // 38 digits, as many as a sum can have, where 64 bits end at 19 and 96 at 28: it would take very many costs.
    let (sum, twice) = ("49999999999999999999999999.999999999999", "99999999999999999999999999.999999999998");
    let quarters = "insert into cost_summaries (tenant_id, bucket, service, provider, currency, recorded, voided, unpriced, amount)
                    select $1, bucket, 'llm', 'p', 'EUR', 1, 0, 0, $2::numeric
                    from unnest(array['2026-11-05T00:00:00Z', '2026-11-05T00:15:00Z']::timestamptz[]) bucket";
    let used = "insert into usage_summaries (tenant_id, bucket, service, provider, type, unit, quantity)
                select $1, bucket, 'llm', 'p', 'images', 'images', $2::numeric
                from unnest(array['2026-11-05T00:00:00Z', '2026-11-05T00:15:00Z']::timestamptz[]) bucket";
    let period = "insert into cost_period_totals (tenant_id, period, currency, recorded, voided, unpriced, amount)
                  values ($1, '2026-11', 'EUR', 1, 0, 0, $2::numeric)";
    for sql in [quarters, used, period] {
        sqlx::query(sql).bind(user.tenant).bind(sum).execute(&world.database.admin).await.unwrap();
    }
    let summary = user.get(&format!("/v1/costs/summary?{range}&group_by=provider")).await.body;
    assert_eq!(summary["totals"][0]["amount"], twice);
    assert_eq!(summary["data"][1]["totals"][0]["amount"], twice);
    assert_eq!(summary["data"][1]["usage"][0]["quantity"], twice);
    assert_eq!(user.get("/v1/costs/periods/2026-11").await.body["totals"][0]["amount"], sum);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_zero_and_never_minus_zero_and_unpriced_is_not_zero() {
    let world = quick_world().await;
    let user = world.tenant().await;
    let unpriced = cost("2026-11-03T10:00:00Z", None, Some("CHF"));
    let entries = vec![
        cost("2026-11-03T10:00:00Z", Some("-0.000"), Some("USD")).recorded(),
        cost("2026-11-03T10:00:00Z", Some("-0.1"), Some("EUR")).recorded(),
        cost("2026-11-03T10:00:00Z", Some("0.100000000000"), Some("EUR")).recorded(),
        unpriced.clone().recorded(),
        cost("2026-11-03T10:00:00Z", None, Some("JPY")).recorded(),
        unpriced.voided("2026-12-24T00:00:00Z"),
    ];
    let seq = Ledger::of(&world).append(&user, entries).await;
    let november = user.get(&format!("/v1/costs/periods/2026-11?min_seq={seq}")).await.body;
    let total = |currency: &str, amount: serde_json::Value, [recorded, voided, unpriced]: [i64; 3]| json!({"currency": currency, "amount": amount, "recorded": recorded, "voided": voided, "unpriced": unpriced});
    let totals = json!([
        total("CHF", json!(null), [1, 1, 0]),
        total("EUR", json!("0"), [2, 0, 0]),
        total("JPY", json!(null), [1, 0, 1]),
        total("USD", json!("0"), [1, 0, 0]),
    ]);
    assert_eq!(november["totals"], totals);
    assert_eq!((&november["last_version"], &november["unpriced"]), (&json!(6), &json!(1)));
    // A void counts when its cost occurred: nothing of it is in December.
    assert_eq!(user.get("/v1/costs/periods/2026-12").await.body["last_version"], 0);
    let summary = user.get("/v1/costs/summary?from=2026-11-03T10:00:00Z&to=2026-11-03T10:15:00Z").await.body;
    assert_eq!(summary["totals"], totals);
    assert_eq!(summary["data"][0]["totals"], totals);
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_clients_who_record_into_one_month_leave_no_gap_and_no_cent() {
    let world = quick_world().await;
    let user = world.tenant().await;
    let clients: Vec<_> = (0..16_u32)
        .map(|client| {
            let user = user.clone();
            tokio::spawn(async move {
                for n in 0..20_u32 {
                    let amount = format!("{client}.0000000{:05}", n * 10 + 1);
                    let body = json!({"service": "llm", "provider": format!("p{client}"), "amount": amount,
                                      "usage": [{"type": "images", "quantity": "0.1"}]});
                    let reply = user.insist(|| user.request(reqwest::Method::POST, "/v1/costs").json(&body)).await;
                    assert_eq!(reply.status, 201, "{}", reply.body);
                    if n % 5 == 0 {
                        let path = format!("/v1/costs/{}/void", reply.id());
                        let voided = user.insist(|| user.request(reqwest::Method::POST, &path).json(&json!({}))).await;
                        assert_eq!(voided.status, 200, "{}", voided.body);
                    }
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    world.drain().await;
    let events = user.events().await;
    let lines = super::fold::lines(&events);
    // Almost always one month, unless it ends just now.
    let mut periods = std::collections::BTreeMap::new();
    for line in &lines {
        *periods.entry(Period::parse(&line.period).unwrap()).or_insert(0) += 1;
        assert_eq!(
            periods[&Period::parse(&line.period).unwrap()],
            line.version,
            "versions are 1, 2, 3, … in the log's order"
        );
    }
    assert_eq!(lines.len(), 16 * 24);
    let told = user.all_pages("/v1/costs/periods?limit=9").await;
    let last: Vec<_> = told.iter().map(|row| row["last_version"].as_i64().unwrap()).collect();
    assert_eq!(last, periods.values().rev().copied().collect::<Vec<_>>());
    // Of each client's 20 costs, 16 are left: 16 times its number, and the cents of n = 1..20 but 0, 5, 10, 15.
    let cents: i64 = (0..20).filter(|n| n % 5 != 0).map(|n| n * 10 + 1).sum();
    let whole: i64 = (0..16).map(|client| client * 16).sum();
    let expected = super::fold::decimal(i128::from(whole) * 1_000_000_000_000 + i128::from(cents * 16));
    let month = user.get("/v1/costs/summary?from=2026-01-01T00:00:00Z&to=2199-01-01T00:00:00Z").await.body;
    assert_eq!(month["totals"][0]["amount"], expected);
    assert_eq!(month["data"][0]["usage"][0]["quantity"], "25.6");
    assert_eq!(month["totals"][0]["recorded"], 320);
}
