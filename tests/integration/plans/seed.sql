-- Two tenants with a past, with a few long sessions, and others that have just begun; ids differ from tenant
-- to tenant.
insert into tenant_heads (tenant_id, seq, shard)
select ('00000000-0000-0000-0000-' || lpad(to_hex(t), 12, '0'))::uuid, case when t <= 2 then 4000 when t <= 300 then 10 else 1 end,
       t % 64
from generate_series(1, 2000) t;
insert into tenants (tenant_id, name, created_at, version) select tenant_id, 'Tenant', now(), 1 from tenant_heads;
insert into relay_cursors (tenant_id, seq) select tenant_id, seq from tenant_heads;
insert into projection_checkpoints (tenant_id, group_name, seq, version)
select tenant_id, 'read_model', seq, 1 from tenant_heads;
insert into users (tenant_id, id, email, name, role, created_at, version, joined)
select tenant_id, md5('user' || n || tenant_id)::uuid, n || '@' || tenant_id || '.example.com', 'Somebody', 'member', now(), n, n
from tenant_heads cross join generate_series(1, 800) n where n <= case when seq = 4000 then 800 else 5 end;
insert into credentials (tenant_id, user_id, password_hash, changed_at) select tenant_id, id, 'hash', now() from users;
insert into auth_sessions (tenant_id, id, user_id, method, created_at, last_seen_at, expires_at, token_hash, rotated_at)
select tenant_id, md5('sign-in' || n || user_id)::uuid, user_id, 'password', now(), now(), now() + interval '1 day', '', now()
from credentials cross join generate_series(1, 5) n;
insert into verification_tokens (tenant_id, token_hash, user_id, purpose, email, created_at, expires_at)
select tenant_id, user_id::text::bytea, user_id, 'set_password', 'x', now(), now() from credentials;
insert into accounts (tenant_id, issuer, subject, user_id, email_verified, created_at)
select tenant_id, 'https://accounts.example.com', user_id, user_id, true, now() from credentials;
insert into sessions (tenant_id, id, seq, status, mode, message_count, started_at, version)
select tenant_id, md5('session' || n || tenant_id)::uuid, n, case when n % 3 = 0 then 'ended' else 'open' end,
       case when n % 2 = 0 then 'text' else 'meeting' end, 4, now(), 1
from tenant_heads cross join generate_series(1, 400) n where n <= seq / 5;
insert into messages (tenant_id, id, session_id, version, role, content, attachments, posted_at)
select tenant_id, md5('message' || n || tenant_id)::uuid, md5('session' || n % 2 + 1 || tenant_id)::uuid, n / 2 + 2,
       'user', repeat('word ', 20), '[]', now()
from tenant_heads cross join generate_series(1, 4000) n where n <= seq;
insert into events (tenant_id, seq, category, stream_id, version, event_id, name, schema, data, meta, occurred_at,
                    recorded_at)
select tenant_id, n, 'session', md5('session1' || tenant_id)::uuid, n,
       md5('event' || n || tenant_id)::uuid, 'session.message_posted', 1, '{}', '{}', now(), now()
from tenant_heads cross join generate_series(1, 4000) n where n <= seq;
insert into idempotency_keys (tenant_id, actor_id, key, request_hash, seq, version, receipt)
select tenant_id, md5('user1' || tenant_id)::uuid, 'key ' || n, '\x00', n, 1, 'null'
from tenant_heads cross join generate_series(1, 500) n where n <= seq;
insert into claims (tenant_id, claim, seq)
select tenant_id, 'message/' || n, n from tenant_heads cross join generate_series(1, 500) n where n <= seq;
insert into snapshots (tenant_id, stream_id, version, shape, state)
select tenant_id, md5('session' || n || tenant_id)::uuid, 500, 'shape', '{}'
from tenant_heads cross join generate_series(1, 100) n where n <= seq;
insert into cost_events (tenant_id, id, seq, period, version, service, provider, model, usage, amount, currency,
                         session_id, message_id, occurred_at, recorded_at)
select tenant_id, md5('cost' || n || tenant_id)::uuid, n, '2026-11', n, 'llm', 'openai', 'gpt-4o', '[]', 0.01, 'USD',
       md5('session' || n % 100 + 1 || tenant_id)::uuid, md5('message' || n || tenant_id)::uuid,
       '2026-11-01T00:00:00Z'::timestamptz + n * interval '10 minutes', now()
from tenant_heads cross join generate_series(1, 4000) n where n <= seq;
insert into cost_summaries (tenant_id, bucket, service, provider, model, session_id, currency, recorded, voided, unpriced, amount)
select tenant_id, date_bin('15 minutes', occurred_at, '2026-11-01T00:00:00Z'), service, provider, model, session_id, currency,
       count(*), 0, 0, sum(amount)
from cost_events group by 1, 2, 3, 4, 5, 6, 7;
insert into usage_summaries (tenant_id, bucket, service, provider, model, session_id, type, unit, quantity)
select tenant_id, bucket, service, provider, model, session_id, 'output_text', 'tokens', recorded from cost_summaries;
insert into session_costs (tenant_id, session_id, currency, recorded, voided, unpriced, amount)
select tenant_id, session_id, currency, count(*), 0, 0, sum(amount) from cost_events group by 1, 2, 3;
insert into message_costs (tenant_id, message_id, currency, recorded, voided, unpriced, amount)
select tenant_id, message_id, currency, count(*), 0, 0, sum(amount) from cost_events group by 1, 2, 3;
insert into cost_periods (tenant_id, period, last_version)
select tenant_id, p, 100 from tenant_heads cross join (values ('2026-10'), ('2026-11')) as periods (p);
insert into cost_period_totals (tenant_id, period, currency, recorded, voided, unpriced, amount)
select tenant_id, period, c, 100, 0, 0, 1 from cost_periods cross join (values ('EUR'), ('USD')) as currencies (c);
insert into dead_letters (tenant_id, group_name, stream_id, category, seq, version, event_id, name, error)
select tenant_id, 'read_model', md5('session' || n || tenant_id)::uuid, 'session', n, n, md5('event' || n || tenant_id)::uuid,
       'message_posted', 'refused'
from tenant_heads cross join generate_series(1, 10) n where seq > 1;
insert into discarded_events (tenant_id, seq, stream_id, discard_seq)
select tenant_id, n, md5('session' || n || tenant_id)::uuid, n + 1 from tenant_heads cross join generate_series(1, 10) n where seq > 1;
insert into api_keys (tenant_id, id, name, scopes, secret_hash, created_by, created_at)
select tenant_id, id, 'A program', '{read}', '\x00', id, now() from users;
update projection_checkpoints set parked = 10 where seq > 1;
analyze;
