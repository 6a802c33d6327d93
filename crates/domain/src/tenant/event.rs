//! What happened to a tenant and its members, as it is written into the log.

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::{Plan, Role, Settings};
use crate::{DecodeError, Email, EventData, EventType, UserId};

/// What happened to a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(strum::VariantNames), strum(serialize_all = "snake_case"))]
pub enum Event {
    /// The tenant was founded.
    TenantRegistered(Registered),
    /// It has another name.
    TenantRenamed(Renamed),
    /// It pays for something else.
    PlanChanged(PlanChanged),
    /// Its settings are these now.
    SettingsChanged(SettingsChanged),
    /// Whom Stripe takes it for.
    BillingChanged(Billing),
    /// Somebody became a member, with a password.
    UserAdded(Added),
    /// Somebody became a member and has yet to choose a password.
    UserInvited(Added),
    /// A member may do more, or less.
    UserRoleChanged(RoleChanged),
    /// What a member says of themselves is this now.
    UserProfileChanged(ProfileChanged),
    /// Somebody is no member any more.
    UserRemoved(Removed),
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

/// A new name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renamed {
    /// The name.
    pub name: String,
}

/// A new plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanChanged {
    /// The plan.
    pub plan: Plan,
}

/// New settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsChanged {
    /// All of them.
    pub settings: Settings,
}

/// Whom Stripe takes the tenant for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Billing {
    /// Stripe's id of the customer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stripe_customer_id: Option<String>,
    /// Stripe's id of the subscription.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stripe_subscription_id: Option<String>,
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

/// A member's new role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleChanged {
    /// Who.
    pub user_id: UserId,
    /// What they may do.
    pub role: Role,
}

/// A member's new profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileChanged {
    /// Who.
    pub user_id: UserId,
    /// Their name.
    pub name: String,
    /// Where their picture is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avatar_url: Option<String>,
}

/// The end of a membership.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Whose.
    pub user_id: UserId,
}

impl EventData for Event {
    fn event_type(&self) -> EventType {
        let (name, schema) = match self {
            Self::TenantRegistered(_) => ("tenant_registered", 2),
            Self::TenantRenamed(_) => ("tenant_renamed", 1),
            Self::PlanChanged(_) => ("plan_changed", 1),
            Self::SettingsChanged(_) => ("settings_changed", 1),
            Self::BillingChanged(_) => ("billing_changed", 1),
            Self::UserAdded(_) => ("user_added", 1),
            Self::UserInvited(_) => ("user_invited", 1),
            Self::UserRoleChanged(_) => ("user_role_changed", 1),
            Self::UserProfileChanged(_) => ("user_profile_changed", 1),
            Self::UserRemoved(_) => ("user_removed", 1),
        };
        EventType { name, schema }
    }

    fn encode(&self) -> Result<Box<RawValue>, serde_json::Error> {
        match self {
            Self::TenantRegistered(data) => to_raw_value(data),
            Self::TenantRenamed(data) => to_raw_value(data),
            Self::PlanChanged(data) => to_raw_value(data),
            Self::SettingsChanged(data) => to_raw_value(data),
            Self::BillingChanged(data) => to_raw_value(data),
            Self::UserAdded(data) | Self::UserInvited(data) => to_raw_value(data),
            Self::UserRoleChanged(data) => to_raw_value(data),
            Self::UserProfileChanged(data) => to_raw_value(data),
            Self::UserRemoved(data) => to_raw_value(data),
        }
    }

    fn decode(name: &str, schema: u16, data: &RawValue) -> Result<Self, DecodeError> {
        let data = data.get();
        let read = match (name, schema) {
            ("tenant_registered", 1) => {
                serde_json::from_str::<RegisteredV1>(data).map(|registered| Self::TenantRegistered(registered.into()))
            }
            ("tenant_registered", 2) => serde_json::from_str(data).map(Self::TenantRegistered),
            ("tenant_renamed", 1) => serde_json::from_str(data).map(Self::TenantRenamed),
            ("plan_changed", 1) => serde_json::from_str(data).map(Self::PlanChanged),
            ("settings_changed", 1) => serde_json::from_str(data).map(Self::SettingsChanged),
            ("billing_changed", 1) => serde_json::from_str(data).map(Self::BillingChanged),
            ("user_added", 1) => serde_json::from_str(data).map(Self::UserAdded),
            ("user_invited", 1) => serde_json::from_str(data).map(Self::UserInvited),
            ("user_role_changed", 1) => serde_json::from_str(data).map(Self::UserRoleChanged),
            ("user_profile_changed", 1) => serde_json::from_str(data).map(Self::UserProfileChanged),
            ("user_removed", 1) => serde_json::from_str(data).map(Self::UserRemoved),
            _ => return Err(DecodeError::newer(name, schema)),
        };
        read.map_err(|source| DecodeError::malformed(name, schema, source))
    }
}
