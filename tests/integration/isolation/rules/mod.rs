//! The rules that the catalog must obey, as queries that answer what breaks them; they ask about all tables.

mod functions;
mod policies;
mod roles;
mod surroundings;
mod tables;

use sqlx::{AssertSqlSafe, PgConnection};

use super::lists::NAMED;

/// One rule.
pub(super) struct Rule {
    pub(super) name: &'static str,
    /// Answers one text per violation; sees the tables of [`PRELUDE`].
    sql: &'static str,
}

/// What the rules are written in.
const PRELUDE: &str = "
with named as (select * from unnest($1::text[], $2::text[]) as n (list, item)),
runtime as (select r.* from pg_roles r join named n on n.item = r.rolname and n.list = 'runtime role'),
schemas as (
  select s.oid, s.nspname from pg_namespace s where s.nspname !~ '^pg_' and s.nspname <> 'information_schema'
), extension_objects as (
  select d.classid, d.objid from pg_depend d where d.deptype = 'e'
), relations as (
  select c.*, c.oid::regclass::text as name from pg_class c
  where c.relnamespace in (select oid from schemas) and ('pg_class'::regclass, c.oid) not in (table extension_objects)
), functions as (
  select p.*, p.oid::regproc::text as name from pg_proc p
  where p.pronamespace in (select oid from schemas) and ('pg_proc'::regclass, p.oid) not in (table extension_objects)
), tenant_tables as (
  select c.*, a.attnum as tenant, a.attnotnull, a.atttypid from relations c
  join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id' where c.relkind in ('r', 'p')
), grants as (
  select c.oid, c.name, lower(g.privilege_type) as command, coalesce(r.rolname, 'public') as role
  from relations c cross join lateral aclexplode(c.relacl) g left join pg_roles r on r.oid = g.grantee
  where g.grantee <> c.relowner
), policies as (
  select p.*, c.name, coalesce(r.rolname, 'public') as role,
         case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete'
                       else 'all' end as command,
         pg_get_expr(p.polqual, p.polrelid) as qual, pg_get_expr(p.polwithcheck, p.polrelid) as with_check
  from pg_policy p join relations c on c.oid = p.polrelid cross join unnest(p.polroles) role_oid
  left join pg_roles r on r.oid = role_oid
)";

/// All of them.
pub(super) fn all() -> impl Iterator<Item = &'static Rule> {
    [roles::RULES, tables::RULES, policies::RULES, functions::RULES, surroundings::RULES].into_iter().flatten()
}

/// What breaks any rule: the rule's name and what it found, in the order of the rules.
pub(super) async fn violations(connection: &mut PgConnection) -> Vec<(String, String)> {
    let names = || NAMED.iter().flat_map(|(list, items)| items.iter().map(move |item| (*list, *item)));
    let (lists, items): (Vec<&str>, Vec<&str>) = names().unzip();
    // One statement, so that what the rules have in common is worked out once.
    let parts: Vec<String> = (1..)
        .zip(all())
        .map(|(n, rule)| format!("select {n}, '{}', violation from ({}) as v (violation)", rule.name, rule.sql))
        .collect();
    let sql = format!(
        "{PRELUDE} select rule, violation from ({}) as all_rules (n, rule, violation) order by n, violation",
        parts.join(" union all ")
    );
    sqlx::query_as(AssertSqlSafe(sql)).bind(lists).bind(items).fetch_all(connection).await.unwrap()
}
