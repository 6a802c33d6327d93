-- What can be said of a tenant and of its members, and how somebody who was invited chooses a password.

alter table tenants
  add column settings json not null default '{"version": 1}',
  add column stripe_customer_id text,
  add column stripe_subscription_id text;

-- `joined`: version of the event by which they became members, their place in lists.
alter table users
  add column avatar_url text,
  add column joined bigint not null default 2;
-- Until now each tenant had one, whom its second event had made a member.
alter table users alter column joined drop default;
create index users_in_order on users (tenant_id, joined);

-- Good once, and only for what it was made for.
create table verification_tokens (
  tenant_id uuid not null,
  -- SHA-256.
  token_hash bytea not null,
  user_id uuid not null,
  purpose text not null check (purpose in ('set_password')),
  -- The address that it was sent to: of no use when the user's is another one by then.
  email text not null,
  created_at timestamptz not null,
  expires_at timestamptz not null,
  primary key (tenant_id, token_hash)
);
create index verification_tokens_of_user on verification_tokens (tenant_id, user_id);

select ddl.protect('verification_tokens');
select ddl.allow('verification_tokens', 'convolog_api', 'select', 'insert', 'delete');
