-- Logs and streams that have a hole, one line each.
select 'gap' as what, 'tenant ' || h.tenant_id || ': head ' || h.seq || ', ' || count(e.seq) || ' events from '
       || coalesce(min(e.seq), 0) || ' to ' || coalesce(max(e.seq), 0) as line
from tenant_heads h left join events e on e.tenant_id = h.tenant_id
group by h.tenant_id, h.seq
having h.seq <> count(e.seq) or (h.seq > 0 and (min(e.seq) <> 1 or max(e.seq) <> h.seq))
union all
select 'stream', 'tenant ' || tenant_id || ' stream ' || stream_id || ': ' || count(*) || ' events, versions ' || min(version)
       || ' to ' || max(version)
from events
group by tenant_id, stream_id
having min(version) <> 1 or max(version) <> count(*) or count(distinct version) <> count(*)
