-- Who wants to work: the shards of a kind of work are spread evenly over the processes that have lately said so.
create table lease_holders (
  work text not null,
  holder text not null,
  expires_at timestamptz not null,
  primary key (work, holder)
);
grant select, insert, update, delete on lease_holders to convolog_relay, convolog_projector;

-- Says that `p_holder` is alive for `p_seconds`, prolongs its leases, gives back what it has beyond its share, and takes
-- what is free up to its share; answers what it holds. Everybody reckons the shares from the same list: they differ by one
-- at most, and who is later in the list has the smaller one. With `p_anew` its own leases get a new epoch too: an earlier process of this name
-- may not know yet that it has ended.
create function hold_leases(p_work text, p_holder text, p_seconds int, p_anew boolean)
returns table (held_shard smallint, held_epoch bigint)
language plpgsql volatile as $$
declare
  v_until timestamptz;
  v_share int;
  v_held int;
begin
  -- One after the other: whoever is second sees what the first has given back.
  perform 1 from leases where work = p_work order by shard for update;
  v_until := clock_timestamp() + p_seconds * interval '1 second';
  delete from lease_holders where work = p_work and expires_at < clock_timestamp();
  insert into lease_holders (work, holder, expires_at) values (p_work, p_holder, v_until)
  on conflict (work, holder) do update set expires_at = excluded.expires_at;

  select (select count(*) from leases where work = p_work) / count(*)
         + case when count(*) filter (where holder < p_holder) < (select count(*) from leases where work = p_work) % count(*)
                then 1 else 0 end
  into v_share from lease_holders where work = p_work;

  with mine as (
    select shard, row_number() over (order by shard) <= v_share as kept from leases where work = p_work and holder = p_holder
  )
  update leases l
  set holder = case when kept then p_holder else '' end,
      expires_at = case when kept then v_until else '-infinity' end,
      epoch = epoch + case when kept and p_anew then 1 else 0 end
  from mine where l.work = p_work and l.shard = mine.shard;

  select count(*) into v_held from leases where work = p_work and holder = p_holder;
  update leases l set holder = p_holder, expires_at = v_until, epoch = epoch + 1
  from (select shard from leases where work = p_work and holder <> p_holder and expires_at < clock_timestamp()
        order by shard limit greatest(0, v_share - v_held)) free
  where l.work = p_work and l.shard = free.shard;

  return query select shard, epoch from leases where work = p_work and holder = p_holder order by shard;
end $$;

-- Gives everything back, so that others take over at once.
create function release_leases(p_work text, p_holder text) returns void
language sql volatile
begin atomic
  update leases set holder = '', expires_at = '-infinity' where work = p_work and holder = p_holder;
  delete from lease_holders where work = p_work and holder = p_holder;
end;

revoke execute on function hold_leases, release_leases from public;
grant execute on function hold_leases, release_leases to convolog_relay, convolog_projector;

-- A process looks whether the schema is the one that it knows.
grant select on _sqlx_migrations to convolog_api, convolog_projector, convolog_relay;
