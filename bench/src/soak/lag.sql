-- Tenants whose read tables or messages are behind their log.
select 'tenant ' || h.tenant_id || ': head ' || h.seq || ', read tables ' || coalesce(c.seq, 0) || ', published '
       || coalesce(r.seq, 0)
from tenant_heads h
left join projection_checkpoints c on c.tenant_id = h.tenant_id
left join relay_cursors r on r.tenant_id = h.tenant_id
where h.seq <> coalesce(c.seq, 0) or h.seq <> coalesce(r.seq, 0)
