-- Ways to break the schema, one per paragraph, each followed by exactly what the rules must say about it.

-- Tables.

alter table events no force row level security;
--! row-level security is forced on the owner: events is open to its owner

alter table events disable row level security;
--! row-level security is enabled: events is not protected

create table notes (tenant_id uuid not null, id uuid not null, primary key (tenant_id, id));
alter table notes owner to convolog_owner;
--! row-level security is enabled: notes is not protected
--! row-level security is forced on the owner: notes is open to its owner

create table notes (id uuid primary key);
alter table notes owner to convolog_owner;
--! every table has a tenant or is on the list: notes has no tenant_id

create table notes (tenant_id text, id uuid not null);
alter table notes owner to convolog_owner;
select ddl.protect('notes');
--! tenant_id is a uuid and never null: notes.tenant_id is text and may be null
--! every tenant table has a key: notes has no primary key, and no unique one that takes nulls as equal

alter table users owner to postgres;
--! tables belong to an owner that nobody logs in as: users belongs to postgres

alter table messages add constraint one_of_all unique (id);
--! keys begin with the tenant: one_of_all of messages does not begin with tenant_id
--! indexes begin with the tenant or are on the list: one_of_all does not begin with tenant_id

create unique index one_of_all on messages (id);
--! indexes begin with the tenant or are on the list: one_of_all does not begin with tenant_id

create index by_content on messages using hash (content);
--! indexes begin with the tenant or are on the list: by_content does not begin with tenant_id

drop index users_email_lookup;
--! indexes begin with the tenant or are on the list: users_email_lookup is named but does not exist

alter table users add constraint global_users unique (id);
alter table credentials add foreign key (user_id) references users (id);
--! keys begin with the tenant: global_users of users does not begin with tenant_id
--! foreign keys lead from tenant to tenant: credentials_user_id_fkey of credentials does not lead from tenant_id to tenant_id
--! indexes begin with the tenant or are on the list: global_users does not begin with tenant_id

alter table snapshots drop constraint snapshots_pkey;
--! every tenant table has a key: snapshots has no primary key, and no unique one that takes nulls as equal

alter table session_costs drop constraint session_costs_key,
  add constraint session_costs_key unique (tenant_id, session_id, currency);
--! every tenant table has a key: session_costs has no primary key, and no unique one that takes nulls as equal

-- Policies and grants.

create policy more on sessions to convolog_api using (status = 'open');
--! one permissive policy per table, command and role: more of sessions is for all commands
--! policies speak of the tenant in the known words: more of sessions says (status = 'open'::text)
--! no grant without a policy, no policy without a grant: more of sessions has no grant

create policy more on sessions for select to convolog_api using (true);
--! one permissive policy per table, command and role: convolog_api has 2 policies to select sessions
--! policies speak of the tenant in the known words: more of sessions says true

create policy more on sessions for select to public using (true);
--! one permissive policy per table, command and role: more of sessions is for everybody
--! policies speak of the tenant in the known words: more of sessions says true
--! no grant without a policy, no policy without a grant: more of sessions has no grant

alter policy select_convolog_api on messages using (tenant_id = get_current_tenant_id());
--! policies speak of the tenant in the known words: select_convolog_api of messages says (tenant_id = get_current_tenant_id())

alter policy update_convolog_api on users with check (true);
--! policies speak of the tenant in the known words: update_convolog_api of users says (tenant_id = ( SELECT get_current_tenant_id() AS get_current_tenant_id)) with check true

alter policy select_convolog_api on messages to convolog_api, convolog_relay;
--! one permissive policy per table, command and role: select_convolog_api of messages is for several roles
--! policies speak of the tenant in the known words: select_convolog_api of messages says (tenant_id = ( SELECT get_current_tenant_id() AS get_current_tenant_id))
--! no grant without a policy, no policy without a grant: select_convolog_api of messages has no grant

alter policy select_convolog_projector on staging.messages
  using (tenant_id = any ((select get_current_tenant_ids())::uuid[]));
--! policies speak of the tenant in the known words: select_convolog_projector of staging.messages says (tenant_id = ANY (( SELECT get_current_tenant_ids() AS get_current_tenant_ids)::uuid[]))

drop policy select_convolog_projector on events;
--! no grant without a policy, no policy without a grant: convolog_projector may select events without a policy

drop policy select_convolog_relay on events;
--! the policies over all tenants are those on the list: convolog_relay select events is named but does not exist
--! no grant without a policy, no policy without a grant: convolog_relay may select events without a policy

