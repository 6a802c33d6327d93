//! The demo: a tenant with two weeks of conversations, made by the same commands that clients issue.

use std::num::NonZeroUsize;

use anyhow::Context as _;
use api::passwords::{Cost, Password, Passwords, Personal, Verdict, WAITING};
use api::secret::Secret;
use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use domain::tenant::NewUser;
use domain::{Actor, ActorKind, Email, TenantId, UserId};
use futures_util::TryStreamExt as _;
use futures_util::stream::FuturesUnordered;
use store::{
    Account, ApiDatabase, CommandContext, Log, NewTenant, OnCommit, TenantContext, accounts_by_email, register_tenant,
};
use uuid::Uuid;

use crate::import::line::{Conversation, parse};
use crate::import::{CHANGED, NotRecorded, Recorded, Target};

/// The demo's owner.
pub const EMAIL: &str = "demo@example.com";
/// The demo's tenant.
pub const TENANT: &str = "Demo";

/// In the format of `convolog import`.
const CONVERSATIONS: &str = include_str!("seed/conversations.jsonl");
/// The day after the last one of [`CONVERSATIONS`]: today's place in them.
const TODAY: Option<NaiveDate> = NaiveDate::from_ymd_opt(2026, 1, 15);
/// When the tenant was founded: before its first conversation.
const FOUNDED: TimeDelta = TimeDelta::days(15);

/// Whose the demo is.
#[derive(Clone, Debug)]
pub struct Demo {
    /// The owner's address.
    pub email: String,
    /// The owner's password, when the tenant has to be made.
    pub password: String,
    /// The tenant's name; together with the address it says whether the demo is there.
    pub tenant_name: String,
}

