//! Rules about what stands beside tables and functions and could show rows to others.

use super::Rule;

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "views ask with the rights of whoever asks",
        sql: "
            select c.name || ' asks with the rights of its owner' from relations c
            where c.relkind = 'v' and not coalesce('security_invoker=true' = any (c.reloptions), false)",
    },
    Rule {
        name: "no copies of rows: materialized views, foreign tables, publications",
        sql: "
            select c.name || ' is a ' || case c.relkind when 'm' then 'materialized view' else 'foreign table' end
            from relations c where c.relkind in ('m', 'f')
            union all select 'publication ' || pubname from pg_publication",
    },
    Rule {
        name: "no way out of the database",
        sql: "
            select 'extension ' || extname from pg_extension where extname in ('dblink', 'postgres_fdw', 'file_fdw')
            union all select 'foreign server ' || srvname from pg_foreign_server
            union all select 'untrusted language ' || lanname from pg_language
            where not lanpltrusted and lanname not in ('internal', 'c')",
    },
    Rule {
        name: "nothing is granted in advance",
        sql: "
            select 'defaults of ' || d.defaclrole::regrole || ' grant to ' || coalesce(r.rolname, 'everybody')
            from pg_default_acl d cross join lateral aclexplode(d.defaclacl) g left join pg_roles r on r.oid = g.grantee
            where g.grantee <> d.defaclrole",
    },
];
