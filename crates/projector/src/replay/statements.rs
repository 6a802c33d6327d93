//! The SQL that replaces, compares and drops rows of a read table, made from its key and its columns in the catalog.
//!
//! Rows are equal when all their columns are, bit by bit: that holds for `json`, which knows no `=`, and is
//! stricter than needed for none.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row as _};

use crate::projection::Table;
use crate::{Error, PROJECTIONS};

/// The statements of one read table. `$1` are always tenants, `$2` the run; of a slice `$3` is where it begins (exclusive)
/// and `$4` where it ends (inclusive), both values of the key's first column as text, null for the table's ends.
#[derive(Debug)]
pub(crate) struct Statements {
    pub(crate) table: Table,
    /// All columns, generated ones aside.
    pub(crate) columns: Vec<String>,
    /// Where a slice of `$4` rows ends that begins at `$3`; null when fewer rows are left. Both tables are looked at.
    pub(crate) slice_end: String,
    /// Deletes the read table's rows that the run does not have just so.
    pub(crate) delete: String,
    /// After that, adds the run's rows that the read table does not have.
    pub(crate) insert: String,
    /// Whether there is any row, in the read table or in the run; a part of a statement.
    pub(crate) occupied: String,
    /// The two for whole tables, planned once: they know no slice.
    pub(crate) delete_all: String,
    pub(crate) insert_all: String,
    /// The same rows as text arrays, for whoever wants to know.
    pub(crate) only_read: String,
    pub(crate) only_staged: String,
    /// Deletes all of the run's rows, and at most `$3` of them.
    pub(crate) drop_all: String,
    pub(crate) drop_some: String,
    /// The run's rows: how many; and those of a slice in the order of the key, as JSON.
    pub(crate) count: String,
    pub(crate) print: String,
}

/// Of all tables of the group, in the order of the registry.
pub(crate) async fn load(connection: &mut PgConnection) -> Result<Vec<Statements>, Error> {
    let mut all = Vec::new();
    for table in PROJECTIONS.iter().flat_map(|projection| projection.tables()) {
        let columns = sqlx::query(
            "select attname::text as name, format_type(atttypid, atttypmod) as kind, attnotnull as filled
             from pg_attribute
             where attrelid = to_regclass('public.' || $1) and attnum > 0 and not attisdropped and attgenerated = ''
             order by attnum",
        )
        .bind(table.name)
        .fetch_all(&mut *connection)
        .await?;
        let columns = columns.iter().map(|row| {
            Ok(Column { name: row.try_get("name")?, kind: row.try_get("kind")?, filled: row.try_get("filled")? })
        });
        all.push(Statements::of(*table, &columns.collect::<Result<Vec<_>, sqlx::Error>>()?));
    }
    Ok(all)
}

struct Column {
    name: String,
    kind: String,
    filled: bool,
}

impl Statements {
    fn of(table: Table, columns: &[Column]) -> Self {
        let Table { name, key } = table;
        let first = key.first().copied().unwrap_or("tenant_id");
        let kind = columns.iter().find(|column| column.name == first).map_or("text", |column| column.kind.as_str());
        let list = |alias: &str| {
            let of = |column: &Column| format!("{alias}.\"{}\"", column.name);
            columns.iter().map(of).collect::<Vec<_>>().join(", ")
        };
        let texts = |alias: &str| {
            let of = |column: &Column| format!("{alias}.\"{}\"::text", column.name);
            columns.iter().map(of).collect::<Vec<_>>().join(", ")
        };
        let slice = |alias: &str| {
            let column = format!("{alias}.\"{first}\"");
            format!(
                " and ($3::text is null or {column} > $3::text::{kind}) and ($4::text is null or {column} <= $4::text::{kind})"
            )
        };
        let whole = |_: &str| String::new();
        let filled = |name: &str| columns.iter().any(|column| column.name == name && column.filled);
        // What is never null can be hashed; of the rest of the key null is as good as any value.
        let same_key: String = key
            .iter()
            .map(|name| match filled(name) {
                true => format!(" and s.\"{name}\" = l.\"{name}\""),
                false => format!(" and s.\"{name}\" is not distinct from l.\"{name}\""),
            })
            .collect();
        let same_key = format!("s.tenant_id = l.tenant_id{same_key}");
        let same_row = format!("{same_key} and record_image_eq(row({}), row({}))", list("s"), list("l"));
        let read = |part: &dyn Fn(&str) -> String| format!("public.{name} l where l.tenant_id = any($1){}", part("l"));
        let staged = |part: &dyn Fn(&str) -> String| {
            format!("staging.{name} s where s.tenant_id = any($1) and s.run_id = $2{}", part("s"))
        };
        let only_read = |part: &dyn Fn(&str) -> String| {
            format!("{} and not exists (select from {} and {same_row})", read(part), staged(part))
        };
        let only_staged = |part: &dyn Fn(&str) -> String, same: &str| {
            format!("{} and not exists (select from {} and {same})", staged(part), read(part))
        };
        let names = columns.iter().map(|column| format!("\"{}\"", column.name)).collect::<Vec<_>>().join(", ");
        // Where there are as many rows as in the run, and all of them are the run's, none is missing.
        let insert = |part: &dyn Fn(&str) -> String| {
            format!(
                "insert into public.{name} ({names}) select {} from {}
                   and (select count(*) from {}) <> (select count(*) from {})",
                list("s"),
                only_staged(part, &same_key),
                read(part),
                staged(part)
            )
        };
        let end = |table: &str, more: &str| {
            format!(
                "(select t.\"{first}\" from {table}.{name} t where t.tenant_id = any($1) {more}
                  and ($3::text is null or t.\"{first}\" > $3::text::{kind}) order by t.\"{first}\" offset $4 - 1 limit 1)"
            )
        };
        let order = key.iter().map(|name| format!("s.\"{name}\"")).collect::<Vec<_>>().join(", ");
        let run = staged(&whole);
        Self {
            table,
            columns: columns.iter().map(|column| column.name.clone()).collect(),
            slice_end: format!("select least({}, {})::text", end("public", ""), end("staging", "and t.run_id = $2")),
            delete: format!("delete from {}", only_read(&slice)),
            insert: insert(&slice),
            occupied: format!("exists (select from {}) or exists (select from {})", read(&whole), staged(&whole)),
            delete_all: format!("delete from {}", only_read(&whole)),
            insert_all: insert(&whole),
            only_read: format!("select array[{}] from {}", texts("l"), only_read(&slice)),
            only_staged: format!("select array[{}] from {}", texts("s"), only_staged(&slice, &same_row)),
            drop_all: format!("delete from {run}"),
            drop_some: format!("delete from {run} and s.ctid = any(array(select s.ctid from {run} limit $3))"),
            count: format!("select count(*) from {run}"),
            print: format!(
                "select row_to_json(r)::text from (select {} from {} order by {order}) r",
                list("s"),
                staged(&slice)
            ),
        }
    }
}

/// From here on the transaction compares tables: both are read once, not one for each row of the other.
pub(crate) async fn compare_from_here(connection: &mut PgConnection) -> Result<(), Error> {
    let sql = "set local enable_hashjoin = on; set local enable_mergejoin = on; set local enable_nestloop = off;
               set local enable_bitmapscan = on";
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await?;
    Ok(())
}
