-- The append, cheaper: a head says which commit has moved it last. A writer that finds its own there knows that nobody else
-- has been at the tenant's log since, so the versions of streams that it remembers need not be looked up. And what is the
-- same for a whole batch, or follows from its heads and versions, is not answered once for each command.

-- NULL: nobody's who remembers.
alter table tenant_heads add column last_commit uuid;

grant create on schema public to convolog_append;
set local role convolog_append;
drop function append_batch;
drop function append_one;

-- Appends the commands of one batch, of any tenants, all or none. Set-based: a loop per command is two to three times
-- slower.
--
-- When nothing is in the way there is one row:
--   stored      heads: the numbers that the logs of the tenants ended with before, last_commits: who had moved them last,
--               versions: those that the streams had before, 0 when they are new
-- Otherwise nothing is stored, and there is one row for whatever is in the way; a command may have several:
--   unknown     command nth: there is no such tenant
--   replayed    command nth: its key was used by the same request before; seq, version and receipt are the first answer's
--   key_reused  command nth: its key was used by another request
--   claimed     command nth: a claim of its is taken, see the column claim
--   moved       stream nth: it has another version than the one that was decided on
create function append_batch(
  -- the id of this commit, not used before; NULL: nobody will remember it
  p_commit uuid,
  -- one element per tenant, each once and in order; how many events it gets; the last commit that the caller knows of
  t_tenant uuid[], t_events int[], t_last_commit uuid[],
  -- one per touched stream; s_tenant counts from 1; expected NULL: any version will do; known: its version, unless somebody
  -- else has moved its tenant's head since the last commit that the caller knows of
  s_tenant int[], s_stream uuid[], s_expected bigint[], s_known bigint[],
  -- one per command; c_tenant and c_stream count the tenants and the streams from 1; c_seq and c_version say which of the
  -- events that its tenant and its first stream get is its last
  c_tenant int[], c_actor uuid[], c_key text[], c_hash bytea[], c_receipt text[], c_seq int[], c_stream int[],
  c_version int[],
  -- one per claim; l_command counts from 1, l_back is how many events of the command come after the claim's own
  l_command int[], l_claim text[], l_back int[],
  -- one per event; e_seq and e_version say which of the events that its tenant and its stream get it is
  e_tenant int[], e_seq int[], e_stream int[], e_version int[], e_category text[], e_id uuid[], e_name text[],
  e_schema smallint[], e_data text[], e_meta text[], e_occurred timestamptz[]
) returns table (status text, nth int, seq bigint, version bigint, receipt text, claim text,
                 heads bigint[], last_commits uuid[], versions bigint[])
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
  known uuid[];
  recorded timestamptz;
  in_the_way boolean;
