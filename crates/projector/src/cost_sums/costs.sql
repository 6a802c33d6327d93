-- Adds the costs of a batch to all sums: sign is 1 for a cost and -1 for its void.
with entries as (
  select *, (sign > 0)::int as recorded, (sign < 0)::int as voided, case when amount is null then sign else 0 end as unpriced,
         sign * amount as signed
  from unnest($1::uuid[], $2::text[], $3::bigint[], $4::timestamptz[], $5::bigint[], $6::text[], $7::text[], $8::text[],
              $9::uuid[], $10::uuid[], $11::text[], $12::numeric[])
    as e (tenant, period, version, bucket, sign, service, provider, model, session, message, currency, amount)
), summaries as (
  insert into cost_summaries as s (tenant_id, bucket, service, provider, model, session_id, currency, recorded, voided,
                                   unpriced, amount)
  select tenant, bucket, service, provider, model, session, currency, sum(recorded), sum(voided), sum(unpriced),
         sum(signed)
  from entries group by 1, 2, 3, 4, 5, 6, 7
  on conflict on constraint cost_summaries_key do update set
    recorded = s.recorded + excluded.recorded, voided = s.voided + excluded.voided,
    unpriced = s.unpriced + excluded.unpriced,
    amount = case when s.amount is null then excluded.amount else s.amount + coalesce(excluded.amount, 0) end
), sessions as (
  insert into session_costs as s (tenant_id, session_id, currency, recorded, voided, unpriced, amount)
  select tenant, session, currency, sum(recorded), sum(voided), sum(unpriced), sum(signed)
  from entries where session is not null group by 1, 2, 3
  on conflict on constraint session_costs_key do update set
    recorded = s.recorded + excluded.recorded, voided = s.voided + excluded.voided,
    unpriced = s.unpriced + excluded.unpriced,
    amount = case when s.amount is null then excluded.amount else s.amount + coalesce(excluded.amount, 0) end
), messages as (
  insert into message_costs as s (tenant_id, message_id, currency, recorded, voided, unpriced, amount)
  select tenant, message, currency, sum(recorded), sum(voided), sum(unpriced), sum(signed)
  from entries where message is not null group by 1, 2, 3
  on conflict on constraint message_costs_key do update set
    recorded = s.recorded + excluded.recorded, voided = s.voided + excluded.voided,
    unpriced = s.unpriced + excluded.unpriced,
    amount = case when s.amount is null then excluded.amount else s.amount + coalesce(excluded.amount, 0) end
), periods as (
  insert into cost_periods as s (tenant_id, period, last_version)
  select tenant, period, max(version) from entries group by 1, 2
  on conflict on constraint cost_periods_key do update set
    last_version = greatest(s.last_version, excluded.last_version)
)
insert into cost_period_totals as s (tenant_id, period, currency, recorded, voided, unpriced, amount)
select tenant, period, currency, sum(recorded), sum(voided), sum(unpriced), sum(signed)
from entries group by 1, 2, 3
on conflict on constraint cost_period_totals_key do update set
  recorded = s.recorded + excluded.recorded, voided = s.voided + excluded.voided,
  unpriced = s.unpriced + excluded.unpriced,
  amount = case when s.amount is null then excluded.amount else s.amount + coalesce(excluded.amount, 0) end
