-- Where the logs of these tenants end; whoever follows their events asks for all of them at once.
create function heads_of(p_tenants uuid[]) returns table (tenant_id uuid, seq bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
  select h.tenant_id, h.seq from public.tenant_heads h where h.tenant_id = any (p_tenants);
end;

revoke execute on function heads_of from public;
grant execute on function heads_of to convolog_api;
grant create on schema public to convolog_sweep;
alter function heads_of owner to convolog_sweep;
revoke create on schema public from convolog_sweep;
