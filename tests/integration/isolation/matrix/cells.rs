//! What is tried on each table, and what must come of it: for its owner, for another tenant and for nobody.

use uuid::Uuid;

use super::rows::Table;

/// How a statement is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// It answers how many rows it touched.
    Execute,
    /// It answers rows.
    Fetch,
    /// It answers lines, of which those with the victim's id count.
    CopyOut,
    /// PostgreSQL refuses it altogether under row-level security.
    CopyIn,
}

/// What came of a statement, or must come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// So many rows.
    Rows(u64),
    /// Row-level security refused the new row, and said nothing about other rows.
    Refused,
    /// There is no grant.
    Denied,
    /// Another error, by its SQLSTATE.
    Error(String),
}

/// One statement.
pub(super) struct Cell {
    /// What is tried.
    pub(super) what: &'static str,
    /// The grants without which it is denied, whoever asks.
    pub(super) needs: &'static [&'static str],
    pub(super) how: How,
    pub(super) sql: String,
    /// For the victim itself.
    pub(super) own: Outcome,
    /// For the other tenant.
    pub(super) other: Outcome,
    /// Without a tenant.
    pub(super) nobody: Outcome,
}

/// The row that the victim has, the one that the other tenant has, and one that nobody has. All columns but the
/// tenant depend on these numbers alone.
pub(super) const VICTIMS: u16 = 1;
pub(super) const OTHERS: u16 = 2;
const ABSENT: u16 = 7;

const READ: &[&str] = &["select"];
const INSERT: &[&str] = &["insert"];
const INSERT_AND_READ: &[&str] = &["insert", "select"];
const UPSERT: &[&str] = &["insert", "select", "update"];
const UPDATE: &[&str] = &["select", "update"];
const DELETE: &[&str] = &["select", "delete"];

/// Everything that is tried on the rows of `victim`.
pub(super) fn cells(table: &Table, victim: Uuid, other: Uuid) -> Vec<Cell> {
    [reads(table, victim), inserts(table, victim, other), changes(table, victim, other)].into_iter().flatten().collect()
}

fn reads(table: &Table, victim: Uuid) -> Vec<Cell> {
    let (name, key) = (&table.name, table.key.join(", "));
    let cell = |what, how, sql| Cell {
        what,
        needs: READ,
        how,
        sql,
        own: Outcome::Rows(1),
        other: Outcome::Rows(0),
        nobody: Outcome::Rows(0),
    };
    let select = format!("select * from {name} where tenant_id = '{victim}'");
    let every = format!("select from (select tenant_id from {name} offset 0) t where tenant_id = '{victim}'");
    let count = format!("select from {name} where tenant_id = '{victim}' having count(*) > 0");
    let join = format!("select from {name} a join {name} b using ({key}) where a.tenant_id = '{victim}'");
    let list = format!("select from (values ('{victim}'::uuid)) v (id) join {name} t on t.tenant_id = v.id");
    let outer = format!(
        "select from (values ('{victim}'::uuid)) v (id) left join {name} t on t.tenant_id = v.id
         where t.tenant_id is not null"
    );
    vec![
        cell("SELECT", How::Fetch, select.clone()),
        cell("SELECT of every row", How::Fetch, every),
        cell("SELECT of a count", How::Fetch, count),
        cell("JOIN with itself", How::Fetch, join),
        cell("JOIN with a list", How::Fetch, list),
        cell("OUTER JOIN", How::Fetch, outer),
        cell("COPY TO", How::CopyOut, format!("copy {name} to stdout")),
        cell("COPY of a query", How::CopyOut, format!("copy ({select}) to stdout")),
    ]
}

