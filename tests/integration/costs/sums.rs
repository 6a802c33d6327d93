//! Whatever is recorded and voided, and however it is added up: events, rows, periods and summaries come to the same.

use std::collections::BTreeMap;
use std::sync::Mutex;

use chrono::{DateTime, Utc};
use domain::TenantId;
use projector::{PROJECTIONS, Projected};
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde_json::Value;
use sqlx::{Executor as _, Row as _};
use store::{ProjectorDatabase, TenantsTx, event_from_row, select_events_after};
use tests::{User, World, eventually};
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use super::fold::{Line, Money, NONE, QUARTER, canonical, lines, pico, sums, totals, usage};
use super::histories::{History, TENANTS, View, What, histories};
use super::ledger::{Cost, Ledger};
use crate::faults::group_version::quick_world;

/// How many histories are tried.
const CASES: u32 = 40;

/// The tables that follow from ledgers.
const TABLES: [&str; 7] = [
    "cost_events",
    "cost_summaries",
    "usage_summaries",
    "session_costs",
    "message_costs",
    "cost_periods",
    "cost_period_totals",
];

/// One world for all histories.
struct Stage {
    world: World,
    ledger: Ledger,
    projector: ProjectorDatabase,
    /// Whoever has appeared, with all rows as they were then.
    seen: Mutex<Vec<(User, Vec<String>)>>,
}

#[tokio::test(flavor = "multi_thread")]
async fn events_rows_periods_and_summaries_come_to_the_same_for_generated_histories() {
    let world = quick_world().await;
    let projector = ProjectorDatabase::connect(world.database.databases.projector.clone()).await.unwrap();
    let stage = Stage { ledger: Ledger::of(&world), world, projector, seen: Mutex::default() };
    let config =
        Config { cases: CASES, rng_seed: RngSeed::Fixed(0x1ed_6e5), failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&histories(), |history| {
        block_in_place(|| Handle::current().block_on(stage.try_out(history)));
        Ok(())
    });
    outcome.unwrap_or_else(|failed| panic!("{failed}"));

    // And a rebuild of everything gives the same rows.
    let admin = &stage.world.database.admin;
    admin.execute("update projection_checkpoints set version = 0").await.unwrap();
    eventually("everything is rebuilt", async || {
        let old = sqlx::query_scalar::<_, i64>("select count(*) from projection_checkpoints where version = 0");
        old.fetch_one(admin).await.unwrap() == 0
    })
    .await;
    let seen = std::mem::take(&mut *stage.seen.lock().unwrap());
    for (user, live) in seen {
        assert_eq!(rows(&mut admin.acquire().await.unwrap(), &user).await, live);
    }
}

impl Stage {
    async fn try_out(&self, history: History) {
        let mut users = Vec::new();
        for _ in 0..TENANTS {
            users.push(self.world.tenant().await);
        }
        let seqs = self.append(&users, &history).await;
        for (user, seq) in users.iter().zip(seqs) {
            let ready = user.get(&format!("/v1/costs/periods?min_seq={seq}")).await;
            assert_eq!(ready.status, 200, "{}", ready.body);
            let lines = lines(&user.events().await);
            let live = rows(&mut self.world.database.admin.acquire().await.unwrap(), user).await;
            self.tables_come_to_the_same(user, &lines).await;
            periods_come_to_the_same(user, &lines).await;
            for view in &history.views {
                self.summary_comes_to_the_same(user, &lines, view).await;
            }
            for by_stream in [false, true] {
                assert_eq!(self.projected_again(user, &history, by_stream).await, live, "by stream: {by_stream}");
            }
            self.seen.lock().unwrap().push((user.clone(), live));
        }
    }

