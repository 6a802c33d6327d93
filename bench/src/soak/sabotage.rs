//! Proof that the checks can fail: damages done to a copy of what a run has left, each of which must be seen.

use clap::ValueEnum;
use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgPool, PgPoolOptions};
use uuid::Uuid;

use super::books::Books;
use super::machines::{DATABASE, Machines};
use super::memory::Memory;
use super::report::{Violation, say};
use super::{checks, verify};

/// What is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sabotage {
    /// Each of the others, one after the other.
    All,
    /// A row of a read table is gone.
    Row,
    /// A row of a read table counts one message too many.
    Count,
    /// A cost of the log has another amount.
    Amount,
    /// The last event of a log is gone, and its head goes back.
    Lost,
    /// An event in the middle of a log is gone.
    Gap,
    /// A version of a stream is left out.
    Stream,
    /// A command was done twice.
    Twice,
    /// The clients have forgotten a command of theirs.
    Forgotten,
    /// A command was acknowledged with another number.
    Seq,
    /// A total of a month is off by the smallest amount there is.
    Total,
    /// The consumer lacks an event.
    Missed,
    /// The consumer has an event that nobody has recorded.
    Extra,
    /// A projector is one event behind.
    Behind,
    /// The relay is one event behind.
    Unpublished,
}

impl Sabotage {
    /// The check that must see it, and what is done to the database.
    fn plan(self) -> (&'static str, &'static str) {
        match self {
            Self::All => ("", ""),
            Self::Row => ("verify", "delete from messages where id = (select id from messages order by id limit 1)"),
            Self::Count => (
                "oracle",
                "update sessions set message_count = message_count + 1 where id = (select id from sessions limit 1)",
            ),
            Self::Amount => (
                "changed",
                r#"update events set data = regexp_replace(data::text, '"amount":"[^"]*"', '"amount":"7"')::json
                   where event_id = (select event_id from events where name = 'cost_recorded'
                                     and data->'charge'->>'amount' is not null order by event_id limit 1)"#,
            ),
            Self::Lost => (
                "lost",
                "with h as (update tenant_heads set seq = seq - 1
                            where tenant_id = (select tenant_id from tenant_heads order by seq desc limit 1)
                            returning tenant_id, seq)
                 delete from events e using h where e.tenant_id = h.tenant_id and e.seq = h.seq + 1",
            ),
            Self::Gap => ("gap", "delete from events where event_id = (select event_id from events where seq = 5 limit 1)"),
            Self::Stream => (
                "stream",
                "update events e set version = version + 1
                 where event_id = (select event_id from events order by version desc limit 1)",
            ),
            Self::Twice => (
                "twice",
                "with h as (update tenant_heads set seq = seq + 1
                            where tenant_id = (select tenant_id from events where name = 'message_posted' limit 1)
                            returning tenant_id, seq)
                 insert into events
                 select e.tenant_id, h.seq, e.category, e.stream_id, n.last + 1, gen_random_uuid(), e.name, e.schema, e.data,
                        e.meta, e.occurred_at, e.recorded_at
                 from h
                 cross join lateral (select * from events e where e.tenant_id = h.tenant_id and e.name = 'message_posted' limit 1) e
                 cross join lateral (select max(version) as last from events l
                                     where l.tenant_id = e.tenant_id and l.stream_id = e.stream_id) n",
            ),
            Self::Forgotten => ("invented", ""),
            Self::Seq => ("changed", ""),
            Self::Total => (
                "sums",
                "update cost_period_totals set amount = amount + 0.000000000001
                 where ctid = (select ctid from cost_period_totals where amount is not null limit 1)",
            ),
            Self::Missed | Self::Extra => ("books", ""),
            Self::Behind => (
                "lag",
                "update projection_checkpoints set seq = seq - 1
                 where ctid = (select ctid from projection_checkpoints where seq > 0 limit 1)",
            ),
            Self::Unpublished => (
                "lag",
                "update relay_cursors set seq = seq - 1
                 where ctid = (select ctid from relay_cursors where seq > 0 limit 1)",
            ),
        }
    }

    fn damage(self, memory: &mut Memory, books: &mut Books) {
        let told = |fact: &&mut super::memory::Fact| fact.told.is_some_and(|told| told.seq.is_some());
        match self {
            Self::Forgotten => {
                let marker =
                    memory.facts.iter().find(|(_, fact)| fact.told.is_some()).map(|(marker, _)| marker.clone());
                marker.map(|marker| memory.facts.remove(&marker));
            }
            Self::Seq => {
                let told = memory.facts.values_mut().find(told).and_then(|fact| fact.told.as_mut());
                if let Some(seq) = told.and_then(|told| told.seq.as_mut()) {
                    *seq += 1;
                }
            }
            Self::Missed => {
                books.ledgers.values_mut().next().map(|entries| entries.pop_first());
            }
            Self::Extra => {
                if let Some(entries) = books.ledgers.values_mut().next()
                    && let Some((last, entry)) = entries.last_key_value().map(|(last, entry)| (*last, entry.clone()))
                {
                    entries.insert(last + 1, entry);
                }
            }
            Self::All
            | Self::Row
            | Self::Count
            | Self::Amount
            | Self::Lost
            | Self::Gap
            | Self::Stream
            | Self::Twice
            | Self::Total
            | Self::Behind
            | Self::Unpublished => {}
        }
    }
}

