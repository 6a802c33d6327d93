//! What is named because the rules cannot derive it: roles, tables without a tenant, ways across tenants; each with its
//! reason. A name that the database does not have is a violation too.

/// The kinds of names, as the rules' SQL calls them.
pub(super) const NAMED: &[(&str, &[&str])] = &[
    ("runtime role", &["convolog_api", "convolog_projector", "convolog_relay"]),
    // They own tables or functions and nobody logs in as them.
    ("owner role", &["convolog_owner", "convolog_append", "convolog_sweep", "convolog_auth", "convolog_monitor"]),
    (
        "global table",
        &[
            // Which process works on which shard: process names and epochs.
            "leases",
            // Which processes there are: names alone.
            "lease_holders",
            // Which life of the stream in NATS the relay's cursors belong to: one row of numbers.
            "relay_state",
            // The public keys of access tokens, which every process publishes anyway.
            "signing_keys",
            // Which migrations have run.
            "_sqlx_migrations",
        ],
    ),
    (
        "grant on a global table",
        &[
            // Both take and renew leases; the projector also fences its checkpoints with them.
            "convolog_relay select leases",
            "convolog_relay update leases",
            "convolog_projector select leases",
            "convolog_projector update leases",
            // Each says that it is there, and takes away those that are not any more.
            "convolog_relay select lease_holders",
            "convolog_relay insert lease_holders",
            "convolog_relay update lease_holders",
            "convolog_relay delete lease_holders",
            "convolog_projector select lease_holders",
            "convolog_projector insert lease_holders",
            "convolog_projector update lease_holders",
            "convolog_projector delete lease_holders",
            // The relay alone notices that NATS was wiped.
            "convolog_relay select relay_state",
            "convolog_relay update relay_state",
            // The first process to start makes two; whoever changes one is the administrator.
            "convolog_api select signing_keys",
            "convolog_api insert signing_keys",
            // Whether the schema is the one that a process knows.
            "convolog_api select _sqlx_migrations",
            "convolog_projector select _sqlx_migrations",
            "convolog_relay select _sqlx_migrations",
            // How many shards somebody works on.
            "convolog_monitor select leases",
        ],
    ),
    // What the server itself keeps of all sessions: since when the oldest snapshot is held.
    ("membership", &["convolog_monitor in pg_read_all_stats"]),
    // What was acknowledged is never changed, a key or claim is never free again, what was discarded stays so.
    ("append-only table", &["events", "idempotency_keys", "claims", "discarded_events"]),
    // Written by the append functions alone.
    ("log table", &["tenant_heads", "events", "idempotency_keys", "claims"]),
    // Log-in looks an address up before it knows a tenant; unlike a unique key a hash index tells nobody anything.
    ("index that does not begin with the tenant", &["users_email_lookup"]),
    (
        "policy over all tenants",
        &[
            // The append stamps the tenant itself, batches carry several tenants.
            "convolog_append select tenant_heads",
            "convolog_append insert tenant_heads",
            "convolog_append update tenant_heads",
            "convolog_append select events",
            "convolog_append insert events",
            "convolog_append select idempotency_keys",
            "convolog_append insert idempotency_keys",
            "convolog_append select claims",
            "convolog_append insert claims",
            // The relay publishes the logs of all tenants and keeps its place in each.
            "convolog_relay select tenant_heads",
            "convolog_relay select events",
            "convolog_relay select relay_cursors",
            "convolog_relay insert relay_cursors",
            "convolog_relay update relay_cursors",
            // The sweep finds tenants that are behind: numbers, no content.
            "convolog_sweep select tenant_heads",
            "convolog_sweep select projection_checkpoints",
            // An operator is told counts and ages, of events their times alone.
            "convolog_monitor select tenant_heads",
            "convolog_monitor select relay_cursors",
            "convolog_monitor select projection_checkpoints",
            "convolog_monitor select events",
            // Log-in knows an address, not yet a tenant.
            "convolog_auth select tenants",
            "convolog_auth select users",
            "convolog_auth select credentials",
        ],
    ),
    (
        "definer function",
        &[
            "append_one of convolog_append for convolog_api",
            "append_batch of convolog_append for convolog_api",
            "open_tenant of convolog_append for convolog_api",
            "accounts_by_email of convolog_auth for convolog_api",
            "checkpoints_of of convolog_sweep for convolog_api",
            "heads_of of convolog_sweep for convolog_api",
            "lagging_tenants of convolog_sweep for convolog_projector",
            "tenants_after of convolog_sweep for convolog_projector",
            "parked_tenants of convolog_sweep for convolog_projector",
            "parked_streams of convolog_monitor for convolog_api",
            "log_progress of convolog_monitor for convolog_api",
            "oldest_snapshot of convolog_monitor for convolog_api",
        ],
    ),
];
