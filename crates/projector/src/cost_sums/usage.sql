-- Adds the lines of usage of a batch: sign is 1 for a cost and -1 for its void.
insert into usage_summaries as s (tenant_id, bucket, service, provider, model, session_id, type, unit, quantity)
select tenant, bucket, service, provider, model, session, type, unit, sum(sign * quantity)
from unnest($1::uuid[], $2::timestamptz[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::uuid[], $8::text[],
            $9::text[], $10::numeric[])
  as l (tenant, bucket, sign, service, provider, model, session, type, unit, quantity)
group by 1, 2, 3, 4, 5, 6, 7, 8
on conflict on constraint usage_summaries_key do update set quantity = s.quantity + excluded.quantity
