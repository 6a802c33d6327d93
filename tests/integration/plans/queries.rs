//! The statements of the product that must stay fast, as they are sent.

/// What a plan must look like.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A read that somebody waits for: index scans that begin with the tenant, in the order of the answer.
    Read,
    /// A read that adds up: the same, but sorted as need be.
    Sum,
    /// Whatever it does, it does not read a whole table.
    Work,
    /// It goes through all tenants, or its plan is inside a function.
    Any,
}

/// One statement.
pub(super) struct Query {
    pub(super) name: &'static str,
    pub(super) role: &'static str,
    pub(super) shape: Shape,
    pub(super) sql: &'static str,
    /// As literals; `T` is the tenant, `S` one of its sessions, `U` its user.
    pub(super) arguments: &'static str,
}

const API: &str = "convolog_api";
const PROJECTOR: &str = "convolog_projector";
const RELAY: &str = "convolog_relay";

const fn query(
    role: &'static str,
    shape: Shape,
    name: &'static str,
    sql: &'static str,
    arguments: &'static str,
) -> Query {
    Query { name, role, shape, sql, arguments }
}

pub(super) const QUERIES: &[Query] = &[
    query(API, Shape::Read, "the head of a log", "select seq from tenant_heads where tenant_id = $1 and $2 <> ''", "'T', 'x'"),
    query(
        API,
        Shape::Read,
        "a checkpoint",
        "select seq from projection_checkpoints where tenant_id = $1 and group_name = $2",
        "'T', 'read_model'",
    ),
    query(
        API,
        Shape::Read,
        "an API key",
        "select secret_hash, scopes, created_by, expires_at, last_used_at from api_keys where tenant_id = $1 and id = $2",
        "'T', 'U'",
    ),
    query(
        API,
        Shape::Sum,
        "the API keys of a tenant",
        "select id, name, scopes, created_at, created_by, expires_at, last_used_at from api_keys
         where tenant_id = $1 order by created_at desc, id",
        "'T'",
    ),
    query(
        API,
        Shape::Work,
        "the use of an API key",
        "update api_keys set last_used_at = $3 where tenant_id = $1 and id = (
           select id from api_keys
           where tenant_id = $1 and id = $2 and (last_used_at is null or last_used_at <= $4) for update skip locked)",
        "'T', 'U', now(), now()",
    ),
    query(API, Shape::Read, "a session", "select s.status, s.version from sessions s where s.tenant_id = $1 and s.id = $2", "'T', 'S'"),
    query(
        API,
        Shape::Read,
        "the newest sessions",
        "select s.id, s.status, s.seq from sessions s where s.tenant_id = $1 and s.seq < $2 order by s.seq desc limit $3",
        "'T', 9223372036854775807, 51",
    ),
    query(
        API,
        Shape::Read,
        "the newest open sessions",
        "select s.id, s.status, s.seq from sessions s where s.tenant_id = $1 and s.seq < $2 and s.status = $4
         order by s.seq desc limit $3",
        "'T', 9223372036854775807, 51, 'open'",
    ),
    query(
        API,
        Shape::Read,
        "the newest text sessions",
        "select s.id, s.status, s.seq from sessions s where s.tenant_id = $1 and s.seq < $2 and s.mode = $4
         order by s.seq desc limit $3",
        "'T', 9223372036854775807, 51, 'text'",
    ),
    query(
        API,
        Shape::Read,
        "the newest open text sessions",
        "select s.id, s.status, s.seq from sessions s
         where s.tenant_id = $1 and s.seq < $2 and s.status = $4 and s.mode = $5 order by s.seq desc limit $3",
        "'T', 9223372036854775807, 51, 'open', 'text'",
    ),
    query(
        API,
        Shape::Read,
        "the messages of a session",
        "select id, content, version from messages where tenant_id = $1 and session_id = $2 and version > $3
         order by version asc limit $4",
        "'T', 'S', 0, 51",
    ),
    query(
        API,
        Shape::Read,
        "the last messages of a session",
        "select id, content, version from messages where tenant_id = $1 and session_id = $2 and version < $3
         order by version desc limit $4",
        "'T', 'S', 9223372036854775807, 51",
    ),
    query(
        API,
        Shape::Read,
        "the feed",
        "select e.seq, e.data from events e where e.tenant_id = $1 and e.seq > $2 and e.seq <= $3 order by e.seq limit $4",
        "'T', 100, 2000, 50",
    ),
    query(
        API,
        Shape::Read,
        "the feed of a category",
        "select e.seq, e.data from events e
         where e.tenant_id = $1 and e.seq > $2 and e.seq <= $3 and e.category = $5 order by e.seq limit $4",
        "'T', 100, 2000, 50, 'session'",
    ),
    query(
        API,
        Shape::Read,
        "who am I",
        "select t.name as tenant_name, t.plan, u.email, u.name, u.role
         from users u join tenants t on t.tenant_id = u.tenant_id where u.tenant_id = $1 and u.id = $2",
        "'T', 'U'",
    ),
    query(
        API,
        Shape::Read,
        "a stream's events",
        "select e.seq, e.data from events e where e.tenant_id = $1 and e.stream_id = $2 and e.version > $3
         order by e.version limit $4",
        "'T', 'S', 0, 500",
    ),
    query(
        API,
        Shape::Read,
        "a stream's version",
        "select version from events where tenant_id = $1 and stream_id = $2 order by version desc limit 1",
        "'T', 'S'",
    ),
    query(
        API,
        Shape::Read,
        "an idempotency key",
        "select request_hash, seq, version, receipt::text as receipt from idempotency_keys
         where tenant_id = $1 and actor_id = $2 and key = $3",
        "'T', 'U', 'key 7'",
    ),
    query(
        API,
        Shape::Read,
        "a snapshot",
        "select h.seq, s.version, s.state::text as state from tenant_heads h
         left join snapshots s on s.tenant_id = h.tenant_id and s.stream_id = $2 and s.shape = $3
         where h.tenant_id = $1",
        "'T', 'S', 'shape'",
    ),
    query(API, Shape::Read, "a cost", "select c.id, c.amount from cost_events c where c.tenant_id = $1 and c.id = $2", "'T', 'S'"),
    query(
        API,
        Shape::Read,
        "the newest sessions with their costs",
        "select s.id, (select json_agg(t)::text from (
            select c.currency, trim_scale(c.amount)::text as amount, c.recorded, c.voided, c.unpriced
            from session_costs c where c.tenant_id = $1 and c.session_id = s.id order by c.currency) t) as cost
         from sessions s where s.tenant_id = $1 and s.seq < $2 order by s.seq desc limit $3",
        "'T', 9223372036854775807, 51",
    ),
    query(
        API,
        Shape::Read,
        "the messages of a session with their costs",
        "select m.id, (select json_agg(t)::text from (
            select c.currency, trim_scale(c.amount)::text as amount, c.recorded, c.voided, c.unpriced
            from message_costs c where c.tenant_id = $1 and c.message_id = m.id order by c.currency) t) as cost
         from messages m where tenant_id = $1 and session_id = $2 and version > $3 order by version asc limit $4",
        "'T', 'S', 0, 51",
    ),
    query(
        API,
        Shape::Read,
        "who has taken an id",
        "select c.claim, e.data from unnest($2::text[]) as c (claim)
         cross join lateral (select t.seq from claims t where t.tenant_id = $1 and t.claim = c.claim limit 1) t
         cross join lateral (select * from events e where e.tenant_id = $1 and e.seq = t.seq limit 1) e",
        "'T', '{message/7,message/8}'",
    ),
    query(
        API,
        Shape::Read,
        "the costs between two times",
        "select c.id, c.amount from cost_events c
         where c.tenant_id = $1 and c.occurred_at >= $2 and c.occurred_at < $3 order by c.occurred_at desc, c.seq desc limit $4",
        "'T', '2026-11-02', '2026-11-05', 51",
    ),
    query(
        API,
        Shape::Read,
        "the newest costs",
        "select c.id, c.amount from cost_events c
         where c.tenant_id = $1 and (c.occurred_at, c.seq) < ($2, $3) order by c.occurred_at desc, c.seq desc limit $4",
        "'T', '2026-12-01', 9223372036854775807, 51",
    ),
    query(
        API,
        Shape::Read,
        "the newest costs of a session",
        "select c.id, c.amount from cost_events c
         where c.tenant_id = $1 and (c.occurred_at, c.seq) < ($2, $3) and c.session_id = $5
         order by c.occurred_at desc, c.seq desc limit $4",
        "'T', '2026-12-01', 9223372036854775807, 51, 'S'",
    ),
    query(
        API,
        Shape::Read,
        "the newest costs of a message",
        "select c.id, c.amount from cost_events c
         where c.tenant_id = $1 and (c.occurred_at, c.seq) < ($2, $3) and c.message_id = $5
         order by c.occurred_at desc, c.seq desc limit $4",
        "'T', '2026-12-01', 9223372036854775807, 51, 'S'",
    ),
    query(
        API,
        Shape::Sum,
        "a summary by day and model",
        "select n, model, currency, sum(recorded)::bigint as recorded, sum(voided)::bigint as voided,
                sum(unpriced)::bigint as unpriced, trim_scale(sum(amount))::text as amount
         from (select width_bucket(bucket, $4::timestamptz[]) as n, * from cost_summaries
               where tenant_id = $1 and bucket >= $2 and bucket < $3) s
         group by grouping sets ((n, model, currency), (currency))
         order by n nulls first, model nulls first, currency nulls first limit $5",
        "'T', '2026-11-03', '2026-11-05', '{2026-11-03,2026-11-04,2026-11-05}', 20001",
    ),
    query(
        API,
        Shape::Sum,
        "the usage of a summary of a session",
        "select n, type, unit, trim_scale(sum(quantity))::text as quantity
         from (select width_bucket(bucket, $4::timestamptz[]) as n, * from usage_summaries
               where tenant_id = $1 and bucket >= $2 and bucket < $3 and session_id = $6) s
         group by n, type, unit having sum(quantity) <> 0 order by n, type, unit limit $5",
        "'T', '2026-11-03', '2026-11-05', '{2026-11-03,2026-11-04,2026-11-05}', 20001, 'S'",
    ),
    query(
        API,
        Shape::Read,
        "the newest periods",
        "select period, last_version from cost_periods where tenant_id = $1 and period < $2 order by period desc limit $3",
        "'T', '9999-12', 51",
    ),
    query(
        API,
        Shape::Read,
        "a period",
        "select last_version from cost_periods where tenant_id = $1 and period = $2",
        "'T', '2026-11'",
    ),
    query(
        API,
        Shape::Sum,
        "the totals of periods",
        "select period, currency, recorded, voided, unpriced, trim_scale(amount)::text as amount from cost_period_totals
         where tenant_id = $1 and period = any($2) order by period, currency nulls first",
        "'T', '{2026-10,2026-11}'",
    ),
    query(
        API,
        Shape::Any,
        "the accounts of an address",
        "select tenant_id, tenant_name, user_id, name, role, password_hash, plan from accounts_by_email($1, $2, $3)",
        "'1@T.example.com', null, 8",
    ),
    query(
        API,
        Shape::Read,
        "the members",
        "select u.id, u.email from users u where u.tenant_id = $1 and u.joined > $2 order by u.joined limit $3",
        "'T', 1, 51",
    ),
    query(
        API,
        Shape::Read,
        "the sign-ins of a user",
        "select id, method from auth_sessions where tenant_id = $1 and user_id = $2 and expires_at > $3
         order by created_at desc",
        "'T', 'U', now()",
    ),
    query(
        API,
        Shape::Read,
        "what somebody who is signed in may do",
        "select u.id, u.role from auth_sessions s join users u on u.tenant_id = s.tenant_id and u.id = s.user_id
         where s.tenant_id = $1 and s.id = $2 and s.expires_at > $3",
        "'T', md5('sign-in1' || 'U')::uuid, now()",
    ),
    query(
        API,
        Shape::Read,
        "an invitation",
        "select user_id, email from verification_tokens where tenant_id = $1 and token_hash = $2 and expires_at > $3",
        "'T', 'U'::text::bytea, now() - interval '1 day'",
    ),
    query(
        API,
        Shape::Work,
        "the invitations of a user",
        "select 1 from verification_tokens where tenant_id = $1 and user_id = $2",
        "'T', 'U'",
    ),
    query(
        API,
        Shape::Work,
        "who a user is elsewhere",
        "select 1 from accounts where tenant_id = $1 and user_id = $2",
        "'T', 'U'",
    ),
    query(API, Shape::Any, "the ends of followed logs", "select tenant_id, seq from heads_of($1)", "'{T}'"),
    query(API, Shape::Any, "checkpoints to wait for", "select tenant_id, seq from checkpoints_of($1, $2)", "'read_model', '{T}'"),
    query(
        API,
        Shape::Any,
        "an append of one event",
        "select * from append_one($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)",
        "null, null, null, 'T', 'U', 'new', '\\x00', 'null', null, '{message/new}', 'session', 'S', 'U', 'session.message_posted', 1::smallint,
         '{}', '{}', now()",
    ),
    query(
        PROJECTOR,
        Shape::Read,
        "the events after a checkpoint",
        "select e.seq, e.data from unnest($1::uuid[], $2::bigint[]) as t (tenant, after)
         cross join lateral (select * from events e where e.tenant_id = t.tenant and e.seq > t.after
                             order by e.seq limit $3) e",
        "'{T}', '{100}', 500",
    ),
    query(
        PROJECTOR,
        Shape::Work,
        "the checkpoints of some tenants",
        "select tenant_id, seq, version from projection_checkpoints where tenant_id = any($1) and group_name = $2",
        "'{T}', 'read_model'",
    ),
    query(
        PROJECTOR,
        Shape::Work,
        "a session that goes on",
        "update sessions s set message_count = s.message_count + c.messages
         from unnest($1::uuid[], $2::uuid[], $3::bigint[]) as c (tenant, id, messages)
         where s.tenant_id = c.tenant and s.id = c.id",
        "'{T}', '{S}', '{1}'",
    ),
    query(
        PROJECTOR,
        Shape::Work,
        "costs that are voided",
        "update cost_events c set voided_at = v.at from unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) as v (tenant, cost, at)
         where c.tenant_id = v.tenant and c.id = v.cost",
        "'{T}', '{S}', '{now}'",
    ),
    query(
        PROJECTOR,
        Shape::Work,
        "the sums of costs",
        include_str!("../../../crates/projector/src/cost_sums/costs.sql"),
        "'{T}', '{2026-11}', '{7}', '{now}', '{1}', '{llm}', '{openai}', '{gpt-4o}', '{S}', '{S}', '{USD}', '{1.5}'",
    ),
    query(
        PROJECTOR,
        Shape::Work,
        "the sums of usage",
        include_str!("../../../crates/projector/src/cost_sums/usage.sql"),
        "'{T}', '{now}', '{1}', '{llm}', '{openai}', '{gpt-4o}', '{S}', '{output_text}', '{tokens}', '{1.5}'",
    ),
    query(
        PROJECTOR,
        Shape::Work,
        "what is left out of some logs",
        "select tenant_id, stream_id, seq, false from public.dead_letters where tenant_id = any($1) and group_name = $3
         union all
         select d.tenant_id, d.stream_id, d.seq, d.discard_seq <= t.at
         from unnest($1::uuid[], $2::bigint[]) as t (tenant, at)
         join public.discarded_events d on d.tenant_id = t.tenant
         where d.tenant_id = any($1)",
        "'{T}', '{100}', 'read_model'",
    ),
    query(
        PROJECTOR,
        Shape::Any,
        "tenants with parked streams",
        "select tenant_id from parked_tenants($1, $2, $3, $4)",
        "'read_model', '{1,9}', '00000000-0000-0000-0000-000000000000', 10",
    ),
    query(
        PROJECTOR,
        Shape::Work,
        "what waits behind a parked event",
        "select e.seq, e.data from events e
         where e.tenant_id = $1 and e.stream_id = $2 and e.version >= $3 and e.seq <= $4 order by e.version limit $5",
        "'T', 'S', 5, 4000, 501",
    ),
    query(PROJECTOR, Shape::Work, "a rebuild's beginning", "delete from messages where tenant_id = $1", "'T'"),
    query(PROJECTOR, Shape::Any, "the sweep", "select * from lagging_tenants($1, $2, $3)", "'read_model', 1, '{1,9}'"),
    query(
        RELAY,
        Shape::Work,
        "the events after a cursor",
        "select e.seq, e.data from unnest($1::uuid[], $2::bigint[]) as t (tenant, after)
         cross join lateral (select * from events e where e.tenant_id = t.tenant and e.seq > t.after
                             order by e.seq limit $3) e",
        "'{T}', '{100}', 200",
    ),
    query(
        RELAY,
        Shape::Work,
        "the cursors of some tenants",
        "select tenant_id, seq from relay_cursors where tenant_id = any($1)",
        "'{T}'",
    ),
    query(RELAY, Shape::Any, "where a time is in a log", "select first_seq_since($1, $2, $3)", "'T', 2000, now()"),
];

/// Indexes that no statement reads: they forbid.
pub(super) const ONLY_FORBID: &[&str] = &[
    // Nobody comes in by an identity yet; two users of one must not be.
    "accounts_pkey",
    // A message is read by its session; two of one id must not be.
    "messages_pkey",
    // An address is looked up in all tenants at once.
    "users_email_key",
    // Tables of a few rows, read whole.
    "leases_pkey",
    "lease_holders_pkey",
    "relay_state_pkey",
    "signing_keys_pkey",
    "signing_keys_once",
    "signing_keys_public_key_key",
    "_sqlx_migrations_pkey",
];
