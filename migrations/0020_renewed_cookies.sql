-- A browser's cookie is another one once its user has another role.

alter table auth_sessions
  -- The role that the user had when the cookie was given; null in rows from before: they get another one when they are used.
  add column cookie_role text check (cookie_role in ('owner', 'admin', 'member'));