fn inserts(table: &Table, victim: Uuid, other: Uuid) -> Vec<Cell> {
    let name = &table.name;
    let (columns, key) = (table.columns(), table.key.join(", "));
    let insert = |tenant, n| format!("insert into {name} ({columns}) values ({})", table.values(tenant, n));
    let update = format!("on conflict ({key}) do update set tenant_id = excluded.tenant_id");
    // Where a tenant has one row at most, its second one collides with its own.
    let single = table.key == ["tenant_id"];
    let added = || if single { Outcome::Error("23505".into()) } else { Outcome::Rows(1) };
    // A stranger learns the same from a row that exists and from one that does not.
    let cell = |what, needs, how, sql, own| Cell {
        what,
        needs,
        how,
        sql,
        own,
        other: Outcome::Refused,
        nobody: Outcome::Refused,
    };
    let (present, absent) = (insert(victim, VICTIMS), insert(victim, ABSENT));
    let copied = format!("insert into {name} ({columns}) select {}", table.values(victim, ABSENT));
    vec![
        cell("INSERT", INSERT, How::Execute, absent.clone(), added()),
        cell("INSERT of what is there", INSERT, How::Execute, present.clone(), Outcome::Error("23505".into())),
        cell("INSERT SELECT", INSERT, How::Execute, copied, added()),
        cell("INSERT RETURNING", INSERT_AND_READ, How::Fetch, format!("{absent} returning *"), added()),
        cell("INSERT or nothing", INSERT, How::Execute, format!("{present} on conflict do nothing"), Outcome::Rows(0)),
        cell("UPSERT", UPSERT, How::Execute, format!("{absent} {update}"), Outcome::Rows(1)),
        cell("UPSERT of what is there", UPSERT, How::Execute, format!("{present} {update}"), Outcome::Rows(1)),
        cell("UPSERT RETURNING", UPSERT, How::Fetch, format!("{present} {update} returning *"), Outcome::Rows(1)),
        Cell {
            // The other tenant may have what the victim has, and must not learn that the victim has it.
            other: added(),
            ..cell(
                "INSERT of the same under another tenant",
                INSERT,
                How::Execute,
                insert(other, VICTIMS),
                Outcome::Refused,
            )
        },
        cell("COPY FROM", INSERT, How::CopyIn, format!("copy {name} ({columns}) from stdin"), Outcome::Rows(0)),
    ]
}

fn changes(table: &Table, victim: Uuid, other: Uuid) -> Vec<Cell> {
    let name = &table.name;
    let cell = |what, needs, how, sql| Cell {
        what,
        needs,
        how,
        sql,
        own: Outcome::Rows(1),
        other: Outcome::Rows(0),
        nobody: Outcome::Rows(0),
    };
    let update = format!("update {name} set tenant_id = tenant_id where tenant_id = '{victim}'");
    let delete = format!("delete from {name} where tenant_id = '{victim}'");
    let using = format!("delete from {name} t using (values ('{victim}'::uuid)) v (id) where t.tenant_id = v.id");
    let lock = format!("select from {name} where tenant_id = '{victim}' for update");
    let give = format!("update {name} set tenant_id = '{other}' where tenant_id = '{victim}'");
    let foist = format!("update {name} set tenant_id = '{victim}' where tenant_id = '{other}'");
    vec![
        cell("UPDATE", UPDATE, How::Execute, update.clone()),
        cell("UPDATE RETURNING", UPDATE, How::Fetch, format!("{update} returning *")),
        cell("SELECT FOR UPDATE", UPDATE, How::Fetch, lock),
        Cell { own: Outcome::Refused, ..cell("UPDATE tenant_id, giving away", UPDATE, How::Execute, give) },
        Cell {
            own: Outcome::Rows(0),
            other: Outcome::Refused,
            ..cell("UPDATE tenant_id, foisting", UPDATE, How::Execute, foist)
        },
        cell("DELETE", DELETE, How::Execute, delete.clone()),
        cell("DELETE RETURNING", DELETE, How::Fetch, format!("{delete} returning *")),
        cell("DELETE USING", DELETE, How::Execute, using),
    ]
}
