-- Tenants and users, written in the command's own transaction, and the credentials beside the log.

create table tenants (
  tenant_id uuid primary key,
  name text not null,
  created_at timestamptz not null,
  version bigint not null
);

create table users (
  tenant_id uuid not null,
  id uuid not null,
  email text not null,
  name text not null,
  role text not null check (role in ('owner', 'admin', 'member')),
  created_at timestamptz not null,
  version bigint not null,
  primary key (tenant_id, id),
  constraint users_email_key unique (tenant_id, email)
);

-- Log-in knows no tenant yet. A hash index, because every b-tree begins with the tenant.
create index users_email_lookup on users using hash (email);

-- Secrets never enter the log; no foreign key into a projection, which may be rebuilt.
create table credentials (
  tenant_id uuid not null,
  user_id uuid not null,
  -- Argon2id as a PHC string.
  password_hash text not null,
  changed_at timestamptz not null,
  primary key (tenant_id, user_id)
);

select ddl.protect(t) from unnest(array['tenants', 'users', 'credentials']::regclass[]) t;
select ddl.allow('tenants', 'convolog_api', 'select', 'insert', 'update');
select ddl.allow('users', 'convolog_api', 'select', 'insert', 'update', 'delete');
select ddl.allow('credentials', 'convolog_api', 'select', 'insert', 'update', 'delete');
select ddl.allow('tenants', 'convolog_auth', 'select');
select ddl.allow('users', 'convolog_auth', 'select');
select ddl.allow('credentials', 'convolog_auth', 'select');

-- The accounts of an address in all tenants, oldest tenant first, at most `p_limit`.
create function accounts_by_email(p_email text, p_tenant uuid, p_limit int)
returns table (tenant_id uuid, tenant_name text, user_id uuid, name text, role text, password_hash text)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
  select u.tenant_id, t.name, u.id, u.name, u.role, c.password_hash
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
