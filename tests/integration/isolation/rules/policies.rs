//! Rules about policies and grants: one policy per table, command and role, in the known words, and no grant without.

use super::Rule;

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "one permissive policy per table, command and role",
        sql: "
            select p.role || ' has ' || count(*) || ' policies to ' || p.command || ' ' || p.name
            from policies p where p.polpermissive group by p.role, p.command, p.name having count(*) > 1
            union all select p.polname || ' of ' || p.name || ' is restrictive' from policies p where not p.polpermissive
            union all select p.polname || ' of ' || p.name || ' is for all commands' from policies p where p.command = 'all'
            union all select p.polname || ' of ' || p.name || ' is for everybody' from policies p where p.role = 'public'
            union all select distinct p.polname || ' of ' || p.name || ' is for several roles' from policies p
            where cardinality(p.polroles) > 1",
    },
    Rule {
        name: "policies speak of the tenant in the known words",
        sql: "
            with expected as (
              select p.*, case
                  when p.role = 'convolog_api' then
                    '(tenant_id = ( SELECT get_current_tenant_id() AS get_current_tenant_id))'
                  -- Rows of several runs lie in one table.
                  when p.role = 'convolog_projector' and p.name like 'staging.%' and p.name <> 'staging.progress' then
                    '((tenant_id = ANY (( SELECT get_current_tenant_ids() AS get_current_tenant_ids)::uuid[])) AND '
                    || '(run_id = ( SELECT get_current_run_id() AS get_current_run_id)))'
                  when p.role = 'convolog_projector' then
                    '(tenant_id = ANY (( SELECT get_current_tenant_ids() AS get_current_tenant_ids)::uuid[]))'
                  when p.role || ' ' || p.command || ' ' || p.name in
                    (select item from named where list = 'policy over all tenants') then 'true'
                end as words from policies p)
            select p.polname || ' of ' || p.name || ' says '
                   || concat_ws(' with check ', p.qual, p.with_check)
            from expected p
            where p.words is null
              or p.qual is distinct from case when p.command <> 'insert' then p.words end
              or p.with_check is distinct from case when p.command in ('insert', 'update') then p.words end",
    },
    Rule {
        name: "the policies over all tenants are those on the list",
        sql: "
            select n.item || ' is named but does not exist' from named n
            where n.list = 'policy over all tenants'
              and n.item not in (select p.role || ' ' || p.command || ' ' || p.name from policies p)",
    },
    Rule {
        name: "no grant without a policy, no policy without a grant",
        sql: "
            select g.role || ' may ' || g.command || ' ' || g.name || ' without a policy'
            from grants g join tenant_tables c on c.oid = g.oid
            where not exists (select from policies p where (p.polrelid, p.role, p.command) = (g.oid, g.role, g.command))
            union all select p.polname || ' of ' || p.name || ' has no grant' from policies p
            where not exists (select from grants g where (p.polrelid, p.role, p.command) = (g.oid, g.role, g.command))
            union all select distinct 'columns of ' || c.name || ' are granted one by one'
            from relations c join pg_attribute a on a.attrelid = c.oid where a.attacl is not null",
    },
    Rule {
        name: "the grants on global tables are those on the list",
        sql: "
            with found as (
              select g.role || ' ' || g.command || ' ' || g.name as item from grants g
              join named n on n.item = g.name and n.list = 'global table')
            select item || ' is not on the list' from found
            where item not in (select item from named where list = 'grant on a global table')
            union all select n.item || ' is named but not granted' from named n
            where n.list = 'grant on a global table' and n.item not in (select item from found)",
    },
    Rule {
        name: "nobody changes what is append-only",
        sql: "
            select g.role || ' may ' || g.command || ' ' || g.name from grants g
            join named n on n.item = g.name and n.list = 'append-only table' where g.command in ('update', 'delete')
            union all select p.polname || ' lets ' || p.role || ' ' || p.command || ' ' || p.name from policies p
            join named n on n.item = p.name and n.list = 'append-only table'
            where p.command in ('update', 'delete', 'all')",
    },
    Rule {
        name: "only the append functions write the log",
        sql: "
            select g.role || ' may ' || g.command || ' ' || g.name from grants g
            join named n on n.item = g.name and n.list = 'log table'
            where g.command in ('insert', 'update', 'delete') and g.role <> 'convolog_append'",
    },
];
