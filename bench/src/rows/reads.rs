//! The row about what row-level security takes from reads.

use std::time::Instant;

use api::statements;
use serde_json::json;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use store::Work;
use uuid::Uuid;

use super::{Bench, aims};
use crate::http::PAGE;
use crate::load::Dice;
use crate::report::Aim;
use crate::services::DATABASE;

/// As the API's pool has them.
const API_SETTINGS: [(&str, &str); 2] = [("jit", "off"), ("enable_seqscan", "off")];
/// Connections of each kind: the system has a place for every server process, and some places are better than others.
const CONNECTIONS: usize = 16;
/// Reads on one connection before another has its turn.
const TURN: u32 = 20;

/// The two kinds of reads, as the API makes them.
struct Statements {
    point: String,
    list: String,
}

impl Bench {
    /// The API's role under row-level security and a superuser, who is under none, make the same round trips with the same
    /// statements, which name the tenant; in turns, on as many connections each.
    pub(super) async fn reads(&mut self) -> anyhow::Result<()> {
        self.last_raw = None;
        // When no row before this one has let anything be projected.
        if !sqlx::query_scalar::<_, bool>("select exists (select from sessions)")
            .fetch_one(&self.services.admin)
            .await?
        {
            self.node.workers_on().await?;
            self.drained().await?;
            self.node.workers_off().await?;
        }
        let services = &self.services;
        let url = services.url_as(DATABASE, "convolog_api", &services.secrets.roles().api);
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            for (kind, url) in [&url, &services.admin_url(DATABASE)].into_iter().enumerate() {
                let options: PgConnectOptions = url.parse()?;
                let options = options.options(API_SETTINGS);
                connections.push((kind, PgConnection::connect_with(&options).await?));
            }
        }
        let statements = Statements { point: statements::session(), list: statements::messages(false) };
        for _ in 0..self.size.rounds {
            for (aim, list) in [(aims::READS_LIST, true), (aims::READS_POINT, false)] {
                let mut times = [Vec::new(), Vec::new()];
                let mut dice = Dice::new(0);
                let until = Instant::now() + self.size.measured;
                while Instant::now() < until {
                    for (kind, connection) in &mut connections {
                        times[*kind].push(self.turn(connection, &statements, list, &mut dice).await?);
                    }
                }
                self.say_reads(aim, &mut times)?;
            }
        }
        for (_, connection) in connections {
            connection.close().await?;
        }
        Ok(())
    }

    async fn turn(
        &mut self,
        connection: &mut PgConnection,
        statements: &Statements,
        list: bool,
        dice: &mut Dice,
    ) -> anyhow::Result<f64> {
        let begun = Instant::now();
        for _ in 0..TURN {
            let (target, session) = dice.session(self.fleet.targets()?);
            let rows = read(connection, statements, list, target.tenant, session).await?;
            anyhow::ensure!(!rows.is_empty(), "a session has no rows");
        }
        Ok(begun.elapsed().as_secs_f64() / f64::from(TURN))
    }

    fn say_reads(&mut self, aim: Aim, times: &mut [Vec<f64>; 2]) -> anyhow::Result<()> {
        let [secured, free] = times.each_mut().map(|times| {
            times.sort_unstable_by(f64::total_cmp);
            // Whoever was interrupted by something else does not count.
            1e6 * times[times.len() / 2]
        });
        let from = format!("{secured:.0} µs per read under row-level security, {free:.0} µs without");
        self.report.add(aim, free / secured, from, &json!({"secured_us": secured, "superuser_us": free}))
    }
}

async fn read(
    connection: &mut PgConnection,
    statements: &Statements,
    list: bool,
    tenant: Uuid,
    session: Uuid,
) -> anyhow::Result<Vec<PgRow>> {
    let begin =
        format!("begin isolation level repeatable read read only; set local app.current_tenant_id = '{tenant}'");
    connection.execute(AssertSqlSafe(begin)).await?;
    let checkpoint = sqlx::query(statements::CHECKPOINT).bind(tenant).bind(Work::ReadModel.as_str());
    checkpoint.fetch_optional(&mut *connection).await?;
    let rows = if list {
        let page = sqlx::query(AssertSqlSafe(statements.list.clone()));
        page.bind(tenant).bind(session).bind(0_i64).bind(i64::try_from(PAGE)? + 1).fetch_all(&mut *connection).await?
    } else {
        let one = sqlx::query(AssertSqlSafe(statements.point.clone())).bind(tenant).bind(session);
        one.fetch_all(&mut *connection).await?
    };
    connection.execute("commit").await?;
    Ok(rows)
}
