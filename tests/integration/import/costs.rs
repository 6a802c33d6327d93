//! Cost exports: each cost once and exactly, however often the file comes and whatever came between.

use std::io::Cursor;

use convolog::import::Progress;
use convolog::import::costs::{Format, Ledger, Report, read, run};
use domain::{Currency, TenantId};
use serde_json::json;
use tests::{User, World};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{conversation, file, now};

async fn import(world: &World, user: &User, text: impl Into<Vec<u8>>) -> Report {
    let (report, result) = try_import(world, user, text, &CancellationToken::new()).await;
    result.unwrap();
    report
}

async fn try_import(
    world: &World,
    user: &User,
    text: impl Into<Vec<u8>>,
    stop: &CancellationToken,
) -> (Report, anyhow::Result<()>) {
    let text = text.into();
    let format = if text.starts_with(b"{") { Format::Jsonl } else { Format::Csv };
    let (database, log, _) = world.nodes[0].write_side().unwrap();
    let ledger = Ledger::new(database.clone(), log.clone(), TenantId(user.tenant), Uuid::now_v7());
    let mut report = Report::new(Progress::hidden());
    let result = run(Some(&ledger), read(Cursor::new(text), format, now()).unwrap(), stop, &mut report).await;
    (report, result)
}

const HEADER: &str = "request_id,timestamp,model,spend,currency,prompt_tokens\n";

/// Rows of these numbers, over two months and two currencies, every tenth one unpriced and every seventh without an id
/// and like others of that kind.
fn rows(numbers: std::ops::Range<u64>) -> String {
    let row = |n: u64| {
        let month = if n.is_multiple_of(3) { "2025-12-31" } else { "2026-01-01" };
        let currency = if n.is_multiple_of(2) { "EUR" } else { "" };
        if n % 7 == 3 {
            return format!(",{month} 10:00:00,gpt-4o,0.000000000001,{currency},3\n");
        }
        let amount =
            if n % 10 == 9 { String::new() } else { format!("0.{:012}", n * 7_919_u64.pow(2) % 1_000_000_007) };
        format!("r{n},{month} 10:00:00,gpt-4o,{amount},{currency},{n}\n")
    };
    numbers.map(row).collect()
}

/// What a spreadsheet would say of the rows: sum in the last place and number, by currency.
fn own_sums(rows: &str) -> [(i128, u64); 2] {
    let mut sums = [(0, 0); 2];
    for row in rows.lines() {
        let cells: Vec<&str> = row.split(',').collect();
        if let Some(places) = cells[3].strip_prefix("0.") {
            let sum = &mut sums[usize::from(cells[4] == "EUR")];
            *sum = (sum.0 + places.parse::<i128>().unwrap(), sum.1 + 1);
        }
    }
    sums
}

/// The same of the report.
fn reported(report: &Report) -> [(i128, u64); 2] {
    [Currency::USD, Currency::parse("EUR").unwrap()].map(|currency| {
        let sum = report.sums.of(currency);
        let text = sum.to_string();
        let (whole, places) = text.split_once('.').unwrap_or((&text, ""));
        (format!("{whole}{places:0<12}").parse().unwrap(), sum.costs)
    })
}

/// The same of the read tables, once they have everything.
async fn kept(world: &World, user: &User) -> [(i128, u64); 2] {
    world.drain().await;
    let sql = "select currency, (sum(amount) * 1000000000000)::bigint, count(*) from cost_events
               where tenant_id = $1 and amount is not null group by currency order by currency = 'EUR'";
    let rows: Vec<(String, i64, i64)> =
        sqlx::query_as(sql).bind(user.tenant).fetch_all(&world.database.admin).await.unwrap();
    let [usd, eur] = rows.as_slice() else { panic!("{rows:?}") };
    [usd, eur].map(|(_, sum, count)| (i128::from(*sum), count.cast_unsigned()))
}

