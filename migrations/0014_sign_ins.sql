-- Who is signed in, and until when. Beside the log: neither what proves a sign-in nor from where it came enters the log.
-- A row lives as long as the sign-in does.

create table auth_sessions (
  tenant_id uuid not null,
  -- The claim `sid` of its access tokens.
  id uuid not null,
  user_id uuid not null,
  method text not null check (method in ('password')),
  created_at timestamptz not null,
  last_seen_at timestamptz not null,
  expires_at timestamptz not null,
  user_agent text,
  address text,
  -- SHA-256 of the refresh token that is good, and of the one before it; since when that is so.
  token_hash bytea not null,
  parent_hash bytea,
  rotated_at timestamptz not null,
  primary key (tenant_id, id)
);
create index auth_sessions_of_user on auth_sessions (tenant_id, user_id, created_at);

select ddl.protect('auth_sessions');
select ddl.allow('auth_sessions', 'convolog_api', 'select', 'insert', 'update', 'delete');