    /// Appends what happens, as commands of one or several events; answers the last number of each log.
    async fn append(&self, users: &[User], history: &History) -> Vec<u64> {
        let mut seqs = vec![0; users.len()];
        for (tenant, user) in users.iter().enumerate() {
            let mut recorded: Vec<(Cost, bool)> = Vec::new();
            let mut command = Vec::new();
            for step in history.steps.iter().filter(|step| step.tenant == tenant) {
                match &step.what {
                    What::Record(cost) => {
                        recorded.push((cost.clone(), false));
                        command.push(cost.clone().recorded());
                    }
                    What::Void(index) if !recorded.is_empty() => {
                        let at = index.index(recorded.len());
                        let (cost, voided) = &mut recorded[at];
                        if !std::mem::replace(voided, true) {
                            command.push(cost.clone().voided("2027-02-03T04:05:06.789Z"));
                        }
                    }
                    What::Again(index) if !recorded.is_empty() => {
                        if !command.is_empty() {
                            seqs[tenant] = self.ledger.append(user, std::mem::take(&mut command)).await;
                        }
                        let (cost, voided) = &recorded[index.index(recorded.len())];
                        let again =
                            if *voided { cost.clone().voided("2027-01-01T00:00:00Z") } else { cost.clone().recorded() };
                        let refused = self.ledger.try_append(user, vec![again]).await.unwrap_err();
                        assert!(refused.starts_with("Claimed"), "{refused}");
                    }
                    What::Void(_) | What::Again(_) => {}
                }
                if step.cut && !command.is_empty() {
                    seqs[tenant] = self.ledger.append(user, std::mem::take(&mut command)).await;
                }
            }
            if !command.is_empty() {
                seqs[tenant] = self.ledger.append(user, command).await;
            }
        }
        seqs
    }

    async fn tables_come_to_the_same(&self, user: &User, lines: &[Line]) {
        let admin = &self.world.database.admin;
        let money = async |table: &str, key: &str| -> BTreeMap<String, Money> {
            let sql = format!(
                "select concat_ws('|', {key}) as key, amount::text, recorded, voided, unpriced from {table} where tenant_id = $1"
            );
            let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(user.tenant).fetch_all(admin).await.unwrap();
            rows.iter()
                .map(|row| {
                    (
                        row.get("key"),
                        Money {
                            amount: row.get::<Option<&str>, _>("amount").map(pico),
                            recorded: row.get("recorded"),
                            voided: row.get("voided"),
                            unpriced: row.get("unpriced"),
                        },
                    )
                })
                .collect()
        };
        let (model, session, currency) =
            ("coalesce(model, '∅')", "coalesce(session_id::text, '∅')", "coalesce(currency, '∅')");
        let bucket = format!("extract(epoch from bucket)::bigint, service, provider, {model}, {session}");
        let of_bucket = |line: &Line| {
            format!("{}|{}|{}|{}|{}", line.quarter, line.service, line.provider, line.model, line.session)
        };
        assert_eq!(
            money("cost_summaries", &format!("{bucket}, {currency}")).await,
            sums(lines, |line| format!("{}|{}", of_bucket(line), line.currency))
        );
        assert_eq!(
            money("session_costs", &format!("session_id, {currency}")).await,
            sums(lines.iter().filter(|line| line.session != NONE), |line| format!(
                "{}|{}",
                line.session, line.currency
            ))
        );
        assert_eq!(
            money("message_costs", &format!("message_id, {currency}")).await,
            sums(lines.iter().filter(|line| line.message != NONE), |line| format!(
                "{}|{}",
                line.message, line.currency
            ))
        );
        let by_period = sums(lines, |line| format!("{}|{}", line.period, line.currency));
        assert_eq!(money("cost_period_totals", &format!("period, {currency}")).await, by_period);
        let costs = "(select tenant_id, period, currency, count(*) as recorded, count(voided_at) as voided,
                             count(*) filter (where amount is null and voided_at is null) as unpriced,
                             case when count(amount) > 0 then coalesce(sum(amount) filter (where voided_at is null), 0) end as amount
                      from cost_events group by 1, 2, 3) c";
        assert_eq!(money(costs, &format!("period, {currency}")).await, by_period);

