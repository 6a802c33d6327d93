-- Read tables of sessions and their messages, written by the projector alone.

create table sessions (
  tenant_id uuid not null,
  id uuid not null,
  -- Number of the event that started it in the tenant's log: the order of lists.
  seq bigint not null,
  status text not null check (status in ('open', 'ended')),
  mode text not null check (mode in ('text', 'meeting')),
  widget_id uuid,
  meeting_id uuid,
  personality_id uuid,
  metadata json,
  message_count bigint not null,
  started_at timestamptz not null,
  ended_at timestamptz,
  last_message_at timestamptz,
  -- Version of the last event that changed the session itself, not its messages.
  version bigint not null,
  primary key (tenant_id, id)
) with (fillfactor = 80);
create index sessions_newest on sessions (tenant_id, seq);
create index sessions_by_status on sessions (tenant_id, status, seq);
create index sessions_by_mode on sessions (tenant_id, mode, seq);

create table messages (
  tenant_id uuid not null,
  id uuid not null,
  session_id uuid not null,
  -- Version of its event in the session's stream: the order of lists.
  version bigint not null,
  role text not null check (role in ('user', 'assistant', 'system')),
  content text not null,
  attachments json not null,
  metadata json,
  posted_at timestamptz not null,
  primary key (tenant_id, id)
);
create unique index messages_of_session on messages (tenant_id, session_id, version);

-- Any tenant may be the large one. Told the truth, that there are many tenants and an average one is small, the planner
-- looks a row up by the tenant alone and reads all that it has.
alter table sessions alter column tenant_id set (n_distinct = 50);
alter table messages alter column tenant_id set (n_distinct = 50);

select ddl.protect(t) from unnest(array['sessions', 'messages']::regclass[]) t;
select ddl.allow('sessions', 'convolog_api', 'select');
select ddl.allow('messages', 'convolog_api', 'select');
select ddl.allow('sessions', 'convolog_projector', 'select', 'insert', 'update', 'delete');
select ddl.allow('messages', 'convolog_projector', 'select', 'insert', 'update', 'delete');
