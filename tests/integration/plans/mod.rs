//! Each index has a statement that uses it, and row-level security costs no statement its index.

mod appends;
mod projecting;
mod queries;

use std::collections::HashMap;

use domain::{Actor, ActorKind, TenantId};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, PgConnection, Row as _};
use store::{ApiDatabase, TenantContext, TenantTx};
use tests::TestDatabase;
use uuid::Uuid;

use queries::{ONLY_FORBID, QUERIES, Query, Shape};

/// A tenant with a past, its first session and its first user, as the seed makes them.
const TENANT: &str = "00000000-0000-0000-0000-000000000001";

async fn seeded() -> TestDatabase {
    let database = tests::database().await;
    database.admin.execute(include_str!("seed.sql")).await.unwrap();
    database
}

impl Query {
    fn arguments(&self, ids: &(String, String)) -> String {
        self.arguments
            .replace("'S'", &format!("'{}'", ids.0))
            .replace("{S}", &format!("{{{}}}", ids.0))
            .replace("'U'", &format!("'{}'", ids.1))
            .replace('T', TENANT)
    }
}

/// The ids of the tenant's first session and user.
async fn ids(database: &TestDatabase) -> (String, String) {
    let sql = "select md5('session1' || $1::uuid)::uuid::text, md5('user1' || $1::uuid)::uuid::text";
    sqlx::query_as(sql).bind(TENANT).fetch_one(&database.admin).await.unwrap()
}

/// One connection per role, with the tenant set as the product sets it.
async fn logins(database: &TestDatabase) -> HashMap<&'static str, PgConnection> {
    let mut logins = HashMap::new();
    for role in ["convolog_api", "convolog_projector", "convolog_relay"] {
        let mut connection = database.login_options(role).await.options([("jit", "off")]).connect().await.unwrap();
        let tenants = format!("set app.current_tenant_id = '{TENANT}'; set app.current_tenant_ids = '{{{TENANT}}}'");
        connection.execute(AssertSqlSafe(tenants)).await.unwrap();
        logins.insert(role, connection);
    }
    logins
}

/// What is wrong with a plan.
fn complaints(plan: &[String], shape: Shape) -> Vec<String> {
    let with = |word: &str| plan.iter().filter(|line| line.contains(word)).cloned().collect::<Vec<_>>();
    let mut wrong = with("Seq Scan");
    if shape == Shape::Read {
        wrong.extend(with("Sort"));
    }
    if matches!(shape, Shape::Read | Shape::Sum) {
        let scans = with("Index Scan").len() + with("Index Only Scan").len();
        let by_tenant = with("Index Cond: ").iter().filter(|line| line.contains("tenant_id = ")).count();
        if scans == 0 || by_tenant != scans {
            wrong.push(format!("{scans} index scans, {by_tenant} of them by tenant"));
        }
        // The policy is looked at once, as a condition of the index or before anything is read.
        let policy = with("(InitPlan ");
        let once = policy.iter().filter(|line| line.contains("Index Cond: ") || line.contains("One-Time Filter: "));
        if policy.is_empty() || once.count() != policy.len() {
            wrong.push(format!("the policy is a filter of rows: {policy:?}"));
        }
    }
    wrong
}

