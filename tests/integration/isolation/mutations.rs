//! The rules can fail: each way to break the schema is noticed by the rule that is there for it, and by no other.

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use super::rules;

/// Paragraphs of statements, then `--! <rule>: <violation>` for each violation.
const MUTATIONS: &str = include_str!("mutations.sql");

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_break_the_schema_is_noticed() {
    let database = tests::database().await;
    let mut admin = PgConnection::connect(&database.admin_url).await.unwrap();
    let mut wrong = Vec::new();
    let mut silent: Vec<&str> = rules::all().map(|rule| rule.name).collect();
    for mutation in MUTATIONS.split("\n\n").filter(|paragraph| paragraph.contains("--!")) {
        // Rolled back, so that roles, which all databases of the cluster share, are never really changed.
        let mut broken = admin.begin().await.unwrap();
        broken.execute(AssertSqlSafe(mutation)).await.unwrap_or_else(|error| panic!("{mutation}: {error}"));
        let found = rules::violations(&mut broken).await;
        broken.rollback().await.unwrap();
        silent.retain(|name| found.iter().all(|(rule, _)| rule != name));
        let found: Vec<String> = found.into_iter().map(|(rule, violation)| format!("{rule}: {violation}")).collect();
        let expected: Vec<&str> = mutation.lines().filter_map(|line| line.strip_prefix("--! ")).collect();
        if found != expected {
            wrong.push(format!("{mutation}\nfound {found:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(silent.is_empty(), "no mutation breaks these rules, so nobody knows whether they can fail: {silent:#?}");
    assert_eq!(rules::violations(&mut admin).await, []);
}