create policy narrow on users as restrictive for select to convolog_api using (true);
--! one permissive policy per table, command and role: narrow of users is restrictive
--! policies speak of the tenant in the known words: narrow of users says true

select ddl.allow('messages', 'convolog_relay', 'select');
--! policies speak of the tenant in the known words: select_convolog_relay of messages says true

grant truncate on messages to convolog_api;
--! no right that ignores row-level security: convolog_api may truncate messages
--! no grant without a policy, no policy without a grant: convolog_api may truncate messages without a policy

grant references, trigger on messages to convolog_relay;
--! no right that ignores row-level security: convolog_relay may references messages
--! no right that ignores row-level security: convolog_relay may trigger messages
--! no grant without a policy, no policy without a grant: convolog_relay may references messages without a policy
--! no grant without a policy, no policy without a grant: convolog_relay may trigger messages without a policy

grant update on events to convolog_append;
--! no grant without a policy, no policy without a grant: convolog_append may update events without a policy
--! nobody changes what is append-only: convolog_append may update events

select ddl.allow('events', 'convolog_append', 'delete');
--! policies speak of the tenant in the known words: delete_convolog_append of events says true
--! nobody changes what is append-only: convolog_append may delete events
--! nobody changes what is append-only: delete_convolog_append lets convolog_append delete events

select ddl.allow('events', 'convolog_api', 'insert');
--! only the append functions write the log: convolog_api may insert events

grant select (content) on messages to convolog_relay;
--! no grant without a policy, no policy without a grant: columns of messages are granted one by one

grant select on messages to public;
--! no grant without a policy, no policy without a grant: public may select messages without a policy

grant delete on leases to convolog_projector;
--! the grants on global tables are those on the list: convolog_projector delete leases is not on the list

revoke select on relay_state from convolog_relay;
--! the grants on global tables are those on the list: convolog_relay select relay_state is named but not granted

-- Functions.

alter function get_current_tenant_id() immutable;
--! the tenant is read by a stable, parallel safe function in SQL without an EXCEPTION block: get_current_tenant_id is immutable

alter function get_current_run_id() immutable;
--! the tenant is read by a stable, parallel safe function in SQL without an EXCEPTION block: get_current_run_id is immutable

alter function get_current_tenant_ids() parallel unsafe;
--! the tenant is read by a stable, parallel safe function in SQL without an EXCEPTION block: get_current_tenant_ids is not parallel safe

create or replace function get_current_tenant_id() returns uuid language sql stable parallel safe return coalesce(nullif(current_setting('app.current_tenant_id', true), '')::uuid, '00000000-0000-0000-0000-000000000000'::uuid);
--! the tenant is read by a stable, parallel safe function in SQL without an EXCEPTION block: get_current_tenant_id is another function

grant execute on function append_batch to public;
--! the definer functions are those on the list, with their owners and callers: append_batch of convolog_append for convolog_api is named but does not exist
--! the definer functions are those on the list, with their owners and callers: append_batch of convolog_append for convolog_api, public is not on the list
--! no function is for everybody: append_batch may be executed by everybody

grant execute on function append_one to convolog_projector;
--! the definer functions are those on the list, with their owners and callers: append_one of convolog_append for convolog_api is named but does not exist
--! the definer functions are those on the list, with their owners and callers: append_one of convolog_append for convolog_api, convolog_projector is not on the list

alter function append_one reset search_path;
--! definer functions have a fixed search path and an owner that nobody logs in as: append_one has no settings

alter function append_one owner to convolog_api;
--! runtime roles own nothing: convolog_api owns function append_one(uuid,uuid,bigint,uuid,uuid,text,bytea,text,bigint,text[],text,uuid,uuid,text,smallint,text,text,timestamp with time zone)
--! the definer functions are those on the list, with their owners and callers: append_one of convolog_api for nobody is not on the list
--! the definer functions are those on the list, with their owners and callers: append_one of convolog_append for convolog_api is named but does not exist
--! definer functions have a fixed search path and an owner that nobody logs in as: append_one belongs to convolog_api

create function peek() returns bigint language sql security definer return 1;
revoke execute on function peek from public;
--! the definer functions are those on the list, with their owners and callers: peek of postgres for nobody is not on the list
--! definer functions have a fixed search path and an owner that nobody logs in as: peek belongs to postgres
--! definer functions have a fixed search path and an owner that nobody logs in as: peek has no settings

create function peek() returns bigint language sql return 1;
revoke execute on function peek from public;
alter function peek leakproof;
--! no function of ours is leakproof: peek is leakproof

create function peek() returns bigint language sql return 1;
--! no function is for everybody: peek may be executed by everybody

-- Roles.

