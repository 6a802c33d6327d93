-- Everything in which the ledgers and their read tables differ.
with costs as (
  select tenant_id, stream_id, seq, version, event_id, data->>'cost_id' as id, data->>'period' as period, data->'charge' as charge,
         data->'metadata' as metadata, occurred_at, recorded_at, 1 as sign
  from events where category = 'ledger' and name = 'cost_recorded'
), voids as (
  select tenant_id, stream_id, seq, version, event_id, data->>'cost_id' as id, data->>'period' as period, data->'charge' as charge,
         data->>'reason' as reason, occurred_at as voided_at, (data->>'occurred_at')::timestamptz as occurred_at, -1 as sign
  from events where category = 'ledger' and name = 'cost_voided'
), entries as (
  select e.*, charge->>'service' as service, charge->>'provider' as provider, charge->>'model' as model,
         charge->>'session_id' as session, charge->>'message_id' as message, charge->>'currency' as currency,
         (charge->>'amount')::numeric as amount, date_bin('15 minutes', occurred_at, '2000-01-01T00:00:00Z') as bucket,
         case when charge->>'amount' is null then sign else 0 end as unpriced
  from (select tenant_id, period, version, charge, occurred_at, sign from costs
        union all select tenant_id, period, version, charge, occurred_at, sign from voids) e
), lines as (
  select e.*, u->>'type' as type, u->>'unit' as unit, (u->>'quantity')::numeric as quantity
  from entries e cross join json_array_elements(charge->'usage') u
), of_log as (
  select 'cost ' || row(c.tenant_id, c.id, c.seq, c.period, coalesce(v.version, c.version), c.charge->>'service', c.charge->>'provider',
         c.charge->>'model', coalesce((c.charge->'usage')::text, '[]'), (c.charge->>'amount')::numeric(24, 12),
         c.charge->>'currency', c.charge->>'session_id', c.charge->>'message_id', c.charge->>'meeting_id', c.metadata::text,
         c.occurred_at, c.recorded_at, v.voided_at, v.event_id, v.reason)::text as line
  from costs c left join voids v on v.tenant_id = c.tenant_id and v.id = c.id
  union all
  select 'quarter ' || row(tenant_id, bucket, service, provider, model, session, currency, count(*) filter (where sign > 0),
         count(*) filter (where sign < 0), sum(unpriced), sum(sign * amount)::numeric(38, 12))::text
  from entries group by tenant_id, bucket, service, provider, model, session, currency
  union all
  select 'usage ' || row(tenant_id, bucket, service, provider, model, session, type, unit,
         sum(sign * quantity)::numeric(38, 12))::text
  from lines group by tenant_id, bucket, service, provider, model, session, type, unit
  union all
  select 'session ' || row(tenant_id, session, currency, count(*) filter (where sign > 0), count(*) filter (where sign < 0),
         sum(unpriced), sum(sign * amount)::numeric(38, 12))::text
  from entries where session is not null group by tenant_id, session, currency
  union all
  select 'message ' || row(tenant_id, message, currency, count(*) filter (where sign > 0), count(*) filter (where sign < 0),
         sum(unpriced), sum(sign * amount)::numeric(38, 12))::text
  from entries where message is not null group by tenant_id, message, currency
  union all
  select 'ledger ' || row(tenant_id, period, count(*))::text from entries group by tenant_id, period
  union all
  select 'period ' || row(tenant_id, period, currency, count(*) filter (where sign > 0), count(*) filter (where sign < 0),
         sum(unpriced), sum(sign * amount)::numeric(38, 12))::text
  from entries group by tenant_id, period, currency
), read as (
  select 'cost ' || row(tenant_id, id, seq, period, version, service, provider, model, usage::text, amount, currency, session_id,
         message_id, meeting_id, metadata::text, occurred_at, recorded_at, voided_at, void_id, void_reason)::text as line
  from cost_events
  union all
  select 'quarter ' || row(tenant_id, bucket, service, provider, model, session_id, currency, recorded, voided, unpriced,
         amount)::text
  from cost_summaries
  union all
  select 'usage ' || row(tenant_id, bucket, service, provider, model, session_id, type, unit, quantity)::text
  from usage_summaries
  union all
  select 'session ' || row(tenant_id, session_id, currency, recorded, voided, unpriced, amount)::text from session_costs
  union all
  select 'message ' || row(tenant_id, message_id, currency, recorded, voided, unpriced, amount)::text from message_costs
  union all
  select 'ledger ' || row(tenant_id, period, last_version)::text from cost_periods
  union all
  select 'period ' || row(tenant_id, period, currency, recorded, voided, unpriced, amount)::text from cost_period_totals
)
select 'not as in the log: ' || line from (select * from of_log except all select * from read) x
union all
select 'not in the log: ' || line from (select * from read except all select * from of_log) x
union all
select 'ledger with a hole: ' || row(tenant_id, data->>'period')::text
from events where category = 'ledger'
group by tenant_id, stream_id, data->>'period' having count(*) <> max(version) or min(version) <> 1
