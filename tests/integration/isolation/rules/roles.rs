//! Rules about roles: none that works at run time can step around row-level security.

use super::Rule;

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "the named roles exist, and only runtime roles log in",
        sql: "
            select n.item || ' is missing' from named n
            where n.list in ('runtime role', 'owner role') and n.item not in (select rolname from pg_roles)
            union all select r.rolname || ' can log in' from pg_roles r join named n on n.item = r.rolname
            where n.list = 'owner role' and r.rolcanlogin
            union all select r.rolname || ' cannot log in' from runtime r where not r.rolcanlogin",
    },
    Rule {
        name: "no role has an attribute of power",
        sql: "
            select r.rolname || ' has ' || a.attribute
            from pg_roles r join named n on n.item = r.rolname and n.list in ('runtime role', 'owner role')
            cross join lateral (values ('SUPERUSER', r.rolsuper), ('BYPASSRLS', r.rolbypassrls),
              ('CREATEROLE', r.rolcreaterole), ('CREATEDB', r.rolcreatedb), ('REPLICATION', r.rolreplication))
              as a (attribute, given)
            where a.given",
    },
    Rule {
        name: "roles are members of nothing but what is on the list",
        // Only the owner of the tables may become the owners of functions, to give them what it has migrated.
        sql: "
            select m.member::regrole || ' is a member of ' || m.roleid::regrole from pg_auth_members m
            where m.member in (select r.oid from pg_roles r join named n on n.item = r.rolname
                               where n.list in ('runtime role', 'owner role') and r.rolname <> 'convolog_owner')
                and m.member::regrole || ' in ' || m.roleid::regrole
                    not in (select item from named where list = 'membership')
              or (m.member = to_regrole('convolog_owner') and (m.inherit_option or m.roleid not in (
                    select p.proowner from functions p where p.prosecdef)))
            union all select n.item || ' is named but does not exist' from named n
            where n.list = 'membership' and n.item not in (
              select m.member::regrole || ' in ' || m.roleid::regrole from pg_auth_members m)",
    },
    Rule {
        name: "runtime roles own nothing",
        sql: "
            select r.rolname || ' owns ' || pg_describe_object(d.classid, d.objid, d.objsubid)
            from pg_shdepend d join runtime r on r.oid = d.refobjid
            where d.refclassid = 'pg_authid'::regclass and d.deptype = 'o'
              and d.dbid in (0, (select oid from pg_database where datname = current_database()))",
    },
    Rule {
        name: "runtime roles create nothing",
        sql: "
            select r.rolname || ' may create in ' || s.nspname from runtime r cross join pg_namespace s
            where s.nspname !~ '^pg_(toast|temp)' and has_schema_privilege(r.oid, s.oid, 'create')
            union all select r.rolname || ' may create schemas' from runtime r
            where has_database_privilege(r.oid, current_database(), 'create')
            union all select r.rolname || ' may create temporary tables' from runtime r
            where has_database_privilege(r.oid, current_database(), 'temporary')",
    },
    Rule {
        name: "no right that ignores row-level security",
        sql: "
            select r.rolname || ' may ' || privilege || ' ' || c.name
            from runtime r cross join relations c
            cross join unnest(array['truncate', 'references', 'trigger', 'maintain']) privilege
            where c.relkind in ('r', 'p', 'v', 'm', 'f') and has_table_privilege(r.oid, c.oid, privilege)
            union all select r.rolname || ' may ' || privilege || ' sequence ' || c.name
            from runtime r cross join relations c cross join unnest(array['select', 'update']) privilege
            where case when c.relkind = 'S' then has_sequence_privilege(r.oid, c.oid, privilege) end",
    },
    Rule {
        name: "no default for the tenant or for row_security",
        sql: "
            select coalesce(r.rolname, 'everybody') || ' gets ' || setting
            from pg_db_role_setting s cross join unnest(s.setconfig) setting left join runtime r on r.oid = s.setrole
            where setting ~ '^(app\\.|row_security)' and (s.setrole = 0 or r.oid is not null)
              and s.setdatabase in (0, (select oid from pg_database where datname = current_database()))",
    },
    Rule {
        name: "no transaction and no wait for a lock is endless",
        sql: "
            select r.rolname || ' has no ' || needed from runtime r
            cross join unnest(array['transaction_timeout', 'lock_timeout']) needed
            where not exists (
              select from pg_db_role_setting s cross join unnest(s.setconfig) setting
              where s.setrole = r.oid and s.setdatabase = 0 and setting ~ ('^' || needed || '=[1-9]'))",
    },
];
