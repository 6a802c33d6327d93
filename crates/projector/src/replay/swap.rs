//! Replaces the rows of the read tables by those of a run, slice by slice; only rows that differ are touched.

use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::run::Swapped;
use super::statements::{Statements, compare_from_here};
use crate::Error;

/// A part of a table: the rows after one value of the key's first column up to another.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slice {
    pub(crate) after: Option<String>,
    pub(crate) to: Option<String>,
}

impl Slice {
    /// Whether the table has other rows.
    pub(crate) fn is_partial(&self) -> bool {
        self.after.is_some() || self.to.is_some()
    }
}

/// Whose rows are replaced by those of which run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whose<'a> {
    pub(crate) tenants: &'a [Uuid],
    pub(crate) run: Uuid,
}

/// Walks through the tables in slices of about `slice_rows`, from a place on, until `most_rows` were looked at; answers the
/// place where it stopped, `None` at the end. A slice holds all rows of one value of the key's first column.
pub(crate) struct Walk<'a> {
    statements: &'a [Statements],
    table: usize,
    after: Option<String>,
    slice_rows: u64,
    left: u64,
}

impl<'a> Walk<'a> {
    pub(crate) fn from(statements: &'a [Statements], place: &Swapped, slice_rows: u64, most_rows: u64) -> Self {
        let known = |it: &Statements| Some(it.table.name) == place.table.as_deref();
        let table = statements.iter().position(known);
        let after = if table.is_some() { place.to.clone() } else { None };
        Self { statements, table: table.unwrap_or(0), after, slice_rows, left: most_rows }
    }

    /// The next slice, if there is one and room for it.
    pub(crate) async fn next(
        &mut self,
        connection: &mut PgConnection,
        whose: Whose<'_>,
    ) -> Result<Option<(&'a Statements, Slice)>, Error> {
        let Some(statements) = self.statements.get(self.table).filter(|_| self.left > 0) else { return Ok(None) };
        let to: Option<String> = sqlx::query_scalar(AssertSqlSafe(statements.slice_end.clone()))
            .bind(whose.tenants)
            .bind(whose.run)
            .bind(self.after.as_deref())
            .bind(self.slice_rows.cast_signed())
            .persistent(false)
            .fetch_one(connection)
            .await?;
        let slice = Slice { after: self.after.take(), to };
        // The last slice of a table is not full; it costs something all the same.
        self.left = self.left.saturating_sub(if slice.to.is_some() { self.slice_rows } else { 1 });
        match &slice.to {
            Some(to) => self.after = Some(to.clone()),
            None => self.table += 1,
        }
        Ok(Some((statements, slice)))
    }

    /// Where it goes on; `None` when it has been through all tables.
    pub(crate) fn place(&self) -> Option<Swapped> {
        let table = self.statements.get(self.table)?.table.name.to_owned();
        Some(Swapped { table: Some(table), to: self.after.clone() })
    }
}

/// Replaces a slice; answers how many rows were deleted or added.
pub(crate) async fn replace(
    connection: &mut PgConnection,
    statements: &Statements,
    whose: Whose<'_>,
    slice: &Slice,
) -> Result<u64, Error> {
    let mut touched = 0;
    for sql in [&statements.delete, &statements.insert] {
        let done = sqlx::query(AssertSqlSafe(sql.clone()))
            .bind(whose.tenants)
            .bind(whose.run)
            .bind(slice.after.as_deref())
            .bind(slice.to.as_deref())
            // Planned for these values: a plan for all would not know which ends of the slice are open.
            .persistent(false)
            .execute(&mut *connection)
            .await
            .map_err(Error::of_rows)?;
        touched += done.rows_affected();
    }
    Ok(touched)
}

/// Replaces everything at once, and drops the run's rows.
pub(crate) async fn replace_all(
    connection: &mut PgConnection,
    statements: &[Statements],
    whose: Whose<'_>,
) -> Result<u64, Error> {
    compare_from_here(connection).await?;
    // Most tenants have no row in most tables: one question is cheaper than three statements for each.
    let occupied = statements.iter().map(|it| it.occupied.as_str()).collect::<Vec<_>>().join(", ");
    let occupied: Vec<bool> = sqlx::query_scalar(AssertSqlSafe(format!("select array[{occupied}]")))
        .bind(whose.tenants)
        .bind(whose.run)
        .fetch_one(&mut *connection)
        .await?;
    let occupied = statements.iter().zip(occupied).filter(|(_, occupied)| *occupied);
    let mut touched = 0;
    for (it, _) in occupied {
        for (sql, counts) in [(&it.delete_all, true), (&it.insert_all, true), (&it.drop_all, false)] {
            let sql = sqlx::query(AssertSqlSafe(sql.clone())).bind(whose.tenants).bind(whose.run);
            let rows = sql.execute(&mut *connection).await.map_err(Error::of_rows)?.rows_affected();
            touched += if counts { rows } else { 0 };
        }
    }
    Ok(touched)
}
