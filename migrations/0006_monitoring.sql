-- What an operator sees of all tenants together: counts, sums and ages, never a tenant.

select ddl.allow('tenant_heads', 'convolog_monitor', 'select');
select ddl.allow('relay_cursors', 'convolog_monitor', 'select');
select ddl.allow('projection_checkpoints', 'convolog_monitor', 'select');
-- Only for the age of events that wait.
select ddl.allow('events', 'convolog_monitor', 'select');
grant select on leases to convolog_monitor;

-- How far relay and the group are behind all logs. The age of what waits is looked up for at most `p_sample` tenants:
-- with more of them behind, `…_oldest_ms` and `stuck_tenants` are at least what is answered. `stuck_tenants` are those
-- whose next event has waited for the group longer than `p_stuck_ms`. A custom plan: the generic one of an empty log
-- would read all events for each tenant.
create function log_progress(p_group text, p_sample int, p_stuck_ms bigint)
returns table (tenants bigint, events bigint, relay_tenants bigint, relay_events bigint, relay_oldest_ms bigint,
               group_tenants bigint, group_events bigint, group_oldest_ms bigint, stuck_tenants bigint,
               relay_shards bigint, group_shards bigint)
language sql stable security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan
begin atomic
  with progress as materialized (
    select h.tenant_id, h.seq as head, coalesce(r.seq, 0) as relayed, coalesce(c.seq, 0) as projected
    from public.tenant_heads h
    left join public.relay_cursors r on r.tenant_id = h.tenant_id
    left join public.projection_checkpoints c on c.tenant_id = h.tenant_id and c.group_name = p_group
    where h.seq > 0
  ), unrelayed as (
    -- Not a join, which could be made by reading all events.
    select (select e.recorded_at from public.events e where e.tenant_id = p.tenant_id and e.seq = p.relayed + 1) as since
    from (select * from progress where relayed < head limit p_sample) p
  ), unprojected as (
    select (select e.recorded_at from public.events e where e.tenant_id = p.tenant_id and e.seq = p.projected + 1) as since
    from (select * from progress where projected < head limit p_sample) p
  )
  select count(*), coalesce(sum(p.head), 0)::bigint,
         count(*) filter (where p.relayed < p.head),
         coalesce(sum(p.head - p.relayed) filter (where p.relayed < p.head), 0)::bigint,
         (select coalesce(greatest(0, extract(epoch from clock_timestamp() - min(u.since)) * 1000), 0)::bigint
          from unrelayed u),
         count(*) filter (where p.projected < p.head),
         coalesce(sum(p.head - p.projected) filter (where p.projected < p.head), 0)::bigint,
         (select coalesce(greatest(0, extract(epoch from clock_timestamp() - min(u.since)) * 1000), 0)::bigint
          from unprojected u),
         (select count(*) from unprojected u
          where u.since < clock_timestamp() - p_stuck_ms * interval '1 millisecond'),
         (select count(*) from public.leases l where l.work = 'relay' and l.expires_at > clock_timestamp()),
         (select count(*) from public.leases l where l.work = p_group and l.expires_at > clock_timestamp())
  from progress p;
end;

-- The oldest snapshot that this database's dead rows are kept for: since when, in milliseconds, and how many
-- transactions ago. A long-lived one makes appends slower without bound. NULL where the server does not let the
-- function's owner see what others do (it belongs to pg_read_all_stats where the administrator may grant that).
create function oldest_snapshot() returns table (age_ms bigint, transactions bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
  select case when pg_has_role('pg_read_all_stats', 'usage') then (
           select coalesce(max(extract(epoch from clock_timestamp() - s.since) * 1000), 0)::bigint from (
             select a.xact_start as since from pg_stat_activity a
             where (a.backend_xmin is not null or a.backend_xid is not null) and a.pid <> pg_backend_pid()
               and a.backend_type <> 'autovacuum worker'
               and (a.datid is null or a.datname = current_database())
             union all select p.prepared from pg_prepared_xacts p where p.database = current_database()) s) end,
         case when pg_has_role('pg_read_all_stats', 'usage') then (
           select coalesce(max(age(h.horizon)), 0)::bigint from (
             select a.backend_xmin as horizon from pg_stat_activity a
             where a.backend_xmin is not null and a.pid <> pg_backend_pid() and a.backend_type <> 'autovacuum worker'
               and (a.datid is null or a.datname = current_database())
             union all select s.xmin from pg_replication_slots s where s.xmin is not null
             union all select p.transaction from pg_prepared_xacts p where p.database = current_database()) h) end;
end;

revoke execute on function log_progress, oldest_snapshot from public;
grant execute on function log_progress, oldest_snapshot to convolog_api;
grant create on schema public to convolog_monitor;
alter function log_progress owner to convolog_monitor;
alter function oldest_snapshot owner to convolog_monitor;
revoke create on schema public from convolog_monitor;
