-- What a tenant pays for. The default is what the upcast of `tenant_registered.v1` says, and what processes of the
-- version before, which do not write the column, mean.

alter table tenants add column plan text not null default 'starter'
  constraint tenants_plan_check check (plan in ('starter', 'growth', 'business', 'enterprise'));

-- The same accounts with the plan. The new column comes last: the version before names those that it reads.
set local role convolog_auth;
drop function accounts_by_email;
set local role convolog_owner;
create function accounts_by_email(p_email text, p_tenant uuid, p_limit int)
returns table (tenant_id uuid, tenant_name text, user_id uuid, name text, role text, password_hash text, plan text)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
  select u.tenant_id, t.name, u.id, u.name, u.role, c.password_hash, t.plan
  from public.users u
  join public.tenants t on t.tenant_id = u.tenant_id
  join public.credentials c on c.tenant_id = u.tenant_id and c.user_id = u.id
  where u.email = p_email and (p_tenant is null or u.tenant_id = p_tenant)
  order by t.created_at, u.tenant_id limit p_limit;
end;

revoke execute on function accounts_by_email from public;
grant execute on function accounts_by_email to convolog_api;
grant create on schema public to convolog_auth;
alter function accounts_by_email owner to convolog_auth;
revoke create on schema public from convolog_auth;
