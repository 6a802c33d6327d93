//! Rules about functions: the two that read the tenant, and those that act for another role.

use super::Rule;

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "the tenant is read by a stable, parallel safe function in SQL without an EXCEPTION block",
        sql: "
            with expected (name, body) as (values
              ('get_current_tenant_id',
               'RETURN (NULLIF(current_setting(''app.current_tenant_id''::text, true), ''''::text))::uuid'),
              ('get_current_tenant_ids',
               'RETURN (NULLIF(current_setting(''app.current_tenant_ids''::text, true), ''''::text))::uuid[]'),
              ('get_current_run_id',
               'RETURN (NULLIF(current_setting(''app.current_run_id''::text, true), ''''::text))::uuid'))
            select e.name || ' is ' || coalesce(concat_ws(', ',
                case p.provolatile when 'i' then 'immutable' when 'v' then 'volatile' end,
                case when p.proparallel <> 's' then 'not parallel safe' end,
                case when l.lanname <> 'sql' then 'written in ' || l.lanname end,
                case when p.prosecdef then 'security definer' end,
                case when pg_get_function_sqlbody(p.oid) is distinct from e.body then 'another function' end), 'missing')
            from expected e left join functions p on p.name = e.name left join pg_language l on l.oid = p.prolang
            where p.oid is null or p.provolatile <> 's' or p.proparallel <> 's' or l.lanname <> 'sql' or p.prosecdef
              or pg_get_function_sqlbody(p.oid) is distinct from e.body",
    },
    Rule {
        name: "the definer functions are those on the list, with their owners and callers",
        sql: "
            with found as (
              select p.name || ' of ' || p.proowner::regrole || ' for ' || coalesce((
                       select string_agg(coalesce(r.rolname, 'public'), ', ' order by r.rolname)
                       from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) g
                       left join pg_roles r on r.oid = g.grantee where g.grantee <> p.proowner), 'nobody') as item
              from functions p where p.prosecdef)
            select item || ' is not on the list' from found
            where item not in (select item from named where list = 'definer function')
            union all select n.item || ' is named but does not exist' from named n
            where n.list = 'definer function' and n.item not in (select item from found)",
    },
    Rule {
        name: "definer functions have a fixed search path and an owner that nobody logs in as",
        sql: "
            select p.name || ' has ' || coalesce(p.proconfig::text, 'no settings') from functions p
            where p.prosecdef and not coalesce('search_path=pg_catalog, pg_temp' = any (p.proconfig), false)
            union all select p.name || ' belongs to ' || r.rolname from functions p join pg_roles r on r.oid = p.proowner
            where p.prosecdef and (r.rolcanlogin or r.rolsuper or r.rolbypassrls)",
    },
    Rule {
        name: "no function is for everybody",
        sql: "
            select p.name || ' may be executed by everybody' from functions p
            where exists (select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) g where g.grantee = 0)",
    },
    Rule {
        name: "no function of ours is leakproof",
        sql: "
            select p.oid::regproc || ' is leakproof' from pg_proc p
            where p.proleakproof and (p.pronamespace <> 'pg_catalog'::regnamespace or p.oid >= 16384)",
    },
];
