//! The demo: a tenant with two users' worth of conversation, made by the same commands that clients issue.

use anyhow::Context as _;
use api::passwords::{Cost, Passwords, WAITING};
use api::passwords::{Password, Personal};
use api::secret::Secret;
use chrono::{SubsecRound as _, Utc};
use domain::session::{self, Mode, Posted, Role, Session, Started};
use domain::tenant::NewUser;
use domain::{Actor, ActorKind, Email, MessageId, TenantId, UserId};
use std::num::NonZeroUsize;
use store::{
    ApiDatabase, CommandContext, ExecuteError, Log, NewTenant, OnCommit, TenantContext, accounts_by_email,
    register_tenant,
};
use uuid::Uuid;

/// The demo's owner.
pub const EMAIL: &str = "demo@example.com";

const TALKS: [&[(Role, &str)]; 2] = [
    &[
        (Role::User, "Do you ship to Portugal, and how long does it take?"),
        (Role::Assistant, "Yes. Orders to Portugal leave our warehouse the same day and arrive in two to four days."),
        (Role::User, "Can I return something that doesn't fit?"),
        (Role::Assistant, "Within 30 days, free of charge. The label is in the parcel."),
    ],
    &[
        (Role::User, "Summarise this week's support tickets in one sentence."),
        (Role::Assistant, "Most tickets ask about delivery times; two report a broken discount code."),
    ],
];

/// Makes the demo tenant unless it is there. Answers whether it made it.
pub async fn seed(
    (database, log, on_commit): (&ApiDatabase, &Log, &OnCommit),
    password: &str,
    cost: Cost,
) -> anyhow::Result<bool> {
    let email = Email::parse(EMAIL)?;
    if !accounts_by_email(database, &email, None).await?.is_empty() {
        return Ok(false);
    }
    let tenant_name = "Demo".to_owned();
    let personal = Personal { email: &email, tenant_name: &tenant_name };
    let password = Password::chosen(&Secret::new(password), personal).context("the demo's password is too weak")?;
    let passwords = tokio::task::spawn_blocking(move || Passwords::new(cost, NonZeroUsize::MIN, WAITING)).await??;
    let password_hash = passwords.hash(password).await.map_err(|error| anyhow::anyhow!("{error:?}"))?;

    let (tenant, user) = (TenantId(Uuid::now_v7()), UserId(Uuid::now_v7()));
    #[expect(clippy::disallowed_methods, reason = "the operator seeds a tenant of its own making")]
    let context = || {
        let caller = TenantContext::authenticated(tenant, Actor { kind: ActorKind::User, id: user.0 });
        CommandContext::new(caller, Uuid::now_v7(), Utc::now().trunc_subsecs(6))
    };
    let owner = NewUser { user_id: user, email, name: "Demo Owner".into() };
    let new = NewTenant { context: context(), name: tenant_name, owner, password_hash };
    let registered = register_tenant(database, on_commit.clone(), new).await;
    registered.map_err(|error| anyhow::anyhow!("the demo tenant was refused: {error:?}"))?;
    for talk in TALKS {
        let id = Uuid::now_v7();
        execute(log, context(), id, session::Command::Start(started())).await?;
        for (role, content) in talk {
            execute(log, context(), id, session::Command::PostMessage(posted(*role, content))).await?;
        }
    }
    Ok(true)
}

async fn execute(log: &Log, context: CommandContext, id: Uuid, command: session::Command) -> anyhow::Result<()> {
    let outcome = log.execute(context, move |unit| {
        unit.run::<Session, session::Rejection>(id, command.clone())?;
        Ok(id)
    });
    match outcome.await {
        Ok(_) => Ok(()),
        Err(ExecuteError::Store(error)) => Err(error.into()),
        Err(other) => anyhow::bail!("the demo was refused: {other:?}"),
    }
}

fn started() -> Started {
    Started { mode: Mode::Text, widget_id: None, meeting_id: None, personality_id: None, metadata: None }
}

fn posted(role: Role, content: &str) -> Posted {
    let message_id = MessageId(Uuid::now_v7());
    Posted { message_id, role, content: content.into(), attachments: vec![], metadata: None }
}
