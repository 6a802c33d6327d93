-- The append of a batch, said more simply: either nothing is in the way and everything is stored, or nothing is stored and
-- the writer is told what is in the way.

grant create on schema public to convolog_append;
set local role convolog_append;
drop function append_batch;

-- Appends the commands of one batch, of any tenants, all or none. Set-based: a loop per command is two to three times
-- slower.
--
-- When nothing is in the way there is one row per command:
--   stored      seq and version are those of its last event (version: of the command's first stream, 0 when it has none)
-- Otherwise nothing is stored, and there is one row for whatever is in the way; a command may have several:
--   unknown     command nth: there is no such tenant
--   replayed    command nth: its key was used by the same request before; seq, version and receipt are the first answer's
--   key_reused  command nth: its key was used by another request
--   claimed     command nth: a claim of its is taken, see the column claim
--   moved       stream nth: it has another version than the one that was decided on
create function append_batch(
  -- one element per tenant, each once and in order; how many events it gets
  t_tenant uuid[], t_events int[],
  -- one per touched stream; expected NULL: any version will do
  s_tenant uuid[], s_stream uuid[], s_expected bigint[],
  -- one per command; c_tenant and c_stream count the tenants and the streams from 1; c_seq and c_version say which of the
  -- events that its tenant and its first stream get is its last
  c_tenant int[], c_actor uuid[], c_key text[], c_hash bytea[], c_receipt text[], c_seq int[], c_stream int[],
  c_version int[],
  -- one per claim; l_command counts from 1, l_back is how many events of the command come after the claim's own
  l_command int[], l_claim text[], l_back int[],
  -- one per event; e_seq and e_version say which of the events that its tenant and its stream get it is
  e_tenant int[], e_seq int[], e_stream int[], e_version int[], e_category text[], e_id uuid[], e_name text[],
  e_schema smallint[], e_data text[], e_meta text[], e_occurred timestamptz[]
) returns table (status text, nth int, seq bigint, version bigint, receipt text, claim text)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
  known uuid[];
  heads bigint[];
  versions bigint[];
  recorded timestamptz;
  in_the_way boolean;
begin
  -- The only lock, always in tenant order. The snapshots of the statements below are taken after it is held.
  select array_agg(h.tenant_id), array_agg(h.seq) into known, heads
  from (select h.tenant_id, h.seq from public.tenant_heads h where h.tenant_id = any (t_tenant)
        order by h.tenant_id for update) h;
  if known is distinct from t_tenant then
    return query
    select 'unknown', c.n::int, null::bigint, null::bigint, null, null
    from unnest(c_tenant) with ordinality as c (tenant, n) where t_tenant[c.tenant] = any (known) is not true;
    if not found then
      raise 'each tenant once and in order, please';
    end if;
    return;
  end if;

  -- Every look-up is a sub-select, not a join: a join that was planned while its table was empty or small scans all of
  -- it for every batch from then on.
  return query
  select case when k.request_hash = c.hash then 'replayed' else 'key_reused' end, c.n::int, k.seq, k.version,
         k.receipt::text, null
  from unnest(c_tenant, c_actor, c_key, c_hash) with ordinality as c (tenant, actor, key, hash, n)
  cross join lateral (select * from public.idempotency_keys k
                      where k.tenant_id = t_tenant[c.tenant] and k.actor_id = c.actor and k.key = c.key limit 1) k;
  in_the_way := found;
  if l_command <> '{}' then
    return query
    select 'claimed', l.command, null::bigint, null::bigint, null, l.claim
    from unnest(l_command, l_claim) as l (command, claim)
    where (select true from public.claims t where t.tenant_id = t_tenant[c_tenant[l.command]] and t.claim = l.claim);
    in_the_way := in_the_way or found;
  end if;
  versions := array(select coalesce((
      select e.version from public.events e where e.tenant_id = s.tenant and e.stream_id = s.stream
      order by e.version desc limit 1), 0)
    from unnest(s_tenant, s_stream) as s (tenant, stream));
  return query
  select 'moved', s.n::int, null::bigint, null::bigint, null, null
  from unnest(s_expected, versions) with ordinality as s (expected, current, n) where s.expected <> s.current;
  if in_the_way or found then
    return;
  end if;

  recorded := clock_timestamp();
  update public.tenant_heads h set seq = h.seq + t.events from unnest(t_tenant, t_events) as t (tenant, events)
  where h.tenant_id = t.tenant and h.tenant_id = any (t_tenant);
  insert into public.events (tenant_id, seq, category, stream_id, version, event_id, name, schema, data, meta,
                             occurred_at, recorded_at)
  select t_tenant[e.tenant], heads[e.tenant] + e.seq, e.category, s_stream[e.stream], versions[e.stream] + e.version,
         e.id, e.name, e.schema, e.data::json, e.meta::json, e.occurred, recorded
  from unnest(e_tenant, e_seq, e_stream, e_version, e_category, e_id, e_name, e_schema, e_data, e_meta, e_occurred)
    as e (tenant, seq, stream, version, category, id, name, schema, data, meta, occurred);
  insert into public.idempotency_keys (tenant_id, actor_id, key, request_hash, seq, version, receipt)
  select t_tenant[c.tenant], c.actor, c.key, c.hash, heads[c.tenant] + c.seq, coalesce(versions[c.stream] + c.version, 0),
         c.receipt::json
  from unnest(c_tenant, c_actor, c_key, c_hash, c_receipt, c_seq, c_stream, c_version)
    as c (tenant, actor, key, hash, receipt, seq, stream, version)
  where c.key is not null;
  if l_command <> '{}' then
    -- The events of a command follow each other.
    insert into public.claims (tenant_id, claim, seq)
    select t_tenant[c_tenant[l.command]], l.claim, heads[c_tenant[l.command]] + c_seq[l.command] - l.back
    from unnest(l_command, l_claim, l_back) as l (command, claim, back);
  end if;
  return query
  select 'stored', c.n::int, heads[c.tenant] + c.seq, coalesce(versions[c.stream] + c.version, 0), null, null
  from unnest(c_tenant, c_seq, c_stream, c_version) with ordinality as c (tenant, seq, stream, version, n);
end $$;

revoke execute on function append_batch from public;
grant execute on function append_batch to convolog_api;
set local role convolog_owner;
revoke create on schema public from convolog_append;