#[tokio::test(flavor = "multi_thread")]
async fn every_read_goes_through_an_index_that_begins_with_the_tenant_and_is_in_order() {
    let database = seeded().await;
    let (ids, mut logins) = (ids(&database).await, logins(&database).await);
    let mut wrong = Vec::new();
    for query in QUERIES.iter().filter(|query| query.shape != Shape::Any) {
        let connection = logins.get_mut(query.role).unwrap();
        connection.execute(AssertSqlSafe(format!("prepare listed as {}", query.sql))).await.unwrap();
        // A pool's connection plans for the values first, then once for all.
        for mode in ["force_custom_plan", "force_generic_plan"] {
            let explain =
                format!("set plan_cache_mode = {mode}; explain (costs off) execute listed({})", query.arguments(&ids));
            let rows = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_all(&mut *connection).await.unwrap();
            let plan: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            let complaints = complaints(&plan, query.shape);
            if !complaints.is_empty() {
                wrong.push(format!("{} ({mode}): {complaints:#?}\n{}", query.name, plan.join("\n")));
            }
        }
        connection.execute("deallocate listed").await.unwrap();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_goes_through_an_index_also_when_its_plan_was_made_while_the_tables_were_empty() {
    let database = tests::database().await;
    // What was analysed while it was empty is believed to be empty until it is analysed again.
    database.admin.execute("vacuum analyze").await.unwrap();
    let api = ApiDatabase::connect(database.databases.api.clone()).await.unwrap();
    let actor = Actor { kind: ActorKind::User, id: Uuid::nil() };
    let context = TenantContext::authenticated(TENANT.parse::<Uuid>().map(TenantId).unwrap(), actor);
    let mut tx = TenantTx::begin_snapshot(&api, &context).await.unwrap();
    tx.connection().execute("set local plan_cache_mode = force_generic_plan").await.unwrap();
    let ids = (Uuid::nil().to_string(), Uuid::nil().to_string());
    let reads = QUERIES.iter().filter(|query| matches!(query.shape, Shape::Read | Shape::Sum));
    let mut wrong = Vec::new();
    for query in reads.filter(|query| query.role == "convolog_api") {
        let explain =
            format!("prepare listed as {}; explain (costs off) execute listed({})", query.sql, query.arguments(&ids));
        let rows = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_all(tx.connection()).await.unwrap();
        let plan: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        if plan.iter().any(|line| line.contains("Seq Scan")) || !plan.iter().any(|line| line.contains("Index")) {
            wrong.push(format!("{}\n{}", query.name, plan.join("\n")));
        }
        tx.connection().execute("deallocate listed").await.unwrap();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// How often each index was scanned by this connection, as far as it has not told the server's statistics yet.
async fn scans(connection: &mut PgConnection) -> HashMap<String, i64> {
    let sql = "select indexrelid::regclass::text, pg_stat_get_xact_numscans(indexrelid) from pg_stat_user_indexes";
    sqlx::query_as::<_, (String, i64)>(sql).fetch_all(connection).await.unwrap().into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_index_is_used_by_a_statement_or_forbids_something() {
    let database = seeded().await;
    let (ids, mut logins) = (ids(&database).await, logins(&database).await);
    let mut unused: Vec<String> = scans(logins.get_mut("convolog_api").unwrap()).await.into_keys().collect();
    // The twins have the keys of the read tables alone, by which their rows are written.
    unused.retain(|index| !index.starts_with("staging."));
    for name in ONLY_FORBID {
        assert!(unused.iter().any(|index| index == name), "{name} is named but does not exist");
    }
    // To delete a tenant's rows, any index that begins with the tenant will do.
    for query in QUERIES.iter().filter(|query| !query.sql.starts_with("delete")) {
        let connection = logins.get_mut(query.role).unwrap();
        let prepare = format!("set plan_cache_mode = force_generic_plan; prepare listed as {}", query.sql);
        connection.execute(AssertSqlSafe(prepare)).await.unwrap();
        let execute = format!("execute listed({})", query.arguments(&ids));
        // The first run plans, and planning looks at the ends of indexes that the plan does not use.
        let first = format!("begin; {execute}; rollback; begin");
        connection.execute(AssertSqlSafe(first)).await.unwrap_or_else(|error| panic!("{}: {error}", query.name));
        let before = scans(connection).await;
        connection.execute(AssertSqlSafe(execute)).await.unwrap();
        let after = scans(connection).await;
        connection.execute("rollback; deallocate listed").await.unwrap();
        unused.retain(|index| after[index] == before[index]);
    }
    unused.sort();
    let (mut named, read): (Vec<&str>, Vec<&str>) =
        ONLY_FORBID.iter().partition(|name| unused.iter().any(|u| u == *name));
    named.sort_unstable();
    assert!(read.is_empty(), "named as never read, but read: {read:?}");
    assert_eq!(unused, named, "indexes that cost every write and help no statement");
}
