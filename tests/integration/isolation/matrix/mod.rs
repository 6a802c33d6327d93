//! The behaviour matrix, made from the catalog: every tenant table × every command × every kind of tenant context.

mod cells;
mod mutations;
mod rows;

use futures_util::TryStreamExt as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};
use tests::TestDatabase;
use uuid::Uuid;

use cells::{Cell, How, OTHERS, Outcome, VICTIMS, cells};
use rows::{RUN, Table, tenant_tables};

const VICTIM: Uuid = Uuid::from_u128(0xa);
const OTHER: Uuid = Uuid::from_u128(0xb);
/// A tenant that does not exist.
const UNKNOWN: Uuid = Uuid::from_u128(0xc);

/// A role that is bound to tenants, and how it says whose rows it wants.
struct Role {
    name: &'static str,
    setting: &'static str,
    /// The setting that binds the other role: it must mean nothing here.
    foreign_setting: &'static str,
    list: bool,
}

static ROLES: [Role; 2] = [
    Role {
        name: "convolog_api",
        setting: "app.current_tenant_id",
        foreign_setting: "app.current_tenant_ids",
        list: false,
    },
    Role {
        name: "convolog_projector",
        setting: "app.current_tenant_ids",
        foreign_setting: "app.current_tenant_id",
        list: true,
    },
];

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asker {
    Victim,
    Other,
    Nobody,
    /// The setting is malformed: an error, never rows.
    Garbage,
}

/// A tenant context: its name, the statements before the one that is tried, and who asks in it.
struct Context {
    name: &'static str,
    begin: String,
    asker: Asker,
}

impl Role {
    fn tenants(&self, tenants: &[Uuid]) -> String {
        let list = tenants.iter().map(Uuid::to_string).collect::<Vec<_>>().join(",");
        if self.list { format!("{{{list}}}") } else { list }
    }

    /// All contexts; the victim's own comes first, so that plans made for it are there to be misused by the others.
    fn contexts(&self, staged: bool) -> Vec<Context> {
        let Self { setting, foreign_setting, .. } = self;
        let run = if staged { format!("; set local app.current_run_id = '{RUN}'") } else { String::new() };
        let set = |value: &str| format!("begin; set local {setting} = '{value}'{run}");
        let own = self.tenants(&[VICTIM]);
        let mut contexts = vec![
            ("the tenant itself", set(&own), Asker::Victim),
            ("after the tenant's commit", format!("{}; commit; begin", set(&own)), Asker::Nobody),
            ("another tenant", set(&self.tenants(&[OTHER])), Asker::Other),
            ("an empty tenant", set(""), Asker::Nobody),
            ("an unknown tenant", set(&self.tenants(&[UNKNOWN])), Asker::Nobody),
            (
                "the setting of another role",
                format!("begin; set local {foreign_setting} = '{{{VICTIM}}}'"),
                Asker::Nobody,
            ),
            ("garbage", set("garbage"), Asker::Garbage),
            ("garbage behind the tenant", set(&format!("{own}, garbage")), Asker::Garbage),
        ];
        if self.list {
            contexts.push(("several other tenants", set(&self.tenants(&[OTHER, UNKNOWN])), Asker::Other));
            contexts.push(("several tenants", set(&self.tenants(&[UNKNOWN, VICTIM])), Asker::Victim));
        }
        if staged {
            let set =
                |run: &str| format!("begin; set local {setting} = '{own}'; set local app.current_run_id = '{run}'");
            contexts.push(("another run of the tenant", set(&UNKNOWN.to_string()), Asker::Nobody));
            contexts.push(("an empty run", set(""), Asker::Nobody));
            contexts.push(("no run", format!("begin; set local {setting} = '{own}'"), Asker::Nobody));
        }
        contexts.into_iter().map(|(name, begin, asker)| Context { name, begin, asker }).collect()
    }
}

/// Gives each tenant table a row of the victim and one of the other tenant.
async fn fill(admin: &mut PgConnection, tables: &[Table]) {
    for table in tables {
        for (tenant, n) in [(VICTIM, VICTIMS), (OTHER, OTHERS)] {
            let row = format!("insert into {} ({}) values ({})", table.name, table.columns(), table.values(tenant, n));
            admin.execute(AssertSqlSafe(row.as_str())).await.unwrap_or_else(|error| panic!("{row}: {error}"));
        }
    }
}

/// Everything that the tables hold.
async fn contents(admin: &mut PgConnection, tables: &[Table]) -> Vec<(String, String)> {
    let mut contents = Vec::new();
    for Table { name, .. } in tables {
        let sql = format!("select string_agg(t::text, ' ' order by t::text) from {name} t");
        contents.push((name.clone(), sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut *admin).await.unwrap()));
    }
    contents
}

/// A connection that makes a plan once and uses it for every tenant, as a pool's connection does in the end.
struct Session {
    options: PgConnectOptions,
    connection: PgConnection,
}

impl Session {
    async fn open(database: &TestDatabase, role: &Role) -> Self {
        let options = database.login_options(role.name).await.options([("plan_cache_mode", "force_generic_plan")]);
        let connection = options.connect().await.unwrap();
        Self { options, connection }
    }

    /// Tries a cell; answers what is wrong. Nothing stays of what was allowed; what was not is committed, so that it
    /// shows.
    async fn judge(&mut self, begin: &str, cell: &Cell, expected: &Outcome) -> Option<String> {
        self.connection.execute(AssertSqlSafe(begin)).await.unwrap();
        let outcome = attempt(&mut self.connection, cell).await;
        if cell.how == How::CopyOut && !matches!(outcome, Outcome::Rows(_)) {
            // The driver does not read the end of the answer when a COPY TO is refused.
            self.connection = self.options.connect().await.unwrap();
        } else {
            let allowed = matches!(expected, Outcome::Rows(1..));
            self.connection.execute(if allowed { "rollback" } else { "commit" }).await.unwrap();
        }
        (outcome != *expected).then(|| format!("{outcome:?} instead of {expected:?}"))
    }
}

