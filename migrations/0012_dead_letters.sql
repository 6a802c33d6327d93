-- Streams of which an event cannot be projected: they are parked at that event, everything else goes on.

alter table projection_checkpoints
  -- Streams of the tenant that are parked; the usual path asks nothing more.
  add column parked int not null default 0,
  -- Grows when parked events were projected after all: rows that are being built without them are of no use.
  add column mended bigint not null default 0,
  -- Why nothing is projected at all; the next event that is clears it.
  add column paused text check (paused in ('newer_event'));
create index projection_checkpoints_parked on projection_checkpoints (tenant_id) where parked > 0;

-- The log is the queue: the stream's events from `version` on, up to the checkpoint, wait to be projected.
create table dead_letters (
  tenant_id uuid not null,
  group_name text not null,
  stream_id uuid not null,
  category text not null,
  -- The event that cannot be projected.
  seq bigint not null,
  version bigint not null,
  event_id uuid not null,
  name text not null,
  error text not null,
  parked_at timestamptz not null default clock_timestamp(),
  tried_at timestamptz not null default clock_timestamp(),
  attempts int not null default 1,
  -- Number of the event that discards it. Written by whoever discards, so that nobody projects it at the same moment.
  discard_seq bigint,
  primary key (tenant_id, group_name, stream_id)
);

-- Events that are never projected again, each with the number from which on that is so.
create table discarded_events (
  tenant_id uuid not null,
  seq bigint not null,
  stream_id uuid not null,
  discard_seq bigint not null,
  primary key (tenant_id, seq)
);

select ddl.protect(t) from unnest(array['dead_letters', 'discarded_events']::regclass[]) t;
select ddl.allow('dead_letters', 'convolog_projector', 'select', 'insert', 'update', 'delete');
select ddl.allow('dead_letters', 'convolog_api', 'select', 'update');
select ddl.allow('discarded_events', 'convolog_projector', 'select');
select ddl.allow('discarded_events', 'convolog_api', 'insert');

alter table staging.progress add column mended bigint not null default 0;

-- Tenants with parked streams, in the order of their ids, from after one on; of these shards, or of all.
create function parked_tenants(p_group text, p_shards smallint[], p_after uuid, p_limit int)
returns table (tenant_id uuid, parked int)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
  select c.tenant_id, c.parked from public.projection_checkpoints c
  where c.parked > 0 and c.group_name = p_group and c.tenant_id > p_after and (p_shards is null or c.shard = any (p_shards))
  order by c.tenant_id limit p_limit;
end;

revoke execute on function parked_tenants from public;
grant execute on function parked_tenants to convolog_projector;
grant create on schema public to convolog_sweep;
alter function parked_tenants owner to convolog_sweep;
revoke create on schema public from convolog_sweep;

-- How many streams of the whole database are parked.
create function parked_streams(p_group text) returns bigint
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
  select coalesce(sum(c.parked), 0)::bigint from public.projection_checkpoints c where c.parked > 0 and c.group_name = p_group;
end;

revoke execute on function parked_streams from public;
grant execute on function parked_streams to convolog_api;
grant create on schema public to convolog_monitor;
alter function parked_streams owner to convolog_monitor;
revoke create on schema public from convolog_monitor;
