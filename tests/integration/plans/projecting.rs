//! The projector changes a row by its key, however many rows the tenant has; held for the plan of a few tenants.

use domain::TenantId;
use sqlx::{AssertSqlSafe, Executor as _, Row as _};
use store::{ProjectorDatabase, RelayDatabase, TenantsTx};

use super::{TENANT, seeded};

const UPDATE: &str = "
    prepare change(uuid[], uuid[], bigint[], timestamptz[], timestamptz[], bigint[]) as
    update sessions s set message_count = s.message_count + c.messages
    from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::timestamptz[], $5::timestamptz[], $6::bigint[])
      as c (tenant, id, messages, last_message, ended, version)
    where s.tenant_id = c.tenant and s.id = c.id";

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_a_tenant_with_many_is_changed_by_its_key() {
    let database = seeded().await;
    let (id, many): (String, i64) =
        sqlx::query_as("select min(id::text), count(*) from sessions where tenant_id = $1::uuid")
            .bind(TENANT)
            .fetch_one(&database.admin)
            .await
            .unwrap();
    assert!(many >= 400);
    let projector = ProjectorDatabase::connect(database.databases.projector.clone()).await.unwrap();
    let mut tx = TenantsTx::begin(&projector, [TenantId(TENANT.parse().unwrap())]).await.unwrap();
    tx.connection().execute(UPDATE).await.unwrap();
    let explain =
        format!("explain execute change('{{{TENANT}}}', '{{{id}}}', '{{1}}', '{{now}}', '{{null}}', '{{null}}')");
    let plan = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_all(tx.connection()).await.unwrap();
    let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    let plan = plan.join("\n");
    assert!(plan.contains("Index Scan using sessions_pkey"), "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_log_is_read_in_the_order_of_its_index_before_there_are_statistics() {
    let database = tests::database().await;
    let fill = format!(
        "alter table events set (autovacuum_enabled = false);
         insert into tenant_heads (tenant_id, seq, shard) values ('{TENANT}', 20000, 1);
         insert into events (tenant_id, seq, category, stream_id, version, event_id, name, schema, data, meta, occurred_at,
                             recorded_at)
         select '{TENANT}', n, 'session', md5('s' || n)::uuid, 1, md5('e' || n)::uuid, 'session.started', 1, '{{}}', '{{}}',
                now(), now() from generate_series(1, 20000) n"
    );
    database.admin.execute(AssertSqlSafe(fill)).await.unwrap();
    let page = format!("prepare page as {}", store::select_events_after());
    let explain = format!("explain execute page('{{{TENANT}}}', '{{100}}', 500)");
    let projector = ProjectorDatabase::connect(database.databases.projector.clone()).await.unwrap();
    let mut projecting = TenantsTx::begin(&projector, [TenantId(TENANT.parse().unwrap())]).await.unwrap();
    let relay = RelayDatabase::connect(database.databases.relay.clone()).await.unwrap();
    let mut relaying = relay.pool().acquire().await.unwrap();
    for connection in [projecting.connection(), &mut *relaying] {
        connection.execute(AssertSqlSafe(page.clone())).await.unwrap();
        let plan = sqlx::raw_sql(AssertSqlSafe(explain.clone())).fetch_all(connection).await.unwrap();
        let plan = plan.iter().map(|row| row.get(0)).collect::<Vec<String>>().join("\n");
        assert!(plan.contains("Index Scan using events_pkey") && !plan.contains("Sort"), "{plan}");
    }
}
