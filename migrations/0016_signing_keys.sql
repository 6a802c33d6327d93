-- Which keys sign access tokens, by their public halves: a private one is derived from a secret that is in no database.

create table signing_keys (
  -- What the private key is derived from, with the secret.
  id uuid primary key,
  -- The next one is believed before it signs, a former one until it is taken away.
  state text not null check (state in ('next', 'signing', 'former')),
  public_key bytea not null unique check (octet_length(public_key) = 32),
  created_at timestamptz not null default now(),
  -- Since when it is in this state.
  changed_at timestamptz not null default now()
);
create unique index signing_keys_once on signing_keys (state) where state <> 'former';

-- The first process to start makes two. All else is for the administrator.
grant select, insert on signing_keys to convolog_api;