alter role convolog_api bypassrls;
--! no role has an attribute of power: convolog_api has BYPASSRLS

alter role convolog_sweep superuser;
--! no role has an attribute of power: convolog_sweep has SUPERUSER
--! definer functions have a fixed search path and an owner that nobody logs in as: checkpoints_of belongs to convolog_sweep
--! definer functions have a fixed search path and an owner that nobody logs in as: heads_of belongs to convolog_sweep
--! definer functions have a fixed search path and an owner that nobody logs in as: lagging_tenants belongs to convolog_sweep
--! definer functions have a fixed search path and an owner that nobody logs in as: parked_tenants belongs to convolog_sweep
--! definer functions have a fixed search path and an owner that nobody logs in as: tenants_after belongs to convolog_sweep

alter role convolog_projector createrole createdb replication;
--! no role has an attribute of power: convolog_projector has CREATEDB
--! no role has an attribute of power: convolog_projector has CREATEROLE
--! no role has an attribute of power: convolog_projector has REPLICATION

alter role convolog_append login;
--! the named roles exist, and only runtime roles log in: convolog_append can log in
--! definer functions have a fixed search path and an owner that nobody logs in as: append_batch belongs to convolog_append
--! definer functions have a fixed search path and an owner that nobody logs in as: append_one belongs to convolog_append
--! definer functions have a fixed search path and an owner that nobody logs in as: open_tenant belongs to convolog_append

grant convolog_append to convolog_api;
--! roles are members of nothing but what is on the list: convolog_api is a member of convolog_append

grant pg_read_all_data to convolog_monitor;
--! roles are members of nothing but what is on the list: convolog_monitor is a member of pg_read_all_data

revoke pg_read_all_stats from convolog_monitor;
--! roles are members of nothing but what is on the list: convolog_monitor in pg_read_all_stats is named but does not exist

grant pg_read_all_data to convolog_owner;
--! roles are members of nothing but what is on the list: convolog_owner is a member of pg_read_all_data

alter role convolog_api set app.current_tenant_id = '00000000-0000-0000-0000-000000000001';
--! no default for the tenant or for row_security: convolog_api gets app.current_tenant_id=00000000-0000-0000-0000-000000000001

alter role convolog_api reset transaction_timeout;
--! no transaction and no wait for a lock is endless: convolog_api has no transaction_timeout

alter role convolog_relay set lock_timeout = 0;
--! no transaction and no wait for a lock is endless: convolog_relay has no lock_timeout

create schema mine authorization convolog_projector;
--! runtime roles own nothing: convolog_projector owns schema mine
--! runtime roles create nothing: convolog_projector may create in mine

grant create on schema public to convolog_projector;
--! runtime roles create nothing: convolog_projector may create in public

do $$ begin execute format('grant create, temporary on database %I to convolog_api', current_database()); end $$;
--! runtime roles create nothing: convolog_api may create schemas
--! runtime roles create nothing: convolog_api may create temporary tables

do $$ begin execute format('alter database %I set row_security = off', current_database()); end $$;
--! no default for the tenant or for row_security: everybody gets row_security=off

create sequence numbers;
alter sequence numbers owner to convolog_owner;
grant select on numbers to convolog_api;
--! no right that ignores row-level security: convolog_api may select sequence numbers

-- Beside tables and functions.

create view all_messages as select * from messages;
alter view all_messages owner to convolog_owner;
--! views ask with the rights of whoever asks: all_messages asks with the rights of its owner

create materialized view all_messages as select * from messages;
alter materialized view all_messages owner to convolog_owner;
--! no copies of rows: materialized views, foreign tables, publications: all_messages is a materialized view

create publication everything for all tables;
--! no copies of rows: materialized views, foreign tables, publications: publication everything

create foreign data wrapper w;
create server elsewhere foreign data wrapper w;
--! no way out of the database: foreign server elsewhere

create trusted language mine handler plpgsql_call_handler;
update pg_language set lanpltrusted = false where lanname = 'mine';
--! no way out of the database: untrusted language mine

alter default privileges for role convolog_owner grant select on tables to convolog_api;
--! nothing is granted in advance: defaults of convolog_owner grant to convolog_api

create table cold (tenant_id uuid not null, id uuid not null, primary key (tenant_id, id)) partition by list (tenant_id);
alter table cold owner to convolog_owner;
create table cold_0 partition of cold default;
alter table cold_0 owner to convolog_owner;
select ddl.protect('cold'), ddl.protect('cold_0');
select ddl.allow('cold_0', 'convolog_api', 'select');
--! partitions are reached through their table: convolog_api may select partition cold_0
