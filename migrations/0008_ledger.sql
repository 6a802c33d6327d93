-- The ledger: claims know the event that took them, and the read tables of costs.

-- Number of the event that took the claim; unknown for the older ones.
alter table claims add column seq bigint;
-- Who voids a cost looks for it there, and who records many for those that are recorded.
select ddl.allow('claims', 'convolog_api', 'select');

grant create on schema public to convolog_append;
set local role convolog_append;
drop function append_batch;

-- Appends the commands of one batch, of any tenants. Set-based: a loop per command is two to three times slower.
--
-- Commands that share a decided stream form a group; a group is stored whole or not at all, because its later
-- commands were decided on the events of the earlier ones. One row per command comes back:
--   stored      its events have their numbers; seq and version are those of its last event (version: of its stream)
--   replayed    its key was used by the same request before; seq, version and receipt are the first answer's
--   key_reused  its key was used by another request
--   claimed     a claim of its is taken, see the column claim
--   conflict    a stream of its group has moved on, or its group was spoilt by another command: decide again
create function append_batch(
  -- one element per command
  c_tenant uuid[], c_group int[], c_stream uuid[], c_actor uuid[], c_key text[], c_hash bytea[], c_receipt text[],
  -- one per touched stream; expected NULL: any version will do
  s_group int[], s_tenant uuid[], s_stream uuid[], s_expected bigint[],
  -- one per claim; l_command counts from 1, l_back is how many events of the command come after the claim's own
  l_command int[], l_claim text[], l_back int[],
  -- one per event, in order; e_command counts from 1
  e_command int[], e_category text[], e_stream uuid[], e_id uuid[], e_name text[], e_schema smallint[], e_data text[],
  e_meta text[], e_occurred timestamptz[]
) returns table (command int, status text, seq bigint, version bigint, receipt text, claim text)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
begin
  -- The only lock, always in tenant order. The next statement's snapshot is taken after it is held.
  perform 1 from public.tenant_heads h where h.tenant_id = any (c_tenant) order by h.tenant_id for update;

  -- Every look-up is a sub-select, not a join: a join that was planned while its table was empty or small scans all of
  -- it for every batch from then on. Rows are narrow, because every step copies them: what is merely stored stays in
  -- its array and is picked out at the insert.
  return query
  with commands as materialized (
    select c.n::int as n, c.tenant, c.grp, h.seq as head, k.tenant_id is not null as known,
           k.request_hash = c.hash as same, k.seq as first_seq, k.version as first_version,
           k.receipt::text as first_receipt
    from unnest(c_tenant, c_group, c_actor, c_key, c_hash) with ordinality as c (tenant, grp, actor, key, hash, n)
    cross join lateral (select h.seq from public.tenant_heads h where h.tenant_id = c.tenant limit 1) h
    left join lateral (select * from public.idempotency_keys k
                       where k.tenant_id = c.tenant and k.actor_id = c.actor and k.key = c.key limit 1) k on true
  ), streams as materialized (
    select s.grp, s.tenant, s.stream, s.expected, coalesce((
      select e.version from public.events e where e.tenant_id = s.tenant and e.stream_id = s.stream
      order by e.version desc limit 1), 0) as current
    from unnest(s_group, s_tenant, s_stream, s_expected) as s (grp, tenant, stream, expected)
  ), taken as materialized (
    select l.command, c.grp, min(l.claim) as claim
    from unnest(l_command, l_claim) as l (command, claim)
    join commands c on c.n = l.command
    where (select true from public.claims t where t.tenant_id = c.tenant and t.claim = l.claim)
    group by l.command, c.grp
  ), spoilt as (
    select c.grp from commands c where c.known
    union all select t.grp from taken t
    union all select s.grp from streams s where s.expected <> s.current
  ), verdicts as materialized (
    select c.n, c.tenant, c.head, c.first_seq, c.first_version, c.first_receipt, t.claim, case
        when c.same then 'replayed'
        when c.known then 'key_reused'
        when t.claim is not null then 'claimed'
        when c.grp in (select spoilt.grp from spoilt) then 'conflict'
        else 'stored'
      end as status
    from commands c left join taken t on t.command = c.n
  ), numbered as (
    select e.n::int as n, e.command, e.stream, v.tenant, v.head,
           row_number() over (partition by v.tenant order by e.n) as nth_of_tenant,
           row_number() over (partition by v.tenant, e.stream order by e.n) as nth_of_stream
    from unnest(e_command, e_stream) with ordinality as e (command, stream, n)
    join verdicts v on v.n = e.command and v.status = 'stored'
  ), placed as materialized (
    select e.n, e.command, e.stream, e.tenant, e.head + e.nth_of_tenant as seq, s.current + e.nth_of_stream as version
    from numbered e join streams s on s.tenant = e.tenant and s.stream = e.stream
  ), clock as materialized (
    select clock_timestamp() as now
  ), moved as (
    update public.tenant_heads h set seq = p.seq
    from (select placed.tenant, max(placed.seq) as seq from placed group by placed.tenant) p
    where h.tenant_id = p.tenant and h.tenant_id = any (c_tenant)
  ), inserted as (
    insert into public.events (tenant_id, seq, category, stream_id, version, event_id, name, schema, data, meta,
                               occurred_at, recorded_at)
    select p.tenant, p.seq, e_category[p.n], p.stream, p.version, e_id[p.n], e_name[p.n], e_schema[p.n],
           e_data[p.n]::json, e_meta[p.n]::json, e_occurred[p.n], clock.now
    from placed p cross join clock
  ), outcomes as materialized (
    select v.n, v.status, v.tenant, v.claim, v.first_receipt, coalesce(v.first_seq, l.seq, v.head) as seq,
           coalesce(v.first_version, l.version, 0) as version
    from verdicts v
    left join (select p.command, max(p.seq) as seq,
                      max(p.version) filter (where p.stream = c_stream[p.command]) as version
               from placed p group by p.command) l on l.command = v.n
  ), remembered as (
    insert into public.idempotency_keys (tenant_id, actor_id, key, request_hash, seq, version, receipt)
    select o.tenant, c_actor[o.n], c_key[o.n], c_hash[o.n], o.seq, o.version, c_receipt[o.n]::json
    from outcomes o where o.status = 'stored' and c_key[o.n] is not null
  ), claimed as (
    -- The events of a command follow each other.
    insert into public.claims (tenant_id, claim, seq)
    select o.tenant, l.claim, o.seq - l.back from unnest(l_command, l_claim, l_back) as l (command, claim, back)
    join outcomes o on o.n = l.command and o.status = 'stored'
  )
  select o.n, o.status, o.seq, o.version, o.first_receipt, o.claim from outcomes o;
