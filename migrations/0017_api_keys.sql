-- By which programs come in, and what each of them may do. Beside the log: what proves a key never enters it.
-- A row lives until the key is revoked.

create table api_keys (
  tenant_id uuid not null,
  id uuid not null,
  name text not null,
  scopes text[] not null check (
    scopes <@ array['read', 'write', 'costs:read', 'costs:write', 'events:read'] and cardinality(scopes) between 1 and 5
  ),
  -- SHA-256.
  secret_hash bytea not null,
  -- The user; their keys go when they go.
  created_by uuid not null,
  created_at timestamptz not null,
  expires_at timestamptz,
  -- To the minute.
  last_used_at timestamptz,
  primary key (tenant_id, id)
);

select ddl.protect('api_keys');
select ddl.allow('api_keys', 'convolog_api', 'select', 'insert', 'update', 'delete');
