-- Who works on which shard, how far relay and projections are, and what is behind.

-- One row per kind of work and shard. The epoch grows with every change of holder and fences the earlier ones out.
create table leases (
  work text not null,
  shard smallint not null check (shard between 0 and 63),
  holder text not null default '',
  epoch bigint not null default 0,
  expires_at timestamptz not null default '-infinity',
  primary key (work, shard)
);
insert into leases (work, shard)
select work, shard from unnest(array['relay', 'read_model']) work, generate_series(0, 63) shard;

-- What the relay remembers of the stream EVENTS, to notice that NATS was wiped or restored from an older copy.
create table relay_state (
  only_row boolean primary key default true check (only_row),
  generation bigint not null default 1,
  stream_created timestamptz,
  last_sequence bigint not null default 0
);
insert into relay_state default values;

grant select, update on leases to convolog_relay, convolog_projector;
grant select, update on relay_state to convolog_relay;

create table relay_cursors (
  tenant_id uuid primary key,
  seq bigint not null
) with (fillfactor = 50);

create table projection_checkpoints (
  tenant_id uuid not null,
  group_name text not null,
  seq bigint not null default 0,
  -- Lease epoch of the worker that wrote last.
  epoch bigint not null default 0,
  -- Version of the group that wrote the rows; 0 before the first.
  version int not null default 0,
  shard smallint not null generated always as ((get_byte(sha256(uuid_send(tenant_id)), 7) & 63)::smallint) stored,
  primary key (tenant_id, group_name)
) with (fillfactor = 50);

select ddl.protect(t) from unnest(array['relay_cursors', 'projection_checkpoints']::regclass[]) t;
select ddl.allow('relay_cursors', 'convolog_relay', 'select', 'insert', 'update');
select ddl.allow('projection_checkpoints', 'convolog_projector', 'select', 'insert', 'update');
select ddl.allow('projection_checkpoints', 'convolog_api', 'select');
select ddl.allow('projection_checkpoints', 'convolog_sweep', 'select');

-- Tenants of these shards whose rows are behind their log, or were written by an older version of the group.
create function lagging_tenants(p_group text, p_version int, p_shards smallint[])
returns table (tenant_id uuid, head bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
  select h.tenant_id, h.seq from public.tenant_heads h
  left join public.projection_checkpoints c on c.tenant_id = h.tenant_id and c.group_name = p_group
  where h.shard = any (p_shards) and h.seq > 0
    and (c.tenant_id is null or c.seq < h.seq or c.version < p_version);
end;

-- How far a group is for these tenants; who waits for their rows asks for all of them at once.
create function checkpoints_of(p_group text, p_tenants uuid[])
returns table (tenant_id uuid, seq bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
  select c.tenant_id, c.seq from public.projection_checkpoints c
  where c.tenant_id = any (p_tenants) and c.group_name = p_group;
end;

revoke execute on function lagging_tenants, checkpoints_of from public;
grant execute on function lagging_tenants to convolog_projector;
grant execute on function checkpoints_of to convolog_api;
grant create on schema public to convolog_sweep;
alter function lagging_tenants owner to convolog_sweep;
alter function checkpoints_of owner to convolog_sweep;
revoke create on schema public from convolog_sweep;

-- The number of a tenant's first event recorded at or after a time, head + 1 when there is none: a binary search,
-- because times only grow along a log.
create function first_seq_since(p_tenant uuid, p_head bigint, p_since timestamptz) returns bigint
language plpgsql stable as $$
declare
  v_low bigint := 1;
  v_high bigint := p_head + 1;
  v_middle bigint;
begin
  while v_low < v_high loop
    v_middle := (v_low + v_high) / 2;
    if (select e.recorded_at < p_since from public.events e where e.tenant_id = p_tenant and e.seq = v_middle) then
      v_low := v_middle + 1;
    else
      v_high := v_middle;
    end if;
  end loop;
  return v_low;
end $$;
revoke execute on function first_seq_since from public;
grant execute on function first_seq_since to convolog_relay;
