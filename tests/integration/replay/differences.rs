//! A comparison finds a row that was changed, deleted or added by hand in any table, and nothing else.

use projector::Table;
use projector::replay::{Difference, Replay, Sizes, TenantState, Verified};
use sqlx::AssertSqlSafe;
use tests::{User, World};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{LITTLE, execute, rebuild_all, replay, rows, staged, tables, tenants_with_a_past};

async fn states(replay: &Replay) -> Vec<TenantState> {
    replay.tenants_after(Uuid::nil(), 1000).await.unwrap()
}

async fn differences(replay: &Replay) -> (Verified, Vec<Difference>) {
    let mut found = Vec::new();
    let mut sink = |difference| found.push(difference);
    let verified = replay.verify(&states(replay).await, &mut sink, &CancellationToken::new()).await.unwrap();
    (verified, found)
}

/// A column that is no part of the key and may hold another value, and how to make it.
async fn changeable(world: &World, table: &Table) -> (String, String) {
    let columns: Vec<(String, String)> = sqlx::query_as(
        "select a.attname::text, format_type(a.atttypid, -1) from pg_attribute a
         where a.attrelid = $1::text::regclass and a.attnum > 0 and a.attname <> 'tenant_id' and not a.attname = any($2)
           and not exists (select from pg_constraint k
                           where k.conrelid = a.attrelid and k.contype = 'c' and a.attnum = any (k.conkey))
           and not exists (select from pg_index i
                           where i.indrelid = a.attrelid and i.indisunique and a.attnum = any (i.indkey::int[]))",
    )
    .bind(table.name)
    .bind(table.key)
    .fetch_all(&world.database.admin)
    .await
    .unwrap();
    let other = |(name, kind): &(String, String)| match kind.as_str() {
        "bigint" | "numeric" => Some((name.clone(), format!("{name} + 1"))),
        "text" => Some((name.clone(), "'by hand'".to_owned())),
        _ => None,
    };
    columns.iter().find_map(other).unwrap_or_else(|| panic!("what to change in {}? {columns:?}", table.name))
}

/// One row of the user's in this table, as a condition.
async fn some_row(world: &World, table: &Table, user: &User) -> String {
    let sql = format!("select ctid::text from {} where tenant_id = $1 order by random() limit 1", table.name);
    let ctid: String =
        sqlx::query_scalar(AssertSqlSafe(sql)).bind(user.tenant).fetch_one(&world.database.admin).await.unwrap();
    format!("tenant_id = $1 and ctid = '{ctid}'")
}

async fn finds_what_was_done_by_hand(sizes: Sizes) {
    let world = World::start().await;
    let users = tenants_with_a_past(&world, &[60, 60]).await;
    let user = &users[0];
    let message: String = sqlx::query_scalar("select id::text from messages where tenant_id = $1 limit 1")
        .bind(user.tenant)
        .fetch_one(&world.database.admin)
        .await
        .unwrap();
    let body =
        serde_json::json!({"service": "llm", "provider": "a", "amount": "0.000000000001", "message_id": message});
    assert_eq!(user.post("/v1/costs", &body).await.status, 201);
    world.drain().await;
    let right = rows(&world).await;
    let replay = replay(&world, sizes).await;
    let (verified, found) = differences(&replay).await;
    assert_eq!((verified.tenants, verified.differences, found), (2, 0, vec![]));
    assert!(verified.failures.is_empty());
    for table in tables() {
        let name = table.name;
        let (column, other) = changeable(&world, &table).await;
        let row = some_row(&world, &table, user).await;
        assert_eq!(execute(&world, &format!("update {name} set {column} = {other} where {row}"), user.tenant).await, 1);
        let (_, found) = differences(&replay).await;
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        let Difference { tenant, table, there: Some(there), expected: Some(expected), .. } = &found[0] else {
            panic!("{name}: {found:?}")
        };
        assert_eq!((tenant.0, *table), (user.tenant, name));
        let changed: Vec<&str> =
            there.iter().zip(expected).filter(|(a, b)| a != b).map(|((column, _), _)| column.as_str()).collect();
        assert_eq!(changed, [column.as_str()], "{name}");

        rebuild_all(&replay).await;
        let row = some_row(&world, &tables().find(|it| it.name == name).unwrap(), user).await;
        assert_eq!(execute(&world, &format!("delete from {name} where {row}"), user.tenant).await, 1);
        let (_, found) = differences(&replay).await;
        assert!(matches!(&found[..], [Difference { table, there: None, expected: Some(_), .. }] if *table == name));

        rebuild_all(&replay).await;
        // The other tenant's row as this one's; its key is new here.
        let columns: String = sqlx::query_scalar(
            "select string_agg(quote_ident(attname), ', ') from pg_attribute
             where attrelid = $1::text::regclass and attnum > 0 and attname <> 'tenant_id'",
        )
        .bind(name)
        .fetch_one(&world.database.admin)
        .await
        .unwrap();
        let key = tables().find(|it| it.name == name).unwrap().key[0];
        let sql = format!(
            "insert into {name} (tenant_id, {columns}) select $1, {columns} from jsonb_populate_record(null::{name},
               (select to_jsonb(t) from {name} t where tenant_id = $1 limit 1)
               || case when '{key}' in ('period', 'bucket') then jsonb_build_object('{key}', '2001-01-01')
                       else jsonb_build_object('{key}', gen_random_uuid()) end
               || case when '{name}' = 'messages' then jsonb_build_object('version', 100000) else '{{}}' end)"
        );
        assert_eq!(execute(&world, &sql, user.tenant).await, 1, "{name}");
        let (_, found) = differences(&replay).await;
        assert!(matches!(&found[..], [Difference { table, there: Some(_), expected: None, .. }] if *table == name));
        rebuild_all(&replay).await;
        assert_eq!(rows(&world).await, right, "{name}");
    }
    assert_eq!(staged(&world).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_changed_deleted_or_added_is_found_in_a_short_log() {
    finds_what_was_done_by_hand(Sizes::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_changed_deleted_or_added_is_found_in_a_long_log() {
    finds_what_was_done_by_hand(LITTLE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_have_taken_each_others_unique_key_are_repaired_although_they_are_slices_apart() {
    let world = World::start().await;
    let user = tenants_with_a_past(&world, &[120]).await.remove(0);
    let right = rows(&world).await;
    // The places of the first and the last message, of whatever session.
    let sql = "with ends as (select (array_agg(m order by id))[1] as a, (array_agg(m order by id desc))[1] as b
                             from messages m where tenant_id = $1),
          away as (update messages set version = version + 1000000 from ends
                   where messages.tenant_id = $1 and id in ((a).id, (b).id) returning id)
        select (a).id, (a).session_id, (a).version, (b).id, (b).session_id, (b).version from ends, away limit 1";
    let (a, a_session, a_version, b, b_session, b_version): (Uuid, Uuid, i64, Uuid, Uuid, i64) =
        sqlx::query_as(sql).bind(user.tenant).fetch_one(&world.database.admin).await.unwrap();
    for (id, session, version) in [(a, b_session, b_version), (b, a_session, a_version)] {
        let sql = format!(
            "update messages set session_id = '{session}', version = {version} where tenant_id = $1 and id = '{id}'"
        );
        assert_eq!(execute(&world, &sql, user.tenant).await, 1);
    }
    let replay = replay(&world, LITTLE).await;
    let (_, found) = differences(&replay).await;
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(rebuild_all(&replay).await.failed.load(std::sync::atomic::Ordering::Relaxed), 0);
    assert_eq!(rows(&world).await, right);
}
