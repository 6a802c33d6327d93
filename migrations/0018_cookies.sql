-- Sign-ins of browsers: known by a cookie, which is not exchanged, instead of refresh tokens, which are.

alter table auth_sessions
  alter column token_hash drop not null,
  -- SHA-256 of the cookie's token.
  add column cookie_hash bytea,
  add constraint auth_sessions_one_token check (num_nonnulls(token_hash, cookie_hash) = 1);
