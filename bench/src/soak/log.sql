-- Every event that a client has sent for, with the word that finds it again and what it says of money.
select e.tenant_id, e.seq, e.version, e.name,
       case e.name
         when 'session_ended' then 'end-' || (s.data->'metadata'->>'soak')
         when 'message_posted' then split_part(e.data->>'content', ' ', 1)
         when 'cost_voided' then e.data->>'reason'
         else e.data->'metadata'->>'soak'
       end as marker,
       case e.name
         when 'message_posted' then (e.data->>'message_id')::uuid
         when 'cost_recorded' then (e.data->>'cost_id')::uuid
         when 'cost_voided' then e.event_id
         else e.stream_id
       end as id,
       e.data->>'period' as period, (e.data->'charge'->>'amount')::numeric as amount,
       e.data->'charge'->>'currency' as currency, e.event_id
from events e
left join events s on s.tenant_id = e.tenant_id and s.stream_id = e.stream_id and s.name = 'session_started'
  and e.name = 'session_ended'
where e.category in ('session', 'ledger')
order by e.tenant_id, e.seq
