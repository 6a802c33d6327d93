-- Twins of the read tables, in which a replay builds rows beside those that are read. Unlogged: what a crash takes is
-- built again.

-- Which run's rows a staging transaction sees and writes; read like the tenants.
create function get_current_run_id() returns uuid
language sql stable parallel safe
return nullif(current_setting('app.current_run_id', true), '')::uuid;

revoke execute on function get_current_run_id from public;
grant execute on function get_current_run_id to convolog_projector;

create schema staging;
revoke all on schema staging from public;
grant usage on schema staging to convolog_projector;

-- Makes the twin of a read table: same columns, checks and names of keys, so that the statements that write the one
-- write the other. Its keys say the run after the tenant; other indexes it has none, because nobody reads it by them.
create function ddl.stage(source regclass) returns void language plpgsql as $$
declare
  twin text := format('staging.%I', (select relname from pg_class where oid = source));
  condition text := 'tenant_id = any ((select public.get_current_tenant_ids())::uuid[])
                     and run_id = (select public.get_current_run_id())';
  key record;
  command text;
begin
  -- Rows come and go by the million: vacuumed by their number, not by a share of what was there.
  execute format('create unlogged table %s (like %s including defaults including constraints including generated,
                    run_id uuid not null default public.get_current_run_id())
                  with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 50000,
                        autovacuum_vacuum_insert_scale_factor = 1)', twin, source);
  for key in select conname, pg_get_constraintdef(oid) as definition from pg_constraint
             where conrelid = source and contype in ('p', 'u') loop
    execute format('alter table %s add constraint %I %s', twin, key.conname,
                   replace(key.definition, '(tenant_id', '(tenant_id, run_id'));
  end loop;
  perform ddl.protect(twin::regclass);
  foreach command in array array['select', 'insert', 'update', 'delete'] loop
    execute format('grant %s on %s to convolog_projector', command, twin);
    execute format('create policy %I on %s for %s to convolog_projector %s %s',
      command || '_convolog_projector', twin, command,
      case when command in ('select', 'update', 'delete') then format('using (%s)', condition) else '' end,
      case when command in ('insert', 'update') then format('with check (%s)', condition) else '' end);
  end loop;
end $$;

revoke execute on function ddl.stage from public;

-- How far each run is; it goes with the rows, in their transaction and in a crash.
create unlogged table staging.progress (
  tenant_id uuid not null,
  run_id uuid not null,
  purpose text not null check (purpose in ('replay', 'upgrade', 'verify', 'as_of')),
  -- Of the group that builds the rows: another version's are of no use.
  version int not null,
  state text not null check (state in ('filling', 'swapping', 'swapped', 'done', 'dropping')),
  -- Number of the last event that the rows reflect.
  seq bigint not null default 0,
  -- Where the swap is: this table's rows up to this value of its key's first column are in the read table.
  swapped_table text,
  swapped_to text,
  began_at timestamptz not null default clock_timestamp(),
  touched_at timestamptz not null default clock_timestamp(),
  primary key (tenant_id, run_id)
);
select ddl.protect('staging.progress');
select ddl.allow('staging.progress', 'convolog_projector', 'select', 'insert', 'update', 'delete');

select ddl.stage(t)
from unnest(array['sessions', 'messages', 'cost_events', 'cost_summaries', 'usage_summaries', 'session_costs',
                  'message_costs', 'cost_periods', 'cost_period_totals']::regclass[]) t;

-- Tenants in the order of their ids, from after one on, and how far their logs and their rows are.
create function tenants_after(p_group text, p_after uuid, p_limit int)
returns table (tenant_id uuid, head bigint, seq bigint, version int)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
  select h.tenant_id, h.seq, c.seq, c.version from public.tenant_heads h
  left join public.projection_checkpoints c on c.tenant_id = h.tenant_id and c.group_name = p_group
  where h.tenant_id > p_after order by h.tenant_id limit p_limit;
end;

revoke execute on function tenants_after from public;
grant execute on function tenants_after to convolog_projector;
grant create on schema public to convolog_sweep;
alter function tenants_after owner to convolog_sweep;
revoke create on schema public from convolog_sweep;

-- What did a tenant look like at a time: whoever rebuilds looks the number up.
grant execute on function first_seq_since to convolog_projector;