        let sql = format!(
            "select concat_ws('|', {bucket}, type, unit), quantity::text from usage_summaries where tenant_id = $1"
        );
        let used: Vec<(String, String)> =
            sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(user.tenant).fetch_all(admin).await.unwrap();
        let used: BTreeMap<String, i128> = used.iter().map(|(key, quantity)| (key.clone(), pico(quantity))).collect();
        assert_eq!(used, usage(lines, of_bucket));
    }

    async fn summary_comes_to_the_same(&self, user: &User, lines: &[Line], view: &View) {
        let mut path =
            format!("/v1/costs/summary?timezone={}&from={}&to={}", view.zone, spelled(view.from), spelled(view.to));
        if let Some(bucket) = view.bucket {
            path += &format!("&bucket={bucket}");
        }
        if !view.group_by.is_empty() {
            path += &format!("&group_by={}", view.group_by.join(","));
        }
        let reply = user.get(&path).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.body);
        let (from, to) = (view.from.timestamp(), view.to.timestamp());
        let lines: Vec<&Line> = lines.iter().filter(|line| (from..to).contains(&line.quarter)).collect();
        let rows = reply.body["data"].as_array().unwrap();
        let edge = |row: &Value, name: &str| row[name].as_str().unwrap().parse::<DateTime<Utc>>().unwrap().timestamp();

        let mut times: Vec<i64> = lines.iter().map(|line| line.quarter).collect();
        for time in rows.iter().flat_map(|row| [edge(row, "start"), edge(row, "end")]) {
            times.extend([time - QUARTER, time]);
        }
        let labels = self.labels(times, view).await;
        let key = |line: &Line| {
            let mut key = labels[&line.quarter].clone();
            for name in &view.group_by {
                let value = match *name {
                    "service" => &line.service,
                    "provider" => &line.provider,
                    "model" => &line.model,
                    _ => &line.session,
                };
                key += &format!("|{value}");
            }
            key
        };
        let (mut money, mut used) = (BTreeMap::new(), BTreeMap::new());
        let mut last = i64::MIN;
        for row in rows {
            let (start, end) = (edge(row, "start"), edge(row, "end"));
            assert!(from <= start && start < end && end <= to && last <= start, "{path}: {row}");
            last = start;
            // It begins and ends where the clock shows something else, or where the range does.
            assert!(start == from || labels[&(start - QUARTER)] != labels[&start], "{path}: {row}");
            assert!(end == to || labels[&(end - QUARTER)] != labels[&end], "{path}: {row}");
            assert_eq!(labels[&start], labels[&(end - QUARTER)], "{path}: {row}");
            let mut key = labels[&start].clone();
            for name in &view.group_by {
                let name = if *name == "session" { "session_id" } else { name };
                let value = row["group"].get(name).unwrap_or_else(|| panic!("{path}: no {name} in {row}"));
                key += &format!("|{}", value.as_str().unwrap_or(NONE));
            }
            assert_eq!(row["group"].as_object().unwrap().len(), view.group_by.len());
            for (currency, total) in totals(&row["totals"]) {
                assert_eq!(money.insert(format!("{key}|{currency}"), total), None, "{path}: {key} twice");
            }
            for line in row["usage"].as_array().unwrap() {
                let [name, unit, quantity] = ["type", "unit", "quantity"].map(|name| line[name].as_str().unwrap());
                assert_eq!(
                    used.insert(format!("{key}|{name}|{unit}"), canonical(quantity)),
                    None,
                    "{path}: {key} twice"
                );
            }
        }
        assert_eq!(money, sums(lines.iter().copied(), |line| format!("{}|{}", key(line), line.currency)), "{path}");
        let mut expected = usage(lines.iter().copied(), key);
        expected.retain(|_, quantity| *quantity != 0);
        assert_eq!(used, expected, "{path}");
        assert_eq!(totals(&reply.body["totals"]), sums(lines, |line| line.currency.clone()), "{path}");
    }

    /// What a clock of the zone shows at these times, as far as it tells buckets apart: as PostgreSQL knows the zone.
    async fn labels(&self, times: Vec<i64>, view: &View) -> BTreeMap<i64, String> {
        let pattern = match view.bucket {
            None => "''",
            Some("month") => "to_char(t at time zone $2, 'YYYY-MM')",
            Some("day") => "to_char(t at time zone $2, 'YYYY-MM-DD')",
            Some(_) => {
                "to_char(t at time zone $2, 'YYYY-MM-DD HH24 ') || (t at time zone $2 - t at time zone 'UTC')::text"
            }
        };
        let sql =
            format!("select s, {pattern} from unnest($1::bigint[]) s cross join to_timestamp(s) t where $2 <> ''");
        let labels: Vec<(i64, String)> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(times)
            .bind(view.zone)
            .fetch_all(&self.world.database.admin)
            .await
            .unwrap();
        labels.into_iter().collect()
    }

    /// The tenant's rows when its log is projected once more, cut in other places, or one stream after the other.
    async fn projected_again(&self, user: &User, history: &History, by_stream: bool) -> Vec<String> {
        let mut tx = TenantsTx::begin(&self.projector, [TenantId(user.tenant)]).await.unwrap();
        let found = sqlx::query(sqlx::AssertSqlSafe(select_events_after()))
            .bind(vec![user.tenant])
            .bind(vec![0_i64])
            .bind(1_000_000_i64)
            .fetch_all(tx.connection())
            .await
            .unwrap();
        let mut events: Vec<_> = found.iter().map(|row| event_from_row(row).unwrap()).collect();
        if by_stream {
            events.sort_by_key(|event| (event.stream, event.version));
        }
        for table in TABLES {
            let sql = format!("delete from {table} where tenant_id = $1");
            sqlx::query(sqlx::AssertSqlSafe(sql)).bind(user.tenant).execute(tx.connection()).await.unwrap();
        }
        let mut cuts: Vec<usize> = history.cuts.iter().map(|cut| cut.index(events.len())).collect();
        cuts.extend([0, events.len()]);
        cuts.sort_unstable();
        for part in cuts.windows(2) {
            let facts = Projected::read(&events[part[0]..part[1]]).unwrap();
            for projection in PROJECTIONS.iter().filter(|projection| TABLES.contains(&projection.tables()[0].name)) {
                projection.write(tx.connection(), &facts).await.unwrap();
            }
        }
        rows(tx.connection(), user).await
    }
}

