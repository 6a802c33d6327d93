//! The matrix can fail: what opens a table shows in its cells, beginning with a plan that serves another tenant.

use sqlx::Executor as _;

use super::breaches;

/// What is done to the schema, and a cell that must fail then.
const MUTATIONS: &[(&str, &str)] = &[
    // The plan of the first tenant, cached, with its id in it.
    (
        "alter function get_current_tenant_id() immutable",
        "convolog_api messages SELECT of every row as another tenant: Rows(1) instead of Rows(0)",
    ),
    (
        "alter function get_current_tenant_ids() immutable",
        "convolog_projector messages SELECT as after the tenant's commit: Rows(1) instead of Rows(0)",
    ),
    (
        "alter table messages disable row level security",
        "convolog_api messages COPY TO as nobody: Rows(1) instead of Rows(0)",
    ),
    (
        "create policy more on sessions for select to convolog_api using (status = 'open')",
        "convolog_api sessions JOIN with itself as an empty tenant: Rows(1) instead of Rows(0)",
    ),
    (
        "alter table users add constraint one_of_all unique (id)",
        "convolog_api users INSERT of the same under another tenant as another tenant: Error(\"23505\") instead of Rows(1)",
    ),
    (
        "alter policy insert_convolog_api on credentials with check (true)",
        "convolog_api credentials INSERT as after the tenant's commit: Rows(1) instead of Refused",
    ),
    (
        // The cast of what a commit leaves behind.
        "create or replace function get_current_tenant_id() returns uuid language sql stable parallel safe
         return current_setting('app.current_tenant_id', true)::uuid",
        "convolog_api events SELECT as after the tenant's commit: Error(\"22P02\") instead of Rows(0)",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_opened_table_shows_in_the_matrix() {
    for (mutation, cell) in MUTATIONS {
        let database = tests::database().await;
        database.admin.execute(*mutation).await.unwrap();
        let wrong = breaches(&database, |role, table| cell.starts_with(&format!("{role} {table} "))).await;
        assert!(wrong.iter().any(|breach| breach == cell), "{mutation}: not {cell:?} but {wrong:#?}");
    }
}
