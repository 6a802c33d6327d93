//! Each read table has a twin in the schema `staging` that the same statements write.

use super::tables;

/// Columns, checks and keys as they must be alike: with the run taken out of the twin's.
const SHAPE: &str = "
    select string_agg(line, e'\\n' order by line) from (
      select a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || case when a.attnotnull then ' not null' else '' end
             || ' ' || coalesce(pg_get_expr(d.adbin, d.adrelid), '') as line
      from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
      where a.attrelid = $1::regclass and a.attnum > 0 and not a.attisdropped and a.attname <> 'run_id'
      union all
      select conname || ' ' || replace(pg_get_constraintdef(oid), 'tenant_id, run_id', 'tenant_id')
      from pg_constraint where conrelid = $1::regclass and contype in ('p', 'u', 'c')
    ) lines";

#[tokio::test(flavor = "multi_thread")]
async fn every_read_table_has_a_twin_with_its_columns_and_the_names_of_its_keys() {
    let database = tests::database().await;
    for table in tables() {
        let shape = async |name: String| -> String {
            sqlx::query_scalar(SHAPE).bind(name).fetch_one(&database.admin).await.unwrap()
        };
        let twin = format!("staging.{}", table.name);
        assert_eq!(shape(twin.clone()).await, shape(format!("public.{}", table.name)).await);
        let sql = "select c.relpersistence = 'u' and exists (
                     select from pg_constraint k join pg_attribute a on a.attrelid = c.oid and a.attname = 'run_id'
                     where k.conrelid = c.oid and k.contype in ('p', 'u') and k.conkey[2] = a.attnum and a.attnotnull)
                   from pg_class c where c.oid = $1::regclass";
        let keyed: bool = sqlx::query_scalar(sql).bind(&twin).fetch_one(&database.admin).await.unwrap();
        assert!(keyed, "{twin} is logged, or no key of it has the run after the tenant");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registry_names_each_tables_key_and_its_first_column_is_never_null() {
    let database = tests::database().await;
    for table in tables() {
        let key: Vec<String> = sqlx::query_scalar(
            "select a.attname::text from pg_constraint k cross join unnest(k.conkey) with ordinality as c (num, n)
             join pg_attribute a on a.attrelid = k.conrelid and a.attnum = c.num
             where k.conrelid = $1::text::regclass and k.contype in ('p', 'u') order by c.n",
        )
        .bind(table.name)
        .fetch_all(&database.admin)
        .await
        .unwrap();
        assert_eq!(key[0], "tenant_id");
        assert_eq!(&key[1..], table.key, "{}", table.name);
        let filled: bool = sqlx::query_scalar(
            "select attnotnull from pg_attribute where attrelid = $1::text::regclass and attname = $2",
        )
        .bind(table.name)
        .bind(table.key[0])
        .fetch_one(&database.admin)
        .await
        .unwrap();
        assert!(filled, "{}.{}", table.name, table.key[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_that_the_projector_writes_is_in_the_registry() {
    let database = tests::database().await;
    let written: Vec<String> = sqlx::query_scalar(
        "select c.relname::text from pg_class c
         where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
           and has_table_privilege('convolog_projector', c.oid, 'delete') order by 1",
    )
    .fetch_all(&database.admin)
    .await
    .unwrap();
    let mut named: Vec<&str> = tables().map(|table| table.name).collect();
    // No read tables: what is left out of them, and which processes there are.
    named.extend(["dead_letters", "lease_holders"]);
    named.sort_unstable();
    assert_eq!(written, named);
}