/// What came of the cell's statement in the transaction that is open.
async fn attempt(connection: &mut PgConnection, cell: &Cell) -> Outcome {
    let sql = || AssertSqlSafe(cell.sql.as_str());
    let result = match cell.how {
        How::Execute => sqlx::query(sql()).execute(connection).await.map(|done| done.rows_affected()),
        How::Fetch => sqlx::query(sql()).fetch_all(connection).await.map(|rows| rows.len() as u64),
        How::CopyOut => copy_out(connection, &cell.sql).await,
        How::CopyIn => match connection.copy_in_raw(&cell.sql).await {
            Ok(copy) => copy.finish().await,
            Err(error) => Err(error),
        },
    };
    match result {
        Ok(rows) => Outcome::Rows(rows),
        Err(sqlx::Error::Database(error)) => {
            let code = error.code().unwrap_or_default().into_owned();
            match (code.as_str(), error.message()) {
                ("42501", message) if message.starts_with("permission denied for") => Outcome::Denied,
                ("42501", message) if message.starts_with("new row violates row-level security") => Outcome::Refused,
                _ => Outcome::Error(code),
            }
        }
        Err(error) => panic!("{}: {error}", cell.sql),
    }
}

/// How many lines name the victim.
async fn copy_out(connection: &mut PgConnection, sql: &str) -> Result<u64, sqlx::Error> {
    let bytes: Vec<u8> = connection
        .copy_out_raw(sql)
        .await?
        .try_fold(Vec::new(), |mut all, chunk| async move {
            all.extend_from_slice(&chunk);
            Ok(all)
        })
        .await?;
    let victim = VICTIM.to_string();
    Ok(String::from_utf8_lossy(&bytes).lines().filter(|line| line.contains(&victim)).count() as u64)
}

/// What must come of the cell.
fn expected(cell: &Cell, asker: Asker, granted: bool) -> Outcome {
    match asker {
        _ if !granted => Outcome::Denied,
        // PostgreSQL's own rule, whoever asks.
        _ if cell.how == How::CopyIn => Outcome::Error("0A000".into()),
        Asker::Victim => cell.own.clone(),
        Asker::Other => cell.other.clone(),
        Asker::Nobody => cell.nobody.clone(),
        Asker::Garbage => Outcome::Error("22P02".into()),
    }
}

/// All that is wrong with what is tried by the roles and on the tables that `pick` picks, as role, table, command and
/// context.
async fn breaches(database: &TestDatabase, pick: impl Fn(&str, &str) -> bool) -> Vec<String> {
    let mut admin = PgConnection::connect(&database.admin_url).await.unwrap();
    let tables = tenant_tables(&mut admin).await;
    fill(&mut admin, &tables).await;
    let before = contents(&mut admin, &tables).await;
    let breaches_of = |role: &'static Role| {
        let picked = tables.iter().filter(|table| pick(role.name, &table.name)).cloned().collect();
        breaches_of(database, role, picked)
    };
    let [api, projector] = &ROLES;
    let (mut wrong, more) = tokio::join!(breaches_of(api), breaches_of(projector));
    wrong.extend(more);
    let after = contents(&mut admin, &tables).await;
    wrong
        .extend(before.iter().zip(&after).filter(|(a, b)| a != b).map(|(table, _)| format!("{} has changed", table.0)));
    wrong
}

async fn breaches_of(database: &TestDatabase, role: &Role, tables: Vec<Table>) -> Vec<String> {
    let mut wrong = Vec::new();
    let (plain, staged) = (role.contexts(false), role.contexts(true));
    let mut session = Session::open(database, role).await;
    // Its setting stays NULL: a connection that has ever set it has it empty.
    let mut untouched = Session::open(database, role).await;
    for table in tables {
        let grants: Vec<String> = sqlx::query_scalar(
            "select p from unnest(array['select', 'insert', 'update', 'delete']) p
             join pg_class c on c.oid = $2::regclass
             where has_table_privilege($1, c.oid, p) and has_schema_privilege($1, c.relnamespace, 'usage')",
        )
        .bind(role.name)
        .bind(&table.name)
        .fetch_all(&database.admin)
        .await
        .unwrap();
        for cell in cells(&table, VICTIM, OTHER) {
            let granted = cell.needs.iter().all(|need| grants.iter().any(|grant| grant == need));
            let mut note = |context: &str, breach: Option<String>| {
                let at = || format!("{} {} {} as {context}", role.name, table.name, cell.what);
                wrong.extend(breach.map(|breach| format!("{}: {breach}", at())));
            };
            for Context { name, begin, asker } in if table.is_staged() { &staged } else { &plain } {
                // A missing grant is missing for everybody: the two ends will do.
                if !granted && !matches!(asker, Asker::Victim | Asker::Garbage) {
                    continue;
                }
                let expected = expected(&cell, *asker, granted);
                note(name, session.judge(begin, &cell, &expected).await);
            }
            let expected = expected(&cell, Asker::Nobody, granted);
            note("nobody", untouched.judge("begin", &cell, &expected).await);
        }
    }
    wrong
}

#[tokio::test(flavor = "multi_thread")]
async fn no_statement_reaches_a_row_of_another_tenant() {
    let database = tests::database().await;
    let wrong = breaches(&database, |_, _| true).await;
    assert!(wrong.is_empty(), "{} cells: {wrong:#?}", wrong.len());
}
