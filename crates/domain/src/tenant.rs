//! A tenant and its members: one stream per tenant, so that a decision about one member sees all the others.

mod event;
mod plan;
mod role;
mod settings;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Aggregate, Category, Email, UserId};

pub use event::{
    Added, Billing, Event, PlanChanged, ProfileChanged, Registered, Removed, Renamed, RoleChanged, SettingsChanged,
};
pub use plan::Plan;
pub use role::Role;
pub use settings::{MAX_SETTING, Settings, SettingsVersion, is_language_tag};

/// Longest name of a tenant or user in characters.
pub const MAX_NAME: usize = 200;

/// Most members of a tenant.
pub const MAX_MEMBERS: usize = 1000;

/// The aggregate.
pub struct Tenant;

/// What can be asked of a tenant. Who asks (`by`) is a member at the moment of the decision, with the role of that moment.
#[derive(Clone, Debug)]
pub enum Command {
    /// Found the tenant with its first owner.
    Register {
        /// The tenant's name, at most [`MAX_NAME`] characters.
        name: String,
        /// Its first user.
        owner: NewUser,
    },
    /// Change what the tenant itself is.
    Change {
        /// Who asks.
        by: UserId,
        /// The version that was seen, if it must not have changed since.
        seen: Option<u64>,
        /// To what.
        change: Change,
    },
    /// Make somebody a member.
    AddUser {
        /// Who asks.
        by: UserId,
        /// Whom.
        user: NewUser,
        /// What they will be allowed to do.
        role: Role,
        /// Whether they have a password from the beginning.
        has_password: bool,
    },
    /// Change what a member may do or says of themselves.
    ChangeUser {
        /// Who asks.
        by: UserId,
        /// Whom.
        user: UserId,
        /// The version that was seen, if it must not have changed since.
        seen: Option<u64>,
        /// To what.
        change: UserChange,
    },
    /// End a membership.
    RemoveUser {
        /// Who asks.
        by: UserId,
        /// Whose.
        user: UserId,
        /// The version that was seen, if it must not have changed since.
        seen: Option<u64>,
    },
}

/// Somebody who becomes a member.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// Their id.
    pub user_id: UserId,
    /// Where they can be reached, unique within the tenant.
    pub email: Email,
    /// What they are called, at most [`MAX_NAME`] characters.
    pub name: String,
}

/// What is to change of a tenant; the rest stays.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Its name.
    pub name: Option<String>,
    /// What it pays for. Owners alone change it.
    pub plan: Option<Plan>,
    /// Its settings, all of them.
    pub settings: Option<Settings>,
    /// Stripe's id of the customer, or that there is none. Owners alone change it.
    pub stripe_customer_id: Option<Option<String>>,
    /// Stripe's id of the subscription, or that there is none. Owners alone change it.
    pub stripe_subscription_id: Option<Option<String>>,
}

/// What is to change of a member; the rest stays.
#[derive(Clone, Debug, Default)]
pub struct UserChange {
    /// What they may do.
    pub role: Option<Role>,
    /// Their name.
    pub name: Option<String>,
    /// Where their picture is, or that there is none.
    pub avatar_url: Option<Option<String>>,
}

/// A tenant and who belongs to it, as far as decisions need it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Number of the last event about the tenant itself; 0: it was not founded.
    pub version: u64,
    /// Whom Stripe takes it for.
    pub billing: Billing,
    /// Its members.
    pub members: BTreeMap<UserId, Member>,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// What they may do.
    pub role: Role,
    /// Their address.
    pub email: Email,
    /// Their name.
    pub name: String,
    /// Where their picture is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avatar_url: Option<String>,
    /// Number of the last event about them.
    pub version: u64,
}

/// Why a tenant does not do as it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// There already is a tenant of this id.
    AlreadyRegistered,
    /// Who asks is no member, or no longer.
    NotAMember,
    /// Their role does not allow it.
    Forbidden,
    /// There is no such member.
    UnknownUser,
    /// It has changed since the version that was seen.
    VersionMismatch {
        /// Its version now.
        current: u64,
    },
    /// A member has this address.
    EmailTaken,
    /// A member has this id.
    IdTaken,
    /// There would be no owner left.
    LastOwner,
    /// There would be more than [`MAX_MEMBERS`].
    TooManyMembers,
}

impl Aggregate for Tenant {
    const CATEGORY: Category = Category::Tenant;
    const STATE_SHAPE: &'static str = "tenant.3";
    type State = State;
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(state: &State, command: Command) -> Result<Vec<Event>, Rejection> {
        match command {
            Command::Register { .. } if state.version > 0 => Err(Rejection::AlreadyRegistered),
            Command::Register { name, owner } => Ok(vec![
                Event::TenantRegistered(Registered { name, plan: Plan::default() }),
                Event::UserAdded(added(owner, Role::Owner)),
            ]),
            Command::Change { by, seen, change } => {
                let asking = state.member(by)?;
                unchanged_since(seen, state.version)?;
                state.change(asking, change)
            }
            Command::AddUser { by, user, role, has_password } => {
                may_grant(state.member(by)?, role)?;
                state.has_room_for(&user)?;
                let added = added(user, role);
                Ok(vec![if has_password { Event::UserAdded(added) } else { Event::UserInvited(added) }])
            }
            Command::ChangeUser { by, user, seen, change } => {
                let asking = state.member(by)?;
                let member = state.members.get(&user).ok_or(Rejection::UnknownUser)?;
                may_look_after(asking, member, by == user)?;
                unchanged_since(seen, member.version)?;
                state.change_user(asking, (user, member), change)
            }
            Command::RemoveUser { by, user, seen } => {
                let asking = state.member(by)?;
                let member = state.members.get(&user).ok_or(Rejection::UnknownUser)?;
                may_look_after(asking, member, by == user)?;
                unchanged_since(seen, member.version)?;
                state.keeps_an_owner_without(user)?;
                Ok(vec![Event::UserRemoved(Removed { user_id: user })])
            }
        }
    }

