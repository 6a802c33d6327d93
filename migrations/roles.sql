-- Roles and the rights on the database itself. Run by the administrator before the numbered migrations and again at
-- any time: roles belong to the cluster and database rights are not copied with a template, so neither can be
-- numbered.

do $$
declare
  name text;
begin
  foreach name in array array['convolog_owner', 'convolog_append', 'convolog_sweep', 'convolog_auth', 'convolog_monitor',
                              'convolog_api', 'convolog_projector', 'convolog_relay'] loop
    begin
      execute format('create role %I nologin noinherit', name);
    exception when duplicate_object or unique_violation then
      null; -- another database of this cluster has them already
    end;
  end loop;
end $$;

-- A concurrent run in another database updates the same rows of pg_authid and pg_db_role_setting.
do $$
begin
  perform pg_advisory_xact_lock(7307499164398874);
  -- Definer functions are given to their owners by whoever migrates as convolog_owner.
  if not pg_has_role('convolog_owner', 'convolog_append', 'set') then
    grant convolog_append, convolog_sweep, convolog_auth to convolog_owner with inherit false, set true;
  end if;
  if not pg_has_role('convolog_owner', 'convolog_monitor', 'set') then
    grant convolog_monitor to convolog_owner with inherit false, set true;
  end if;
  if not pg_has_role('convolog_monitor', 'pg_read_all_stats', 'usage') then
    begin
      grant pg_read_all_stats to convolog_monitor with inherit true, set false;
    exception when insufficient_privilege then
      null; -- a managed server may keep it to itself: then nobody is told of the oldest snapshot
    end;
  end if;
  if not pg_has_role(current_user, 'convolog_owner', 'set') then
    execute format('grant convolog_owner to %I with inherit false, set true', current_user);
  end if;

  -- An open snapshot keeps dead versions of the head rows alive and makes appends slower without bound.
  if not exists (select from pg_db_role_setting s join pg_roles r on r.oid = s.setrole
                 where r.rolname = 'convolog_relay' and s.setdatabase = 0) then
    alter role convolog_api set transaction_timeout = '5s';
    alter role convolog_api set lock_timeout = '2s';
    alter role convolog_projector set transaction_timeout = '5s';
    alter role convolog_projector set lock_timeout = '2s';
    alter role convolog_relay set transaction_timeout = '5s';
    alter role convolog_relay set lock_timeout = '2s';
  end if;

  execute format('revoke all on database %I from public', current_database());
  execute format('grant connect on database %I to convolog_api, convolog_projector, convolog_relay',
                 current_database());
  execute format('grant create on database %I to convolog_owner', current_database());
  revoke create on schema public from public;
  grant usage on schema public to convolog_append, convolog_sweep, convolog_auth, convolog_monitor, convolog_api,
    convolog_projector, convolog_relay;
  -- With grant option: a function can be given only to a role that may create in its schema, for that moment.
  grant usage, create on schema public to convolog_owner with grant option;
end $$;