/// Does each damage to a copy of its own and looks; gives those that were not seen. The product must not run.
pub(crate) async fn unseen(
    chosen: &[Sabotage],
    machines: &Machines,
    tenants: &[Uuid],
    memory: &Memory,
    books: &Books,
) -> anyhow::Result<Vec<Violation>> {
    let all = chosen.contains(&Sabotage::All);
    let mut unseen = Vec::new();
    for sabotage in Sabotage::value_variants().iter().filter(|it| **it != Sabotage::All) {
        if !(all || chosen.contains(sabotage)) {
            continue;
        }
        let (check, sql) = sabotage.plan();
        let found = found(*sabotage, sql, machines, tenants, memory.clone(), books.clone()).await?;
        let seen = found.iter().find(|violation| violation.check == check);
        match seen {
            Some(Violation { what, .. }) => say(&format!("sabotage {sabotage:?} was seen: {check}: {what}")),
            None => unseen.push(Violation {
                check: "sabotage",
                what: format!("{sabotage:?} was not seen by {check}, but {found:?}"),
            }),
        }
    }
    Ok(unseen)
}

async fn found(
    sabotage: Sabotage,
    sql: &'static str,
    machines: &Machines,
    tenants: &[Uuid],
    mut memory: Memory,
    mut books: Books,
) -> anyhow::Result<Vec<Violation>> {
    const COPY: &str = "sabotaged";
    let admin = PgPoolOptions::new().max_connections(1).connect(&machines.postgres.admin_url("postgres")).await?;
    run(&admin, &format!("drop database if exists {COPY} with (force)")).await?;
    let others = format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{DATABASE}'");
    run(&admin, &others).await?;
    run(&admin, &format!("create database {COPY} template {DATABASE}")).await?;
    // A copy does not have the rights of its template, and the product refuses one where it may do more.
    run(&admin, &format!("revoke all on database {COPY} from public")).await?;
    run(&admin, &format!("grant connect on database {COPY} to convolog_projector")).await?;
    let copy = PgPoolOptions::new().max_connections(1).connect(&machines.postgres.admin_url(COPY)).await?;
    run(&copy, "set session_replication_role = replica").await?;
    if !sql.is_empty() {
        let changed = sqlx::query(sql).execute(&copy).await?.rows_affected();
        anyhow::ensure!(changed > 0, "{sabotage:?} has damaged nothing");
    }
    sabotage.damage(&mut memory, &mut books);
    let mut found = checks::all(&copy, tenants, &memory, &books).await?;
    if sabotage == Sabotage::Row {
        found.extend(verify(machines, COPY).await?);
    }
    copy.close().await;
    admin.close().await;
    Ok(found)
}

async fn run(database: &PgPool, sql: &str) -> anyhow::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(database).await?;
    Ok(())
}