impl Demo {
    fn address(&self) -> anyhow::Result<Email> {
        Email::parse(&self.email).with_context(|| format!("{} is not an address", self.email))
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seeded {
    /// The demo's tenant.
    pub tenant: TenantId,
    /// Whether it has just been founded.
    pub founded: bool,
    /// Conversations of it of which something was missing.
    pub recorded: usize,
    /// Number of the last event that was looked at.
    pub seq: u64,
}

/// The demo's tenant, if it is there.
pub async fn tenant(database: &ApiDatabase, demo: &Demo) -> anyhow::Result<Option<TenantId>> {
    Ok(owner(database, demo).await?.map(|(tenant, _)| tenant))
}

/// The demo's tenant and its owner, if they are there.
pub async fn owner(database: &ApiDatabase, demo: &Demo) -> anyhow::Result<Option<(TenantId, UserId)>> {
    Ok(account(database, demo).await?.map(|account| (account.tenant, account.user)))
}

/// Whether the demo that is there has this password: it may have been made with another one.
pub async fn is_password(database: &ApiDatabase, demo: &Demo, cost: Cost) -> anyhow::Result<bool> {
    let Some(account) = account(database, demo).await? else { return Ok(false) };
    let passwords = tokio::task::spawn_blocking(move || Passwords::new(cost, NonZeroUsize::MIN, WAITING)).await??;
    let presented = Password::presented(&Secret::new(demo.password.as_str()));
    let verdict = passwords.verify(presented, Some(account.password_hash)).await;
    Ok(matches!(verdict, Ok(Verdict::Right { .. })))
}

async fn account(database: &ApiDatabase, demo: &Demo) -> anyhow::Result<Option<Account>> {
    let accounts = accounts_by_email(database, &demo.address()?, None).await?;
    Ok(accounts.into_iter().find(|account| account.tenant_name == demo.tenant_name))
}

/// Makes of the demo what is not there yet.
pub async fn seed(
    (database, log, on_commit): (&ApiDatabase, &Log, &OnCommit),
    demo: &Demo,
    cost: Cost,
    now: DateTime<Utc>,
) -> anyhow::Result<Seeded> {
    let (tenant, founded) = match tenant(database, demo).await? {
        Some(tenant) => (tenant, false),
        None => (found(database, on_commit, demo, cost, now).await?, true),
    };
    let target = Target::new(log.clone(), tenant, Uuid::now_v7(), now);
    let recording: FuturesUnordered<_> =
        conversations(now)?.into_iter().map(|conversation| record(&target, conversation)).collect();
    let recorded: Result<Vec<Recorded>, NotRecorded> = recording.try_collect().await;
    let recorded = recorded.map_err(|refused| match refused {
        NotRecorded::Line(error) => anyhow::Error::new(error).context("a conversation of the demo was refused"),
        NotRecorded::Store(error) => error.into(),
    })?;
    let seq = recorded.iter().map(|recorded| recorded.seq).max().unwrap_or(0);
    let recorded = recorded.iter().filter(|recorded| recorded.events > 0).count();
    Ok(Seeded { tenant, founded, recorded, seq })
}

/// Records one; what an earlier version has made of it is left as it is.
async fn record(target: &Target, conversation: Conversation) -> Result<Recorded, NotRecorded> {
    match target.record(conversation).await {
        Err(NotRecorded::Line(error)) if error.code == CHANGED => Ok(Recorded::default()),
        result => result,
    }
}

async fn found(
    database: &ApiDatabase,
    on_commit: &OnCommit,
    demo: &Demo,
    cost: Cost,
    now: DateTime<Utc>,
) -> anyhow::Result<TenantId> {
    let email = demo.address()?;
    let personal = Personal { email: &email, tenant_name: &demo.tenant_name };
    let chosen = Password::chosen(&Secret::new(demo.password.as_str()), personal);
    let password = chosen.context("the password of the demo is not good enough")?;
    let passwords = tokio::task::spawn_blocking(move || Passwords::new(cost, NonZeroUsize::MIN, WAITING)).await??;
    let password_hash = passwords.hash(password).await.map_err(|error| anyhow::anyhow!("{error:?}"))?;

    let (tenant, user) = (TenantId(Uuid::now_v7()), UserId(Uuid::now_v7()));
    #[expect(clippy::disallowed_methods, reason = "the operator seeds a tenant of its own making")]
    let caller = TenantContext::authenticated(tenant, Actor { kind: ActorKind::User, id: user.0 });
    let context = CommandContext::new(caller, Uuid::now_v7(), now - FOUNDED);
    let owner = NewUser { user_id: user, email, name: "Demo Owner".into() };
    let new = NewTenant { context, name: demo.tenant_name.clone(), owner, password_hash, sign_in: None };
    let registered = register_tenant(database, on_commit.clone(), new).await;
    registered.map_err(|error| anyhow::anyhow!("the demo tenant was refused: {error:?}"))?;
    Ok(tenant)
}

/// The conversations, moved by whole days so that the last ones were yesterday.
fn conversations(now: DateTime<Utc>) -> anyhow::Result<Vec<Conversation>> {
    let days = TODAY.map_or(0, |today| (now.date_naive() - today).num_days());
    let days = Days::new(days.try_into().context("the clock is before the demo's conversations")?);
    let parsed: Result<Vec<_>, _> = CONVERSATIONS.lines().map(|line| parse(line.as_bytes())).collect();
    let mut conversations = parsed.context("the demo's conversations are damaged")?;
    for conversation in &mut conversations {
        let messages = conversation.messages.iter_mut().map(|message| &mut message.created);
        for time in messages.chain([&mut conversation.created, &mut conversation.ended]) {
            *time = time.and_then(|time| time.checked_add_days(days));
        }
    }
    Ok(conversations)
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::session::{Mode, Role};

    #[test]
    fn the_conversations_lie_in_the_last_two_weeks_and_are_worth_looking_at() {
        let now: DateTime<Utc> = "2027-03-01T00:00:01Z".parse().unwrap();
        let all = conversations(now).unwrap();
        assert!((15..=25).contains(&all.len()));
        for conversation in &all {
            assert!(conversation.left_out.iter().next().is_none());
            let mut times = vec![conversation.created.unwrap()];
            times.extend(conversation.messages.iter().map(|message| message.created.unwrap()));
            times.extend(conversation.ended);
            assert!(times.is_sorted() && times[0] > now - TimeDelta::days(15) && *times.last().unwrap() < now);
        }
        let count = |is: fn(&Conversation) -> bool| all.iter().filter(|conversation| is(conversation)).count();
        assert!(count(|c| c.mode == Mode::Meeting) > 2 && count(|c| c.ended.is_none()) > 2);
        assert!(count(|c| c.messages.iter().any(|m| !m.attachments.is_empty())) > 2);
        let widgets: std::collections::BTreeSet<_> = all.iter().filter_map(|c| c.widget_id).collect();
        assert_eq!(widgets.len(), 3);
        let replies = all.iter().flat_map(|c| &c.messages).filter(|message| message.role == Role::Assistant);
        let charges: Vec<_> = replies.map(|reply| reply.charge.as_ref().unwrap()).collect();
        assert!(charges.iter().all(|charge| charge.amount.is_some() && !charge.usage.is_empty()));
        let providers: std::collections::BTreeSet<_> = charges.iter().map(|charge| charge.provider.as_str()).collect();
        assert!(providers.into_iter().eq(["anthropic", "openai"]));
        let identities: std::collections::BTreeSet<_> = all.iter().map(|c| &c.identity).collect();
        assert_eq!(identities.len(), all.len());
    }
}
