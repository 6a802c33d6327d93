//! A tenant and its members: one stream per tenant, so that a decision about one member sees all the others.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::{Aggregate, Category, DecodeError, Email, EventData, EventType, UserId};

/// Longest name of a tenant or user in characters.
pub const MAX_NAME: usize = 200;

/// The aggregate.
pub struct Tenant;

/// What can be asked of a tenant.
#[derive(Clone, Debug)]
pub enum Command {
    /// Found the tenant with its first owner.
    Register {
        /// The tenant's name, at most [`MAX_NAME`] characters.
        name: String,
        /// Its first user.
        owner: NewUser,
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

/// What happened to a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(strum::VariantNames), strum(serialize_all = "snake_case"))]
pub enum Event {
    /// The tenant was founded.
    TenantRegistered(Registered),
    /// Somebody became a member.
    UserAdded(Added),
}

/// The founding of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// The tenant's name.
    pub name: String,
    /// What it pays for.
    pub plan: Plan,
}

/// The founding as it was written before there were plans.
#[derive(Deserialize)]
struct RegisteredV1 {
    name: String,
}

impl From<RegisteredV1> for Registered {
    fn from(RegisteredV1 { name }: RegisteredV1) -> Self {
        // Not the default, which may become another one: these tenants had this plan.
        Self { name, plan: Plan::Starter }
    }
}

/// What a tenant pays for, from least to most; the default is what it begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plan {
    /// For trying it out.
    #[default]
    Starter,
    /// For a small team.
    Growth,
    /// For a company.
    Business,
    /// By contract.
    Enterprise,
}

impl Plan {
    /// Its name in JSON and in the read tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starter => "starter",
            Self::Growth => "growth",
            Self::Business => "business",
            Self::Enterprise => "enterprise",
        }
    }

    /// The plan of this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Starter, Self::Growth, Self::Business, Self::Enterprise].into_iter().find(|plan| plan.as_str() == name)
    }
}

/// A new member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Added {
    /// Their id.
    pub user_id: UserId,
    /// Their address.
    pub email: Email,
    /// Their name.
    pub name: String,
    /// What they may do.
    pub role: Role,
}

/// What a member may do, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Works with sessions.
    Member,
    /// Also reads the log and looks after members.
    Admin,
    /// Everything.
    Owner,
}

impl Role {
    /// Its name in JSON, tokens and the read tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// The role of this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Member, Self::Admin, Self::Owner].into_iter().find(|role| role.as_str() == name)
    }
}

/// Who belongs to the tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Whether it was founded.
    pub registered: bool,
    /// Its members and their roles.
    pub members: BTreeMap<UserId, Role>,
}

/// Why a tenant does not do as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// There already is a tenant of this id.
    AlreadyRegistered,
}

/// The claim that makes an address unique within its tenant.
pub fn email_claim(email: &Email) -> String {
    format!("email/{email}")
}

impl Aggregate for Tenant {
    const CATEGORY: Category = Category::Tenant;
    const STATE_SHAPE: &'static str = "tenant.2";
    type State = State;
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(state: &State, command: Command) -> Result<Vec<Event>, Rejection> {
        match command {
            Command::Register { .. } if state.registered => Err(Rejection::AlreadyRegistered),
            Command::Register { name, owner } => Ok(vec![
                Event::TenantRegistered(Registered { name, plan: Plan::default() }),
                Event::UserAdded(Added {
                    user_id: owner.user_id,
                    email: owner.email,
                    name: owner.name,
                    role: Role::Owner,
                }),
            ]),
        }
    }

    fn evolve(state: &mut State, _version: u64, event: &Event) {
        match event {
            Event::TenantRegistered(_) => state.registered = true,
            Event::UserAdded(added) => {
                state.members.insert(added.user_id, added.role);
            }
        }
    }
}

impl EventData for Event {
    fn event_type(&self) -> EventType {
        let (name, schema) = match self {
            Self::TenantRegistered(_) => ("tenant_registered", 2),
            Self::UserAdded(_) => ("user_added", 1),
        };
        EventType { name, schema }
    }

    fn encode(&self) -> Result<Box<RawValue>, serde_json::Error> {
        match self {
            Self::TenantRegistered(registered) => to_raw_value(registered),
            Self::UserAdded(added) => to_raw_value(added),
        }
    }

    fn decode(name: &str, schema: u16, data: &RawValue) -> Result<Self, DecodeError> {
        let malformed = |source| DecodeError::malformed(name, schema, source);
        match (name, schema) {
            ("tenant_registered", 1) => {
                let registered = serde_json::from_str::<RegisteredV1>(data.get()).map_err(malformed)?;
                Ok(Self::TenantRegistered(registered.into()))
            }
            ("tenant_registered", 2) => serde_json::from_str(data.get()).map(Self::TenantRegistered).map_err(malformed),
            ("user_added", 1) => serde_json::from_str(data.get()).map(Self::UserAdded).map_err(malformed),
            _ => Err(DecodeError::newer(name, schema)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn register() -> Command {
        Command::Register {
            name: "Analytical Engines".into(),
            owner: NewUser {
                user_id: UserId(Uuid::from_u128(1)),
                email: Email::parse("ada@example.com").unwrap(),
                name: "Ada".into(),
            },
        }
    }

    fn given(events: &[Event]) -> State {
        let mut state = State::default();
        for (version, event) in (1..).zip(events) {
            Tenant::evolve(&mut state, version, event);
        }
        state
    }

    #[test]
    fn the_first_user_of_a_tenant_is_its_owner() {
        let events = Tenant::decide(&State::default(), register()).unwrap();
        let state = given(&events);
        assert_eq!(state.members, BTreeMap::from([(UserId(Uuid::from_u128(1)), Role::Owner)]));
    }

    #[test]
    fn a_tenant_is_registered_once() {
        let events = Tenant::decide(&State::default(), register()).unwrap();
        assert_eq!(Tenant::decide(&given(&events), register()), Err(Rejection::AlreadyRegistered));
    }

    #[test]
    fn the_snapshot_of_a_state_keeps_the_shape_it_is_named_after() {
        let state = given(&Tenant::decide(&State::default(), register()).unwrap());
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(
            (Tenant::STATE_SHAPE, text.as_str()),
            ("tenant.2", r#"{"registered":true,"members":{"00000000-0000-0000-0000-000000000001":"owner"}}"#)
        );
        assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
    }
}