begin
  -- The only lock, always in tenant order. The snapshots of the statements below are taken after it is held.
  select array_agg(h.tenant_id), array_agg(h.seq), array_agg(h.last_commit) into known, heads, last_commits
  from (select h.tenant_id, h.seq, h.last_commit from public.tenant_heads h where h.tenant_id = any (t_tenant)
        order by h.tenant_id for update) h;
  if known is distinct from t_tenant then
    return query
    select 'unknown', c.n::int, null::bigint, null::bigint, null, null, null::bigint[], null::uuid[], null::bigint[]
    from unnest(c_tenant) with ordinality as c (tenant, n) where t_tenant[c.tenant] = any (known) is not true;
    if not found then
      raise 'each tenant once and in order, please';
    end if;
    return;
  end if;

  -- Every look-up is a sub-select, not a join: a join that was planned while its table was empty or small scans all of
  -- it for every batch from then on. What is unnested in the list of a sub-select is not copied before it is used.
  return query
  select case when k.request_hash = c.hash then 'replayed' else 'key_reused' end, c.n, k.seq, k.version,
         k.receipt::text, null, null::bigint[], null::uuid[], null::bigint[]
  from (select unnest(c_tenant) as tenant, unnest(c_actor) as actor, unnest(c_key) as key, unnest(c_hash) as hash,
               generate_subscripts(c_tenant, 1) as n) c
  cross join lateral (select * from public.idempotency_keys k
                      where k.tenant_id = t_tenant[c.tenant] and k.actor_id = c.actor and k.key = c.key limit 1) k;
  in_the_way := found;
  if l_command <> '{}' then
    return query
    select 'claimed', l.command, null::bigint, null::bigint, null, l.claim, null::bigint[], null::uuid[], null::bigint[]
    from unnest(l_command, l_claim) as l (command, claim)
    where (select true from public.claims t where t.tenant_id = t_tenant[c_tenant[l.command]] and t.claim = l.claim);
    in_the_way := in_the_way or found;
  end if;
  versions := array(select coalesce(
      case when last_commits[s.tenant] = t_last_commit[s.tenant] then s.known end,
      (select e.version from public.events e where e.tenant_id = t_tenant[s.tenant] and e.stream_id = s.stream
       order by e.version desc limit 1),
      0)
    from (select unnest(s_tenant) as tenant, unnest(s_stream) as stream, unnest(s_known) as known) s);
  if versions <> s_expected then
    return query
    select 'moved', s.n::int, null::bigint, null::bigint, null, null, null::bigint[], null::uuid[], null::bigint[]
    from unnest(s_expected, versions) with ordinality as s (expected, current, n) where s.expected <> s.current;
    in_the_way := in_the_way or found;
  end if;
  if in_the_way then
    return;
  end if;

  recorded := clock_timestamp();
  update public.tenant_heads h set seq = h.seq + t.events, last_commit = p_commit
  from unnest(t_tenant, t_events) as t (tenant, events)
  where h.tenant_id = t.tenant and h.tenant_id = any (t_tenant);
  insert into public.events (tenant_id, seq, category, stream_id, version, event_id, name, schema, data, meta,
                             occurred_at, recorded_at)
  select t_tenant[e.tenant], heads[e.tenant] + e.seq, e.category, s_stream[e.stream], versions[e.stream] + e.version,
         e.id, e.name, e.schema, e.data::json, e.meta::json, e.occurred, recorded
  from (select unnest(e_tenant) as tenant, unnest(e_seq) as seq, unnest(e_stream) as stream, unnest(e_version) as version,
               unnest(e_category) as category, unnest(e_id) as id, unnest(e_name) as name, unnest(e_schema) as schema,
               unnest(e_data) as data, unnest(e_meta) as meta, unnest(e_occurred) as occurred) e;
  insert into public.idempotency_keys (tenant_id, actor_id, key, request_hash, seq, version, receipt)
  select t_tenant[c.tenant], c.actor, c.key, c.hash, heads[c.tenant] + c.seq, coalesce(versions[c.stream] + c.version, 0),
         c.receipt::json
  from (select unnest(c_tenant) as tenant, unnest(c_actor) as actor, unnest(c_key) as key, unnest(c_hash) as hash,
               unnest(c_receipt) as receipt, unnest(c_seq) as seq, unnest(c_stream) as stream,
               unnest(c_version) as version) c
  where c.key is not null;
  if l_command <> '{}' then
    -- The events of a command follow each other.
    insert into public.claims (tenant_id, claim, seq)
    select t_tenant[c_tenant[l.command]], l.claim, heads[c_tenant[l.command]] + c_seq[l.command] - l.back
    from unnest(l_command, l_claim, l_back) as l (command, claim, back);
  end if;
  status := 'stored';
  return next;
end $$;

-- The same for one command with one event: executor start makes the array form cost several times as much. Its seq and
-- version are those of the event.
create function append_one(
  p_commit uuid, p_last_commit uuid, p_known bigint,
  p_tenant uuid, p_actor uuid, p_key text, p_hash bytea, p_receipt text, p_expected bigint, p_claims text[],
  p_category text, p_stream uuid, p_id uuid, p_name text, p_schema smallint, p_data text, p_meta text,
  p_occurred timestamptz,
  out status text, out seq bigint, out version bigint, out receipt text, out claim text, out last_commit uuid)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_head bigint;
  v_hash bytea;
  v_current bigint;
begin
  select h.seq, h.last_commit into v_head, last_commit
  from public.tenant_heads h where h.tenant_id = p_tenant for update;
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
  if last_commit = p_last_commit then
    v_current := p_known;
  end if;
  if v_current is null then
    select e.version into v_current from public.events e where e.tenant_id = p_tenant and e.stream_id = p_stream
    order by e.version desc limit 1;
    v_current := coalesce(v_current, 0);
  end if;
  if p_expected <> v_current then
    status := 'conflict';
    return;
  end if;

  status := 'stored';
  seq := v_head + 1;
  version := v_current + 1;
  update public.tenant_heads h set seq = append_one.seq, last_commit = p_commit where h.tenant_id = p_tenant;
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

revoke execute on function append_batch, append_one from public;
grant execute on function append_batch, append_one to convolog_api;
set local role convolog_owner;
revoke create on schema public from convolog_append;
