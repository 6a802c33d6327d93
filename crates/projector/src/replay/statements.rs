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
    /// Adds the run's rows that the read table does not have just so.
    pub(crate) insert: String,
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
                "($3::text is null or {column} > $3::text::{kind}) and ($4::text is null or {column} <= $4::text::{kind})"
            )
        };
        // What can be hashed; the rest of the key is in the comparison of the rows.
        let filled = |name: &&&str| columns.iter().any(|column| column.name == ***name && column.filled);
        let same_key: String =
            key.iter().filter(filled).map(|name| format!(" and s.\"{name}\" = l.\"{name}\"")).collect();
        let same =
            format!("s.tenant_id = l.tenant_id{same_key} and record_image_eq(row({}), row({}))", list("s"), list("l"));
        let read = format!(
            "public.{name} l where l.tenant_id = any($1) and {} and not exists (
               select from staging.{name} s where s.tenant_id = any($1) and s.run_id = $2 and {} and {same})",
            slice("l"),
            slice("s")
        );
        let staged = format!(
            "staging.{name} s where s.tenant_id = any($1) and s.run_id = $2 and {} and not exists (
               select from public.{name} l where l.tenant_id = any($1) and {} and {same})",
            slice("s"),
            slice("l")
        );
        let end = |table: &str, more: &str| {
            format!(
                "(select t.\"{first}\" from {table}.{name} t where t.tenant_id = any($1) {more}
                  and ($3::text is null or t.\"{first}\" > $3::text::{kind}) order by t.\"{first}\" offset $4 - 1 limit 1)"
            )
        };
        let order = key.iter().map(|name| format!("s.\"{name}\"")).collect::<Vec<_>>().join(", ");
        let run = format!("staging.{name} s where s.tenant_id = any($1) and s.run_id = $2");
        let names = columns.iter().map(|column| format!("\"{}\"", column.name)).collect::<Vec<_>>().join(", ");
        Self {
            table,
            columns: columns.iter().map(|column| column.name.clone()).collect(),
            slice_end: format!("select least({}, {})::text", end("public", ""), end("staging", "and t.run_id = $2")),
            delete: format!("delete from {read}"),
            insert: format!("insert into public.{name} ({names}) select {} from {staged}", list("s")),
            only_read: format!("select array[{}] from {read}", texts("l")),
            only_staged: format!("select array[{}] from {staged}", texts("s")),
            drop_all: format!("delete from {run}"),
            drop_some: format!("delete from {run} and s.ctid = any(array(select s.ctid from {run} limit $3))"),
            count: format!("select count(*) from {run}"),
            print: format!(
                "select row_to_json(r)::text from (select {} from {run} and {} order by {order}) r",
                list("s"),
                slice("s")
            ),
        }
    }
}

/// From here on the transaction compares tables: both are read once, not one for each row of the other.
pub(crate) async fn compare_from_here(connection: &mut PgConnection) -> Result<(), Error> {
    let sql = "set local enable_hashjoin = on; set local enable_mergejoin = on; set local enable_nestloop = off";
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await?;
    Ok(())
}
