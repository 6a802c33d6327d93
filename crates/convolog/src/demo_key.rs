//! The demo's API key. Its secret follows from the data directory's, so that each start can show it and nothing keeps it.

use api::api_keys::ApiKey;
use api::master_secret::MasterSecret;
use chrono::{DateTime, Utc};
use domain::user::Scope;
use domain::{Actor, ActorKind, TenantId, UserId};
use store::{ApiDatabase, CommandContext, NewApiKey, OnCommit, TenantContext, api_key, create_api_key};
use uuid::Uuid;

const NAME: &str = "Demo";

fn key(tenant: TenantId, master: &MasterSecret) -> ApiKey {
    let id = Uuid::new_v5(&tenant.0, b"demo api key");
    ApiKey::new(tenant, id, master.derive("demo api key", id.as_bytes()))
}

fn owner(tenant: TenantId, user: UserId) -> TenantContext {
    #[expect(clippy::disallowed_methods, reason = "the operator seeds a tenant of its own making")]
    TenantContext::authenticated(tenant, Actor { kind: ActorKind::User, id: user.0 })
}

/// Creates it, with all scopes, for the tenant's owner.
pub async fn create(
    (database, on_commit): (&ApiDatabase, &OnCommit),
    (tenant, user): (TenantId, UserId),
    master: &MasterSecret,
    now: DateTime<Utc>,
) -> anyhow::Result<()> {
    let key = key(tenant, master);
    let context = CommandContext::new(owner(tenant, user), Uuid::now_v7(), now);
    let (name, scopes, secret_hash) = (NAME.to_owned(), Scope::ALL.to_vec(), key.hash());
    let new = NewApiKey { id: key.id, name, scopes, expires_at: None, secret_hash };
    let created = create_api_key(database, on_commit.clone(), context, new).await;
    created.map(|_| ()).map_err(|error| anyhow::anyhow!("the demo's API key was refused: {error:?}"))
}

/// The key, while it works: it may have been revoked, or belong to another data directory.
pub async fn find(
    database: &ApiDatabase,
    (tenant, user): (TenantId, UserId),
    master: &MasterSecret,
) -> anyhow::Result<Option<ApiKey>> {
    let key = key(tenant, master);
    let known = api_key(database, &owner(tenant, user), key.id).await?;
    Ok(known.filter(|known| key.matches(&known.secret_hash)).map(|_| key))
}