    fn evolve(state: &mut State, version: u64, event: &Event) {
        match event {
            Event::TenantRegistered(_)
            | Event::TenantRenamed(_)
            | Event::PlanChanged(_)
            | Event::SettingsChanged(_) => state.version = version,
            Event::BillingChanged(billing) => {
                state.billing = billing.clone();
                state.version = version;
            }
            Event::UserAdded(added) | Event::UserInvited(added) => {
                let Added { user_id, email, name, role } = added.clone();
                state.members.insert(user_id, Member { role, email, name, avatar_url: None, version });
            }
            Event::UserRoleChanged(changed) => {
                if let Some(member) = state.members.get_mut(&changed.user_id) {
                    (member.role, member.version) = (changed.role, version);
                }
            }
            Event::UserProfileChanged(changed) => {
                if let Some(member) = state.members.get_mut(&changed.user_id) {
                    member.name.clone_from(&changed.name);
                    member.avatar_url.clone_from(&changed.avatar_url);
                    member.version = version;
                }
            }
            Event::UserRemoved(removed) => {
                state.members.remove(&removed.user_id);
            }
        }
    }
}

impl State {
    fn member(&self, user: UserId) -> Result<&Member, Rejection> {
        self.members.get(&user).ok_or(Rejection::NotAMember)
    }

    fn has_room_for(&self, user: &NewUser) -> Result<(), Rejection> {
        if self.members.contains_key(&user.user_id) {
            return Err(Rejection::IdTaken);
        }
        if self.members.values().any(|member| member.email == user.email) {
            return Err(Rejection::EmailTaken);
        }
        if self.members.len() >= MAX_MEMBERS { Err(Rejection::TooManyMembers) } else { Ok(()) }
    }

    fn keeps_an_owner_without(&self, user: UserId) -> Result<(), Rejection> {
        let is_owner = |(id, member): (&UserId, &Member)| *id != user && member.role == Role::Owner;
        if self.members.iter().any(is_owner) { Ok(()) } else { Err(Rejection::LastOwner) }
    }

    fn change(&self, asking: &Member, change: Change) -> Result<Vec<Event>, Rejection> {
        let Change { name, plan, settings, stripe_customer_id, stripe_subscription_id } = change;
        let is_billing = plan.is_some() || stripe_customer_id.is_some() || stripe_subscription_id.is_some();
        let least = if is_billing { Role::Owner } else { Role::Admin };
        if asking.role < least {
            return Err(Rejection::Forbidden);
        }
        let billing = (stripe_customer_id.is_some() || stripe_subscription_id.is_some()).then(|| Billing {
            stripe_customer_id: stripe_customer_id.unwrap_or_else(|| self.billing.stripe_customer_id.clone()),
            stripe_subscription_id: stripe_subscription_id
                .unwrap_or_else(|| self.billing.stripe_subscription_id.clone()),
        });
        let events = [
            name.map(|name| Event::TenantRenamed(Renamed { name })),
            plan.map(|plan| Event::PlanChanged(PlanChanged { plan })),
            settings.map(|settings| Event::SettingsChanged(SettingsChanged { settings })),
            billing.map(Event::BillingChanged),
        ];
        Ok(events.into_iter().flatten().collect())
    }

    fn change_user(
        &self,
        asking: &Member,
        (user, member): (UserId, &Member),
        change: UserChange,
    ) -> Result<Vec<Event>, Rejection> {
        let UserChange { role, name, avatar_url } = change;
        if let Some(role) = role {
            if role != member.role {
                may_grant(asking, role)?;
            }
            if role < Role::Owner && member.role == Role::Owner {
                self.keeps_an_owner_without(user)?;
            }
        }
        let profile = (name.is_some() || avatar_url.is_some()).then(|| ProfileChanged {
            user_id: user,
            name: name.unwrap_or_else(|| member.name.clone()),
            avatar_url: avatar_url.unwrap_or_else(|| member.avatar_url.clone()),
        });
        let role = role.map(|role| Event::UserRoleChanged(RoleChanged { user_id: user, role }));
        Ok(role.into_iter().chain(profile.map(Event::UserProfileChanged)).collect())
    }
}

fn added(user: NewUser, role: Role) -> Added {
    let NewUser { user_id, email, name } = user;
    Added { user_id, email, name, role }
}

fn unchanged_since(seen: Option<u64>, version: u64) -> Result<(), Rejection> {
    if seen.is_none_or(|seen| seen == version) { Ok(()) } else { Err(Rejection::VersionMismatch { current: version }) }
}

/// Nobody grants their own level or a higher one, except owners.
fn may_grant(asking: &Member, role: Role) -> Result<(), Rejection> {
    if asking.role == Role::Owner || role < asking.role { Ok(()) } else { Err(Rejection::Forbidden) }
}

/// Everybody looks after themselves; admins and owners look after those below them, and owners after each other.
fn may_look_after(asking: &Member, member: &Member, is_self: bool) -> Result<(), Rejection> {
    let outranks = asking.role == Role::Owner || (asking.role == Role::Admin && member.role < Role::Admin);
    if is_self || outranks { Ok(()) } else { Err(Rejection::Forbidden) }
}

#[cfg(test)]
mod tests;
