-- Tenant context and the two functions with which every tenant table is protected in the same words.

-- NULL when unset or empty (no row matches), an error when malformed. STABLE: a plan cached with an IMMUTABLE one
-- serves another tenant's rows. No EXCEPTION block: it costs a subtransaction per row where the policy is a filter.
create function get_current_tenant_id() returns uuid
language sql stable parallel safe
return nullif(current_setting('app.current_tenant_id', true), '')::uuid;

-- The projector writes the rows of many tenants in one transaction.
create function get_current_tenant_ids() returns uuid[]
language sql stable parallel safe
return nullif(current_setting('app.current_tenant_ids', true), '')::uuid[];

revoke execute on function get_current_tenant_id(), get_current_tenant_ids() from public;
grant execute on function get_current_tenant_id() to convolog_api;
grant execute on function get_current_tenant_ids() to convolog_projector;

create schema ddl;
revoke all on schema ddl from public;

-- Row-level security on, for the owner too.
create function ddl.protect(target regclass) returns void language plpgsql as $$
begin
  execute format('alter table %s enable row level security', target);
  execute format('alter table %s force row level security', target);
end $$;

-- Grants `commands` on a tenant table to `grantee`, with exactly one policy for each of them.
create function ddl.allow(target regclass, grantee name, variadic commands text[]) returns void
language plpgsql as $$
declare
  command text;
  condition text := case grantee
    when 'convolog_api' then 'tenant_id = (select public.get_current_tenant_id())'
    when 'convolog_projector' then 'tenant_id = any ((select public.get_current_tenant_ids())::uuid[])'
    -- Owners of definer functions and the relay: they reach only what they are allowed here.
    else 'true'
  end;
begin
  foreach command in array commands loop
    execute format('grant %s on %s to %I', command, target, grantee);
    execute format('create policy %I on %s for %s to %I %s %s',
      command || '_' || grantee, target, command, grantee,
      case when command in ('select', 'update', 'delete') then format('using (%s)', condition) else '' end,
      case when command in ('insert', 'update') then format('with check (%s)', condition) else '' end);
  end loop;
end $$;

revoke execute on all functions in schema ddl from public;