end $$;

-- The same for one command with one event: executor start makes the array form cost several times as much.
create or replace function append_one(
  p_tenant uuid, p_actor uuid, p_key text, p_hash bytea, p_receipt text, p_expected bigint, p_claims text[],
  p_category text, p_stream uuid, p_id uuid, p_name text, p_schema smallint, p_data text, p_meta text,
  p_occurred timestamptz,
  out status text, out seq bigint, out version bigint, out receipt text, out claim text)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_head bigint;
  v_hash bytea;
  v_current bigint;
begin
  select h.seq into v_head from public.tenant_heads h where h.tenant_id = p_tenant for update;
  if not found then
    return;
  end if;
  if p_key is not null then
    select k.request_hash, k.seq, k.version, k.receipt::text into v_hash, seq, version, receipt
    from public.idempotency_keys k where k.tenant_id = p_tenant and k.actor_id = p_actor and k.key = p_key;
    if found then
      status := case when v_hash = p_hash then 'replayed' else 'key_reused' end;
      return;
    end if;
  end if;
  if p_claims <> '{}' then
    select min(t.claim) into claim from public.claims t where t.tenant_id = p_tenant and t.claim = any (p_claims);
    if claim is not null then
      status := 'claimed';
      return;
    end if;
  end if;
  select e.version into v_current from public.events e where e.tenant_id = p_tenant and e.stream_id = p_stream
  order by e.version desc limit 1;
  v_current := coalesce(v_current, 0);
  if p_expected <> v_current then
    status := 'conflict';
    return;
  end if;

  status := 'stored';
  seq := v_head + 1;
  version := v_current + 1;
  update public.tenant_heads h set seq = append_one.seq where h.tenant_id = p_tenant;
  insert into public.events (tenant_id, seq, category, stream_id, version, event_id, name, schema, data, meta,
                             occurred_at, recorded_at)
  values (p_tenant, append_one.seq, p_category, p_stream, append_one.version, p_id, p_name, p_schema, p_data::json,
          p_meta::json, p_occurred, clock_timestamp());
  if p_key is not null then
    insert into public.idempotency_keys (tenant_id, actor_id, key, request_hash, seq, version, receipt)
    values (p_tenant, p_actor, p_key, p_hash, append_one.seq, append_one.version, p_receipt::json);
  end if;
  if p_claims <> '{}' then
    insert into public.claims (tenant_id, claim, seq) select p_tenant, c, append_one.seq from unnest(p_claims) c;
  end if;