async fn count(world: &World, user: &User) -> i64 {
    let sql = "select count(*) from events where tenant_id = $1 and category = 'ledger'";
    sqlx::query_scalar(sql).bind(user.tenant).fetch_one(&world.database.admin).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sums_are_the_exports_own_and_a_second_run_changes_nothing() {
    let world = World::start().await;
    let user = world.tenant().await;
    let rows = rows(0..1_000);
    let text = format!("{HEADER}{rows}");
    let first = import(&world, &user, text.as_str()).await;
    assert_eq!((first.new, first.there, first.findings.bad), (1_000, 0, 0));
    let expected = own_sums(&rows);
    assert_eq!(reported(&first), expected);
    assert_eq!(first.sums.unpriced, 1_000 - expected[0].1 - expected[1].1);
    assert_eq!(kept(&world, &user).await, expected);

    let second = import(&world, &user, text.as_str()).await;
    assert_eq!((second.new, second.there, second.findings.bad), (0, 1_000, 0));
    assert_eq!((reported(&second), second.new_sums.of(Currency::USD).costs), (expected, 0));
    assert_eq!(count(&world, &user).await, 1_000);

    // A longer export of the same rows, in another order.
    let mut longer: Vec<&str> = rows.lines().collect();
    longer.reverse();
    let more = self::rows(1_000..1_100);
    let third = import(&world, &user, format!("{HEADER}{}\n{more}", longer.join("\n"))).await;
    assert_eq!((third.new, third.there), (100, 1_000));
    assert_eq!(kept(&world, &user).await, own_sums(&format!("{rows}{more}")));
    // Every event is in the ledger of its month, without a gap.
    let gaps = "select count(*) from (select version, row_number() over (partition by stream_id order by version) as n
                from events where tenant_id = $1 and category = 'ledger') e where version <> n";
    let gaps: i64 = sqlx::query_scalar(gaps).bind(user.tenant).fetch_one(&world.database.admin).await.unwrap();
    assert_eq!(gaps, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failure_or_a_stop_exactly_the_missing_rest_is_added() {
    let world = World::start().await;
    let user = world.tenant().await;
    let rows = rows(0..1_500);
    let text = format!("{HEADER}{rows}");
    let admin = &world.database.admin;
    sqlx::query("alter table events add constraint too_long check (version < 600)").execute(admin).await.unwrap();
    let (failed, result) = try_import(&world, &user, text.as_str(), &CancellationToken::new()).await;
    assert!(result.is_err());
    assert!((1..1_500).contains(&failed.new), "{}", failed.new);
    sqlx::query("alter table events drop constraint too_long").execute(admin).await.unwrap();
    let there = count(&world, &user).await.cast_unsigned();

    let stop = CancellationToken::new();
    stop.cancel();
    let (stopped, result) = try_import(&world, &user, text.as_str(), &stop).await;
    result.unwrap();
    assert!(stopped.interrupted && stopped.new == 0);

    let rest = import(&world, &user, text.as_str()).await;
    assert_eq!((rest.new, rest.there), (1_500 - there, there));
    assert_eq!(reported(&rest), own_sums(&rows));
    assert_eq!(kept(&world, &user).await, own_sums(&rows));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_imports_of_one_file_at_the_same_time_record_each_cost_once() {
    let world = World::start().await;
    let user = world.tenant().await;
    let text = format!("{HEADER}{}", rows(0..600));
    let (one, other) = tokio::join!(import(&world, &user, text.as_str()), import(&world, &user, text.as_str()));
    assert_eq!((one.findings.bad, other.findings.bad), (0, 0));
    assert_eq!((one.new + other.new, one.there + other.there), (600, 600));
    assert_eq!(count(&world, &user).await, 600);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cost_that_has_changed_is_a_bad_line_and_stays_as_it_is() {
    let world = World::start().await;
    let user = world.tenant().await;
    let line = |id: &str, amount: &str, date: &str| json!({"id": id, "date": date, "cost": amount, "images": 2});
    let (a, b) = (line("a", "1", "2026-11-02"), line("b", "2", "2026-11-02"));
    // The same cost twice in one file, and one that contradicts it.
    let lines = [a.clone(), b.clone(), a.clone(), line("a", "1.5", "2026-11-02")];
    let report = import(&world, &user, file(&lines)).await;
    assert_eq!((report.new, report.there, report.findings.bad), (2, 1, 1));
    let events = user.events().await;

    let lines = [line("a", "1.5", "2026-11-02"), b.clone(), line("b", "2", "2026-10-02"), line("c", "3", "2026-11-02")];
    let report = import(&world, &user, file(&lines)).await;
    assert_eq!((report.new, report.there, report.findings.bad), (1, 1, 2));
    assert_eq!(user.events().await[..events.len()], events[..]);

    // The amount in another spelling is the same; a contradiction twice is bad twice.
    let report = import(&world, &user, file(&[line("a", "1.0", "2026-11-02T00:00:00Z")])).await;
    assert_eq!((report.there, report.findings.bad), (1, 0));
    let other = line("a", "7", "2026-11-02");
    let report = import(&world, &user, file(&[other.clone(), other])).await;
    assert_eq!((report.there, report.findings.bad), (0, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_lines_are_skipped_and_a_voided_cost_stays_voided() {
    let world = World::start().await;
    let user = world.tenant().await;
    let id = Uuid::now_v7();
    let text = format!("id,date,cost\n,2026-11-02,much\n{id},2024-02-29,5\nx,2026-12-24,1\n,,\n");
    let report = import(&world, &user, text.as_str()).await;
    assert_eq!((report.new, report.findings.bad), (1, 3));
    let events = user.events().await;
    assert_eq!(events.last().unwrap()["subject"], "ledger/2024-02");
    assert_eq!(events.last().unwrap()["data"]["cost_id"], id.to_string());

    let void = user.post(&format!("/v1/costs/{id}/void"), &json!({})).await;
    assert_eq!(void.status, 200, "{}", void.body);
    let report = import(&world, &user, text).await;
    assert_eq!((report.new, report.there, report.findings.bad), (0, 1, 3));
    assert_eq!(user.events().await.len(), events.len() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cost_names_the_session_of_an_imported_conversation_by_the_conversations_id() {
    let world = World::start().await;
    let user = world.tenant().await;
    super::import(&world, &user, file(&[conversation("chat-17", 2)])).await;
    let own = Uuid::now_v7();
    let text =
        format!("id,date,cost,session_id\n1,2026-11-02,0.5,chat-17\n2,2026-11-02,0.25,chat-17\n3,2026-11-02,4,{own}\n");
    let report = import(&world, &user, text).await;
    assert_eq!((report.new, report.findings.bad), (3, 0));
    world.drain().await;
    let session = user.get("/v1/sessions").await.body["data"][0]["id"].as_str().unwrap().parse::<Uuid>().unwrap();
    for (session, expected) in [(session, "0.75"), (own, "4")] {
        let sql = "select trim_scale(amount)::text from session_costs where tenant_id = $1 and session_id = $2";
        let sum: String =
            sqlx::query_scalar(sql).bind(user.tenant).bind(session).fetch_one(&world.database.admin).await.unwrap();
        assert_eq!(sum, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_adds_up_and_writes_nothing() {
    let rows = rows(0..500);
    let mut report = Report::new(Progress::hidden());
    let text = format!("{HEADER}{rows},,,,,\n");
    let lines = read(Cursor::new(text), Format::Csv, now()).unwrap();
    run(None, lines, &CancellationToken::new(), &mut report).await.unwrap();
    assert_eq!((report.new, report.findings.bad), (500, 1));
    assert_eq!(reported(&report), own_sums(&rows));
    assert!(report.as_read().starts_with("500 costs, 1 bad lines\n  EUR 0."), "{}", report.as_read());
}
