-- Everything in which logs, read tables and checkpoints differ.
with sessions_of_log as (
  select s.tenant_id, s.stream_id as id, s.seq, case when e.seq is null then 'open' else 'ended' end as status,
         s.data->>'mode' as mode, (s.data->>'widget_id')::uuid as widget_id, (s.data->>'meeting_id')::uuid as meeting_id,
         (s.data->>'personality_id')::uuid as personality_id, (s.data->'metadata')::text as metadata,
         m.count as message_count, s.occurred_at as started_at, e.occurred_at as ended_at, m.last as last_message_at,
         coalesce(e.version, s.version) as version
  from events s
  left join events e on e.tenant_id = s.tenant_id and e.stream_id = s.stream_id and e.name = 'session_ended'
  cross join lateral (
    select count(*) as count, max(m.occurred_at) as last from events m
    where m.tenant_id = s.tenant_id and m.stream_id = s.stream_id and m.name = 'message_posted') m
  where s.category = 'session' and s.name = 'session_started'
), sessions_read as (
  select tenant_id, id, seq, status, mode, widget_id, meeting_id, personality_id, metadata::text as metadata,
         message_count, started_at, ended_at, last_message_at, version
  from sessions
), messages_of_log as (
  select tenant_id, data->>'message_id' as id, stream_id as session_id, version, data->>'role' as role,
         data->>'content' as content, coalesce((data->'attachments')::text, '[]') as attachments,
         (data->'metadata')::text as metadata, occurred_at as posted_at
  from events where category = 'session' and name = 'message_posted'
), messages_read as (
  select tenant_id, id::text as id, session_id, version, role, content, attachments::text as attachments,
         metadata::text as metadata, posted_at
  from messages
)
select 'session not as in the log: ' || x::text
from (select * from sessions_of_log except all select * from sessions_read) x
union all
select 'session that the log does not have: ' || x::text
from (select * from sessions_read except all select * from sessions_of_log) x
union all
select 'message not as in the log: ' || x::text
from (select * from messages_of_log except all select * from messages_read) x
union all
select 'message that the log does not have: ' || x::text
from (select * from messages_read except all select * from messages_of_log) x
union all
select 'log with a hole: ' || h.tenant_id
from tenant_heads h
where h.seq <> (select count(*) from events e where e.tenant_id = h.tenant_id and e.seq between 1 and h.seq)
union all
select 'checkpoint not at the head: ' || h.tenant_id || ' head ' || h.seq || ' checkpoint ' || coalesce(c.seq, 0)
from tenant_heads h left join projection_checkpoints c on c.tenant_id = h.tenant_id
where h.seq <> coalesce(c.seq, 0)
