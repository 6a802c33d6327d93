//! What the read tables must hold, worked out from the log by plain SQL and not by the projector's code.

use tests::World;

/// A statement per family of tables.
const DIFFERENCES: [&str; 2] = [include_str!("oracle.sql"), include_str!("oracle_ledger.sql")];

/// What is wrong with logs, read tables and checkpoints, one line each; empty when every tenant's rows are exactly
/// those of its log up to the head.
pub(crate) async fn differences(world: &World) -> Vec<String> {
    let mut differences: Vec<String> = Vec::new();
    for statement in DIFFERENCES {
        differences.extend(sqlx::query_scalar(statement).fetch_all(&world.database.admin).await.unwrap());
    }
    differences
}

/// Waits for the projector, then compares all rows of all tenants with the log.
pub(crate) async fn assert_rows_are_those_of_the_log(world: &World) {
    world.drain().await;
    let differences = differences(world).await;
    assert!(differences.is_empty(), "{} differences, the first are {:#?}", differences.len(), {
        differences.iter().take(5).collect::<Vec<_>>()
    });
}