end $$;

revoke execute on function append_batch from public;
grant execute on function append_batch to convolog_api;
set local role convolog_owner;
revoke create on schema public from convolog_append;

-- Read tables of costs, written by the projector alone. Sums are kept per currency, those without any (only a cost without
-- an amount has none) in a row of their own: amounts of different currencies are never added.
-- `recorded` counts all costs, `voided` those of them that count no more, `unpriced` those that do and have no amount.

create table cost_events (
  tenant_id uuid not null,
  id uuid not null,
  -- Number of its event in the tenant's log.
  seq bigint not null,
  -- Calendar month in UTC, and number of its event in the ledger of that month.
  period text not null,
  version bigint not null,
  service text not null check (service in ('llm', 'embedding', 'voice', 'vision', 'livekit', 'other')),
  provider text not null,
  model text,
  usage json not null,
  amount numeric(24, 12),
  currency text check (currency is not null or amount is null),
  session_id uuid,
  message_id uuid,
  meeting_id uuid,
  metadata json,
  occurred_at timestamptz not null,
  recorded_at timestamptz not null,
  -- When it was voided, by which event, and why.
  voided_at timestamptz,
  void_id uuid,
  void_reason text,
  primary key (tenant_id, id)
) with (fillfactor = 90);
create index cost_events_newest on cost_events (tenant_id, occurred_at, seq);
create index cost_events_of_session on cost_events (tenant_id, session_id, occurred_at, seq) where session_id is not null;
create index cost_events_of_message on cost_events (tenant_id, message_id, occurred_at, seq) where message_id is not null;

-- What was paid for within a quarter of an hour. All offsets of today's time zones are multiples of that.
create table cost_summaries (
  tenant_id uuid not null,
  bucket timestamptz not null,
  service text not null,
  provider text not null,
  model text,
  session_id uuid,
  currency text,
  recorded bigint not null,
  voided bigint not null,
  unpriced bigint not null,
  amount numeric(38, 12),
  constraint cost_summaries_key
    unique nulls not distinct (tenant_id, bucket, service, provider, model, session_id, currency)
) with (fillfactor = 80);

-- What was used within a quarter of an hour, without what was voided.
create table usage_summaries (
  tenant_id uuid not null,
  bucket timestamptz not null,
  service text not null,
  provider text not null,
  model text,
  session_id uuid,
  type text not null,
  unit text not null,
  quantity numeric(38, 12) not null,
  constraint usage_summaries_key
    unique nulls not distinct (tenant_id, bucket, service, provider, model, session_id, type, unit)
) with (fillfactor = 80);

create table session_costs (
  tenant_id uuid not null,
  session_id uuid not null,
  currency text,
  recorded bigint not null,
  voided bigint not null,
  unpriced bigint not null,
  amount numeric(38, 12),
  constraint session_costs_key unique nulls not distinct (tenant_id, session_id, currency)
) with (fillfactor = 80);

create table message_costs (
  tenant_id uuid not null,
  message_id uuid not null,
  currency text,
  recorded bigint not null,
  voided bigint not null,
  unpriced bigint not null,
  amount numeric(38, 12),
  constraint message_costs_key unique nulls not distinct (tenant_id, message_id, currency)
) with (fillfactor = 80);

-- The ledgers: how many events each has, and what they come to.
create table cost_periods (
  tenant_id uuid not null,
  period text not null,
  last_version bigint not null,
  constraint cost_periods_key primary key (tenant_id, period)
) with (fillfactor = 50);

create table cost_period_totals (
  tenant_id uuid not null,
  period text not null,
  currency text,
  recorded bigint not null,
  voided bigint not null,
  unpriced bigint not null,
  amount numeric(38, 12),
  constraint cost_period_totals_key unique nulls not distinct (tenant_id, period, currency)
) with (fillfactor = 50);

do $$
declare
  target regclass;
begin
  foreach target in array array['cost_events', 'cost_summaries', 'usage_summaries', 'session_costs', 'message_costs',
                                'cost_periods', 'cost_period_totals']::regclass[] loop
    -- Any tenant may be the large one, see sessions and messages.
    execute format('alter table %s alter column tenant_id set (n_distinct = 50)', target);
    perform ddl.protect(target);
    perform ddl.allow(target, 'convolog_api', 'select');
    perform ddl.allow(target, 'convolog_projector', 'select', 'insert', 'update', 'delete');
  end loop;
end $$;
