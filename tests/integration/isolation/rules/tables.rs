//! Rules about tables: each belongs to tenants, row by row, or is on the list of those that hold none.

use super::Rule;

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "every table has a tenant or is on the list",
        sql: "
            select c.name || ' has no tenant_id' from relations c
            where c.relkind in ('r', 'p') and c.oid not in (select oid from tenant_tables)
              and c.name not in (select item from named where list = 'global table')
            union all select n.item || ' is named as a global table but is none' from named n
            where n.list = 'global table' and n.item not in (
              select c.name from relations c where c.oid not in (select oid from tenant_tables))
            union all select n.item || ' is named as a ' || n.list || ' but has no tenant_id' from named n
            where n.list in ('append-only table', 'log table') and n.item not in (select name from tenant_tables)",
    },
    Rule {
        name: "tables belong to an owner that nobody logs in as",
        sql: "
            select c.name || ' belongs to ' || c.relowner::regrole from relations c
            where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and c.relowner <> to_regrole('convolog_owner')",
    },
    Rule {
        name: "tenant_id is a uuid and never null",
        sql: "
            select c.name || '.tenant_id is ' || format_type(c.atttypid, -1)
                   || case when c.attnotnull then '' else ' and may be null' end
            from tenant_tables c where c.atttypid <> 'uuid'::regtype or not c.attnotnull",
    },
    Rule {
        name: "row-level security is enabled",
        sql: "select c.name || ' is not protected' from tenant_tables c where not c.relrowsecurity",
    },
    Rule {
        name: "row-level security is forced on the owner",
        sql: "select c.name || ' is open to its owner' from tenant_tables c where not c.relforcerowsecurity",
    },
    Rule {
        name: "every tenant table has a key",
        sql: "
            select c.name || ' has no primary key, and no unique one that takes nulls as equal' from tenant_tables c
            where not exists (select from pg_constraint k join pg_index i on i.indexrelid = k.conindid
                              where k.conrelid = c.oid
                                and (k.contype = 'p' or k.contype = 'u' and i.indnullsnotdistinct))",
    },
    Rule {
        name: "keys begin with the tenant",
        sql: "
            select k.conname || ' of ' || c.name || ' does not begin with tenant_id'
            from pg_constraint k join tenant_tables c on c.oid = k.conrelid
            where k.contype in ('p', 'u', 'x') and k.conkey[1] <> c.tenant",
    },
    Rule {
        name: "foreign keys lead from tenant to tenant",
        sql: "
            select k.conname || ' of ' || c.name || ' does not lead from tenant_id to tenant_id'
            from pg_constraint k join tenant_tables c on c.oid = k.conrelid
            left join tenant_tables f on f.oid = k.confrelid
            where k.contype = 'f' and (k.conkey[1] <> c.tenant or k.confkey[1] is distinct from f.tenant)",
    },
    Rule {
        name: "indexes begin with the tenant or are on the list",
        sql: "
            select i.indexrelid::regclass || ' does not begin with tenant_id'
            from pg_index i join tenant_tables c on c.oid = i.indrelid
            join pg_class x on x.oid = i.indexrelid join pg_am m on m.oid = x.relam
            where (m.amname <> 'btree' or i.indkey[0] <> c.tenant) and (i.indisunique or m.amname = 'btree'
              or x.relname not in (select item from named where list = 'index that does not begin with the tenant'))
            union all select n.item || ' is named but does not exist' from named n
            where n.list = 'index that does not begin with the tenant' and to_regclass(n.item) is null",
    },
    Rule {
        name: "partitions are reached through their table",
        sql: "
            select g.role || ' may ' || g.command || ' partition ' || c.name
            from relations c join grants g on g.oid = c.oid where c.relispartition",
    },
];
