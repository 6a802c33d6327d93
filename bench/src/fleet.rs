//! The tenants, users and sessions that the load speaks for, written through the store before anything is measured.

use std::sync::Arc;
use std::time::{Duration, Instant};

use api::master_secret::MasterSecret;
use api::signing_keys;
use api::tokens::{Grant, Tokens};
use chrono::{SubsecRound as _, Utc};
use domain::session::{Command, Mode, Rejection, Session, Started};
use domain::tenant::{NewUser, Role};
use domain::user::Method;
use domain::{Actor, ActorKind, Email, TenantId, UserId};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use store::{
    ApiDatabase, CommandContext, Log, LogSettings, NewSignIn, NewTenant, OnCommit, TenantContext, TokenHash,
    register_tenant,
};
use uuid::Uuid;

/// The issuer of the tokens, whatever port the node listens on.
pub(crate) const PUBLIC_URL: &str = "http://convolog.bench";
/// Tokens are good for five minutes, and a measurement takes less than two.
const REISSUE: Duration = Duration::from_secs(120);

/// One caller: a token, and the sessions of its tenant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) tenant: Uuid,
    pub(crate) token: String,
    pub(crate) sessions: Vec<Uuid>,
}

pub(crate) struct Fleet {
    tokens: Tokens,
    members: Vec<(Grant, Vec<Uuid>)>,
    targets: Vec<Target>,
    issued: Option<Instant>,
}

impl Fleet {
    /// Founds tenants, each with so many open sessions.
    pub(crate) async fn found(
        database: &ApiDatabase,
        master: &MasterSecret,
        tenants: usize,
        sessions: usize,
    ) -> anyhow::Result<Self> {
        let silent: OnCommit = Arc::new(|_| {});
        let (log, writer) = Log::start(database, &LogSettings::default(), silent.clone());
        let members: Vec<(Grant, Vec<Uuid>)> = stream::iter(0..tenants)
            .map(|_| found(database, &log, silent.clone(), sessions))
            .buffer_unordered(64)
            .try_collect()
            .await?;
        drop(log);
        writer.await?;
        let tokens = Tokens::new(PUBLIC_URL, signing_keys::provide(database, master).await?);
        Ok(Self { tokens, members, targets: vec![], issued: None })
    }

    /// Everybody, with tokens that last.
    pub(crate) fn targets(&mut self) -> anyhow::Result<&[Target]> {
        if self.issued.is_none_or(|issued| issued.elapsed() > REISSUE) {
            #[expect(clippy::disallowed_methods, reason = "the benchmark has no other clock")]
            let now = Utc::now();
            let target = |(grant, sessions): &(Grant, Vec<Uuid>)| {
                let token = self.tokens.issue(*grant, Uuid::now_v7(), now);
                let token = token.map_err(|error| anyhow::anyhow!("no token: {error:?}"))?;
                Ok(Target { tenant: grant.tenant.0, token, sessions: sessions.clone() })
            };
            self.targets = self.members.iter().map(target).collect::<anyhow::Result<_>>()?;
            self.issued = Some(Instant::now());
        }
        Ok(&self.targets)
    }
}

async fn found(
    database: &ApiDatabase,
    log: &Log,
    on_commit: OnCommit,
    sessions: usize,
) -> anyhow::Result<(Grant, Vec<Uuid>)> {
    let (tenant, user) = (TenantId(Uuid::now_v7()), UserId(Uuid::now_v7()));
    #[expect(clippy::disallowed_methods, reason = "a tenant of the benchmark's own making, and its clock")]
    let context = || {
        let caller = TenantContext::authenticated(tenant, Actor { kind: ActorKind::User, id: user.0 });
        CommandContext::new(caller, Uuid::now_v7(), Utc::now().trunc_subsecs(6))
    };
    let email = Email::parse(&format!("{}@example.com", tenant.0.simple()))?;
    let sign_in_id = Uuid::now_v7();
    let sign_in = NewSignIn {
        id: sign_in_id,
        user,
        method: Method::Password,
        user_agent: None,
        address: None,
        token: TokenHash::Refresh([0; 32]),
    };
    let new = NewTenant {
        context: context(),
        name: "Bench".to_owned(),
        owner: NewUser { user_id: user, email, name: "Owner".to_owned() },
        // Nobody logs in: tokens are issued directly.
        password_hash: "none".to_owned(),
        sign_in: Some(sign_in),
    };
    let registered = register_tenant(database, on_commit, new).await;
    registered.map_err(|error| anyhow::anyhow!("a tenant was refused: {error:?}"))?;
    let ids: Vec<Uuid> = (0..sessions).map(|_| Uuid::now_v7()).collect();
    for id in &ids {
        let id = *id;
        let started =
            || Started { mode: Mode::Text, widget_id: None, meeting_id: None, personality_id: None, metadata: None };
        let outcome = log.execute(context(), move |unit| {
            unit.start::<Session, Rejection>(id, Command::Start(started()))?;
            Ok(id)
        });
        outcome.await.map_err(|error| anyhow::anyhow!("a session was refused: {error:?}"))?;
    }
    Ok((Grant { user, tenant, sign_in: sign_in_id, role: Role::Owner }, ids))
}
