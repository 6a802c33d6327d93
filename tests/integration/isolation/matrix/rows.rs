//! Rows for any tenant table, made from its columns and constraints: nobody writes them down table by table.

use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

/// The run of all rows that belong to one.
pub(super) const RUN: Uuid = Uuid::from_u128(0xf);

/// A tenant table and how to write a row of it.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) name: String,
    /// Without generated ones; the first is `tenant_id`.
    columns: Vec<Column>,
    /// Columns of the primary key.
    pub(super) key: Vec<String>,
}

#[derive(Clone, Debug)]
struct Column {
    name: String,
    kind: String,
    /// The first text that a CHECK of the column names.
    allowed: Option<String>,
    /// One of several of which a CHECK takes only one, and not the first of them.
    left_out: bool,
}

/// All tenant tables, those that others refer to first.
pub(super) async fn tenant_tables(admin: &mut PgConnection) -> Vec<Table> {
    let rows = sqlx::query(
        "select c.oid::regclass::text as name,
           array_agg(a.attname::text order by a.attname <> 'tenant_id', a.attnum) as columns,
           array_agg(format_type(a.atttypid, -1) order by a.attname <> 'tenant_id', a.attnum) as kinds,
           array_agg((select (regexp_match(pg_get_constraintdef(k.oid), '''([^'']*)'''))[1] from pg_constraint k
                      where k.conrelid = c.oid and k.contype = 'c' and a.attnum = any (k.conkey) limit 1)
                     order by a.attname <> 'tenant_id', a.attnum) as allowed,
           array_agg(exists (select from pg_constraint k
                             where k.conrelid = c.oid and k.contype = 'c' and a.attnum = any (k.conkey)
                               and a.attnum > (select min(n) from unnest(k.conkey) n)
                               and pg_get_constraintdef(k.oid) like '%num_nonnulls%')
                     order by a.attname <> 'tenant_id', a.attnum) as left_out,
           (select array_agg(a.attname::text order by a.attname) from pg_constraint k
            join pg_attribute a on a.attrelid = c.oid and a.attnum = any (k.conkey)
            where k.oid = (select u.oid from pg_constraint u where u.conrelid = c.oid and u.contype in ('p', 'u')
                           order by u.contype limit 1)) as key
         from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
         where c.relkind in ('r', 'p') and not c.relispartition and not a.attisdropped
           and a.attgenerated = '' and a.attidentity <> 'a'
           and exists (select from pg_attribute t where t.attrelid = c.oid and t.attname = 'tenant_id')
         group by c.oid
         order by (select count(*) from pg_constraint k where k.conrelid = c.oid and k.contype = 'f'), 1",
    )
    .fetch_all(admin)
    .await
    .unwrap();
    let table = |row: &sqlx::postgres::PgRow| {
        let (names, kinds): (Vec<String>, Vec<String>) = (row.get("columns"), row.get("kinds"));
        let allowed: Vec<Option<String>> = row.get("allowed");
        let left_out: Vec<bool> = row.get("left_out");
        let columns = names.into_iter().zip(kinds).zip(allowed).zip(left_out);
        let column = |(((name, kind), allowed), left_out)| Column { name, kind, allowed, left_out };
        let columns = columns.map(column).collect();
        Table { name: row.get("name"), columns, key: row.get("key") }
    };
    rows.iter().map(table).collect()
}

impl Table {
    /// Whether its rows are seen run by run.
    pub(super) fn is_staged(&self) -> bool {
        self.name.starts_with("staging.") && self.name != "staging.progress"
    }

    /// The columns as a list.
    pub(super) fn columns(&self) -> String {
        self.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// The `n`-th row of a tenant as literals. All but the tenant depends on `n` alone, so the same row of two tenants
    /// would collide in any key that does not begin with the tenant.
    pub(super) fn values(&self, tenant: Uuid, n: u16) -> String {
        self.columns.iter().map(|column| self.value(column, tenant, n)).collect::<Vec<_>>().join(", ")
    }

    fn value(&self, column: &Column, tenant: Uuid, n: u16) -> String {
        if column.name == "tenant_id" {
            return format!("'{tenant}'");
        }
        if column.name == "run_id" && self.is_staged() {
            return format!("'{RUN}'");
        }
        if column.left_out {
            return "null".to_owned();
        }
        if let Some(allowed) = &column.allowed {
            if column.kind.ends_with("[]") {
                return format!("'{{{allowed}}}'");
            }
            return format!("'{allowed}'");
        }
        match column.kind.as_str() {
            "uuid" => format!("'{}'", Uuid::from_u128(u128::from(n))),
            "text" => format!("'text {n}'"),
            "smallint" | "integer" | "bigint" | "numeric" => n.to_string(),
            "boolean" => "true".to_owned(),
            "json" | "jsonb" => "'{}'".to_owned(),
            "bytea" => format!("'\\x{n:04x}'"),
            "timestamp with time zone" => format!("'2026-01-01 00:00:00+00'::timestamptz + {n} * interval '1 hour'"),
            "date" => format!("date '2026-01-01' + {n}"),
            "interval" => format!("{n} * interval '1 hour'"),
            kind if kind.ends_with("[]") => "'{}'".to_owned(),
            kind => panic!("{}.{} is {kind}: say here how to make one", self.name, column.name),
        }
    }
}
