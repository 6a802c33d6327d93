//! Refuses to work as a database role that could step around row-level security, or whose commits are no promise.

use sqlx::PgConnection;

use crate::Error;

/// Each row is one thing that the current role must not be able to do.
const FORBIDDEN: &str = "
    select 'it is a superuser' as reason from pg_roles where rolname = current_user and rolsuper
    union all select 'it has BYPASSRLS' from pg_roles where rolname = current_user and rolbypassrls
    union all select 'it may create roles' from pg_roles where rolname = current_user and rolcreaterole
    union all select 'it may create databases' from pg_roles where rolname = current_user and rolcreatedb
    union all select 'it may replicate' from pg_roles where rolname = current_user and rolreplication
    union all select 'it is a member of ' || r.rolname from pg_auth_members m join pg_roles r on r.oid = m.roleid
      where m.member = current_user::regrole
    union all select 'it owns ' || c.oid::regclass from pg_class c where c.relowner = current_user::regrole
    union all select 'it owns function ' || p.oid::regprocedure from pg_proc p where p.proowner = current_user::regrole
    union all select 'it may create in schema ' || nspname from pg_namespace
      where nspname !~ '^pg_(toast|temp)' and has_schema_privilege(oid, 'create')
    union all select 'it may create temporary tables'
      where has_database_privilege(current_database(), 'temporary')
    union all select 'it may ' || privilege || ' ' || c.oid::regclass
      from pg_class c cross join unnest(array['truncate', 'references', 'trigger']) privilege
      where c.relkind in ('r', 'p', 'v', 'm', 'f') and c.relnamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
        and has_table_privilege(c.oid, privilege)
    union all select 'table ' || c.oid::regclass || ' has a tenant but no forced row-level security'
      from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped
      where c.relkind in ('r', 'p') and c.relnamespace <> 'pg_catalog'::regnamespace
        and not (c.relrowsecurity and c.relforcerowsecurity)
    union all select 'row_security or the tenant has a default for the role or database'
      from pg_db_role_setting s cross join unnest(s.setconfig) setting
      where setting ~ '^(app\\.|row_security)' and s.setrole in (0, current_user::regrole)
        and s.setdatabase in (0, (select oid from pg_database where datname = current_database()))
    union all select 'it may create schemas' where has_database_privilege(current_database(), 'create')
    union all select 'it may read sequence ' || c.oid::regclass from pg_class c
      where case when c.relkind = 'S' then has_sequence_privilege(c.oid, 'select') end
    union all select 'table ' || p.polrelid::regclass || ' has a policy for everybody' from pg_policy p
      where 0 = any (p.polroles)
    union all select 'table ' || p.polrelid::regclass || ' has several policies for one command'
      from pg_policy p
      cross join unnest(case p.polcmd when '*' then '{r,a,w,d}'::\"char\"[] else array[p.polcmd] end) command
      where p.polpermissive and current_user::regrole = any (p.polroles) group by p.polrelid, command having count(*) > 1
    union all select p.proname || ' is not stable' from pg_proc p
      where p.pronamespace = 'public'::regnamespace and p.provolatile <> 's'
        and p.proname in ('get_current_tenant_id', 'get_current_tenant_ids', 'get_current_run_id')
    union all select 'row_security is off' where current_setting('row_security') <> 'on'";

/// Fails with [`Error::UnsafeRole`] when the connection's role is a superuser, may bypass row-level security, owns
/// something, belongs to another role, or holds a right that ignores row-level security; and when a tenant table is
/// not protected, or protected by more policies than one per command.
pub async fn check_role(connection: &mut PgConnection) -> Result<(), Error> {
    let (number, found, role): (i32, String, String) = sqlx::query_as(
        "select current_setting('server_version_num')::int, current_setting('server_version'), current_user::text",
    )
    .fetch_one(&mut *connection)
    .await?;
    if number < 170_000 {
        return Err(Error::ServerTooOld { found });
    }
    let reason: Option<String> = sqlx::query_scalar(FORBIDDEN).fetch_optional(&mut *connection).await?;
    match reason {
        Some(reason) => Err(Error::UnsafeRole { role, reason }),
        None => Ok(()),
    }
}

/// What every policy of the API's role says, in PostgreSQL's spelling.
const ONE_TENANT: &str = "(tenant_id = ( SELECT get_current_tenant_id() AS get_current_tenant_id))";

/// Fails with [`Error::UnsafeRole`] when a policy of the connection's role lets more pass than the current tenant.
pub(crate) async fn check_one_tenant(connection: &mut PgConnection) -> Result<(), Error> {
    let wider: Option<(String, String)> = sqlx::query_as(
        "select current_user::text, polrelid::regclass::text from pg_policy
         where current_user::regrole = any (polroles)
           and (coalesce(pg_get_expr(polqual, polrelid), $1) <> $1
                or coalesce(pg_get_expr(polwithcheck, polrelid), $1) <> $1)",
    )
    .bind(ONE_TENANT)
    .fetch_optional(connection)
    .await?;
    match wider {
        Some((role, table)) => Err(Error::UnsafeRole {
            role,
            reason: format!("a policy of table {table} is not about the current tenant"),
        }),
        None => Ok(()),
    }
}

/// Fails with [`Error::UnsafeRole`] when a commit does not wait for the disk: what is acknowledged could be lost.
pub(crate) async fn check_durable(connection: &mut PgConnection) -> Result<(), Error> {
    let sql = "select current_user::text where current_setting('synchronous_commit') = 'off'";
    match sqlx::query_scalar(sql).fetch_optional(connection).await? {
        Some(role) => {
            let reason = "its commits do not wait for the disk (synchronous_commit is off)".to_owned();
            Err(Error::UnsafeRole { role, reason })
        }
        None => Ok(()),
    }
}
