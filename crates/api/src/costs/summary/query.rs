//! The SQL of a summary: PostgreSQL sorts the rows into buckets and groups, and adds them up.

use std::collections::HashMap;

use domain::ledger::Service;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row as _};
use uuid::Uuid;

use super::super::total::{Total, Used};
use super::range::Range;
use super::{CostSummary, Group, MAX_LINES, MAX_ROWS, SummaryRow};
use crate::{error::Error, reads::Read, violation::Violation};

/// What rows can be told apart by: the parameter's words, and the columns that they mean.
const KEYS: [(&str, &str); 4] =
    [("service", "service"), ("provider", "provider"), ("model", "model"), ("session", "session_id")];

/// The columns by which rows are told apart, in the order of [`KEYS`].
#[derive(Debug)]
pub(super) struct Grouping(Vec<&'static str>);

impl Grouping {
    /// Reads `service,session`.
    pub(super) fn parse(text: Option<&str>) -> Result<Self, Violation> {
        let refused = |code, detail| Err(Violation::in_query("group_by", code, detail));
        let words: Vec<&str> = text.map_or_else(Vec::new, |text| text.split(',').collect());
        if words.iter().any(|word| !KEYS.iter().any(|(name, _)| name == word)) {
            return refused("invalid_value", "expected service, provider, model or session, separated by commas");
        }
        let columns: Vec<_> = KEYS.iter().filter(|(name, _)| words.contains(name)).map(|(_, column)| *column).collect();
        if columns.len() < words.len() {
            return refused("repeated", "names the same thing twice");
        }
        Ok(Self(columns))
    }

    /// `, service, provider` or nothing.
    fn columns(&self) -> String {
        self.0.iter().map(|column| format!(", {column}")).collect()
    }

    /// The same for `order by`, so that an answer's order does not depend on the plan.
    fn order(&self) -> String {
        self.0.iter().map(|column| format!(", {column} nulls first")).collect()
    }

    fn group(&self, row: &PgRow) -> Result<Group, sqlx::Error> {
        let mut group = Group::default();
        for column in &self.0 {
            match *column {
                "service" => group.service = Some(row.try_get("service")?),
                "provider" => group.provider = Some(row.try_get("provider")?),
                "model" => group.model = Some(row.try_get("model")?),
                _ => group.session_id = Some(row.try_get("session_id")?),
            }
        }
        Ok(group)
    }
}

/// Which costs count.
#[derive(Debug)]
pub(super) struct Filters {
    pub(super) service: Option<Service>,
    pub(super) provider: Option<String>,
    pub(super) model: Option<String>,
    pub(super) session_id: Option<Uuid>,
}

impl Filters {
    /// The rows of a table within a range, each with `n`, the number of its bucket. A statement per set of filters:
    /// `$6 is null or …` would keep the planner from knowing how many rows there will be.
    fn rows_of(&self, table: &str) -> String {
        let given = [
            self.service.map(|_| "service"),
            self.provider.as_ref().map(|_| "provider"),
            self.model.as_ref().map(|_| "model"),
            self.session_id.map(|_| "session_id"),
        ];
        let given = (6..).zip(given.into_iter().flatten());
        let conditions: String = given.map(|(at, column)| format!(" and {column} = ${at}")).collect();
        format!(
            "select width_bucket(bucket, $4::timestamptz[]) as n, * from {table}
             where tenant_id = $1 and bucket >= $2 and bucket < $3{conditions}"
        )
    }
}

/// What the range comes to.
pub(super) async fn summary(
    read: &mut Read,
    range: &Range,
    grouping: &Grouping,
    filters: &Filters,
) -> Result<CostSummary, Error> {
    let mut answer = Answer { range, grouping, places: HashMap::new(), rows: Vec::new() };
    let (columns, order) = (grouping.columns(), grouping.order());
    // The second set is the totals of all rows: they come first, having no bucket.
    let sql = format!(
        "select n{columns}, currency, sum(recorded)::bigint as recorded, sum(voided)::bigint as voided,
                sum(unpriced)::bigint as unpriced, trim_scale(sum(amount))::text as amount
         from ({}) s group by grouping sets ((n{columns}, currency), (currency))
         order by n nulls first{order}, currency nulls first limit $5",
        filters.rows_of("cost_summaries")
    );
    let mut totals = Vec::new();
    for row in fetch(read, sql, range, filters).await? {
        match row.try_get("n")? {
            None => totals.push(Total::from_row(&row)?),
            Some(bucket) => answer.row(bucket, &row)?.totals.push(Total::from_row(&row)?),
        }
    }
    let sql = format!(
        "select n{columns}, type, unit, trim_scale(sum(quantity))::text as quantity
         from ({}) s group by n{columns}, type, unit having sum(quantity) <> 0
         order by n{order}, type, unit limit $5",
        filters.rows_of("usage_summaries")
    );
    for row in fetch(read, sql, range, filters).await? {
        answer.row(row.try_get("n")?, &row)?.usage.push(Used::from_row(&row)?);
    }
    Ok(CostSummary { data: answer.rows, totals })
}

async fn fetch(read: &mut Read, sql: String, range: &Range, filters: &Filters) -> Result<Vec<PgRow>, Error> {
    let mut query = sqlx::query(AssertSqlSafe(sql))
        .bind(read.tenant())
        .bind(range.0.first())
        .bind(range.0.last())
        .bind(&range.0)
        .bind(i64::try_from(MAX_LINES + 1).map_err(Error::internal)?);
    if let Some(service) = filters.service {
        query = query.bind(service.as_str());
    }
    for text in [&filters.provider, &filters.model].into_iter().flatten() {
        query = query.bind(text);
    }
    if let Some(session) = filters.session_id {
        query = query.bind(session);
    }
    let rows = query.fetch_all(read.connection()).await?;
    if rows.len() > MAX_LINES { Err(too_large(MAX_LINES, "totals or lines of usage")) } else { Ok(rows) }
}

/// An answer in the making: rows by bucket and group.
struct Answer<'a> {
    range: &'a Range,
    grouping: &'a Grouping,
    places: HashMap<(i32, Group), usize>,
    rows: Vec<SummaryRow>,
}

impl Answer<'_> {
    /// The row that a line belongs to, in the order in which they come up.
    fn row(&mut self, bucket: i32, line: &PgRow) -> Result<&mut SummaryRow, Error> {
        let group = self.grouping.group(line)?;
        let new = self.rows.len();
        let place = *self.places.entry((bucket, group.clone())).or_insert(new);
        if place == new {
            if new == MAX_ROWS {
                return Err(too_large(MAX_ROWS, "rows"));
            }
            // Buckets are counted from 1.
            let at = usize::try_from(bucket - 1).map_err(Error::internal)?;
            let (start, end) = (self.range.0[at], self.range.0[at + 1]);
            self.rows.push(SummaryRow { start, end, group, totals: Vec::new(), usage: Vec::new() });
        }
        Ok(&mut self.rows[place])
    }
}

fn too_large(most: usize, what: &str) -> Error {
    let detail =
        format!("the answer has more than {most} {what}; ask for a shorter range, longer buckets or fewer groups");
    Error::invalid(Violation::in_query("group_by", "too_many_rows", &detail))
}