/// All rows of a tenant that follow from its ledgers, as text.
async fn rows(connection: &mut sqlx::PgConnection, user: &User) -> Vec<String> {
    let tables = TABLES.map(|table| format!("select '{table} ' || t::text as r from {table} t where tenant_id = $1"));
    let sql = format!("select r from ({}) r order by r", tables.join(" union all "));
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).bind(user.tenant).fetch_all(connection).await.unwrap()
}

async fn periods_come_to_the_same(user: &User, lines: &[Line]) {
    let mut ledgers: BTreeMap<&str, Vec<&Line>> = BTreeMap::new();
    for line in lines {
        ledgers.entry(&line.period).or_default().push(line);
    }
    let told = user.all_pages("/v1/costs/periods?limit=2").await;
    let names: Vec<&str> = told.iter().map(|row| row["period"].as_str().unwrap()).collect();
    assert_eq!(names, ledgers.keys().rev().copied().collect::<Vec<_>>());
    for row in &told {
        let period = row["period"].as_str().unwrap();
        let lines = &ledgers[period];
        let versions: Vec<i64> = lines.iter().map(|line| line.version).collect();
        assert_eq!(versions, (1..=row["last_version"].as_i64().unwrap()).collect::<Vec<_>>(), "{row}");
        assert_eq!(totals(&row["totals"]), sums(lines.iter().copied(), |line| line.currency.clone()), "{row}");
        let all = &sums(lines.iter().copied(), |_| String::new())[""];
        let counts = ["recorded", "voided", "unpriced"].map(|name| row[name].as_i64().unwrap());
        assert_eq!(counts, [all.recorded, all.voided, all.unpriced], "{row}");
        assert_eq!(&user.get(&format!("/v1/costs/periods/{period}")).await.body, row);
    }
}

fn spelled(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}
