//! Refuses to work as a database role that could step around row-level security.

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
      where setting ~ '^(app\\.|row_security)'
    union all select 'row_security is off' where current_setting('row_security') <> 'on'";

/// Fails with [`Error::UnsafeRole`] when the connection's role is a superuser, may bypass row-level security, owns
/// something, belongs to another role, or holds a right that ignores row-level security; and when a tenant table is
/// not protected.
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
