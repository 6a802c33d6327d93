-- Who a user is elsewhere. An identity is the provider's word for somebody, never an address of e-mail, which may come to belong to
-- somebody else. No way leads in by it yet; who is removed loses theirs already.

create table accounts (
  tenant_id uuid not null,
  -- `iss` and `sub` of the provider's tokens.
  issuer text not null,
  subject text not null,
  user_id uuid not null,
  -- As the provider last said, and whether it has checked it.
  email text,
  email_verified boolean not null,
  created_at timestamptz not null,
  primary key (tenant_id, issuer, subject)
);
create index accounts_of_user on accounts (tenant_id, user_id);

select ddl.protect('accounts');
select ddl.allow('accounts', 'convolog_api', 'select', 'insert', 'update', 'delete');
